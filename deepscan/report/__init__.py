"""Self-contained HTML pages and JSON from evaluations and verdicts."""

from deepscan.report.page import FIGURES, Example, Page, render, to_json

__all__ = ["FIGURES", "Example", "Page", "render", "to_json"]
