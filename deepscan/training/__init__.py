"""Training: a plain torch loop, and its shell for Ray Train."""
