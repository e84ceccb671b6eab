"""Weights formats: each file writes a model and runs it."""
