"""Searching the settings of a model: many trials on data that are prepared once, then the winner."""
