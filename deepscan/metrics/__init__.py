"""How good a detector is: figures, intervals and curves over a set of judged files.

Files are rows and nothing else: no figure ever looks at a file's name, so files of equal names in
different folders stay apart. ``docs/figures.md`` tells every figure's formula, its source, and when not
to trust it.

- ``figures``: AUC and its like, figures at the threshold, calibration error; curves.
- ``bootstrap``: intervals over sources.
- ``costs``: detection costs and log-likelihood-ratio costs of the ASVspoof challenges.
- ``decisions``: what the operating point decides, how often it is right, and for whom.
- ``fairness``: differences between groups of files.
- ``paired``: two detectors on the same files.
- ``examination``: all of these that go beyond ``figures``, at once.
"""

from deepscan.metrics.figures import auc, evaluate
from deepscan.metrics.records import (
    Confusion,
    Counts,
    Curves,
    Evaluation,
    Figure,
    Predictions,
    ReliabilityBin,
    Slice,
)

__all__ = [
    "Confusion",
    "Counts",
    "Curves",
    "Evaluation",
    "Figure",
    "Predictions",
    "ReliabilityBin",
    "Slice",
    "auc",
    "evaluate",
]
