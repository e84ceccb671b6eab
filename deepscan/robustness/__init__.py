"""Robustness: what a detector says of files after they were delivered in many ways."""
