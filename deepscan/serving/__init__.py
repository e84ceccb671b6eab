"""Serving verdicts over HTTP, in one process or on Ray Serve."""
