"""Self-contained HTML pages from evaluations."""
