"""One answer from several detectors.

Only detectors that voted count. An abstention is never replaced by a number: a missing face says
nothing about the face.
"""

import dataclasses
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from scipy.special import expit, logit

from deepscan.calibration import OperatingPoint, decide
from deepscan.errors import ConfigError
from deepscan.verdict import Label, Score, Uncertainty

LIMIT = 1e-6
"""A probability nearer to 0 or 1 than this is no surer for the purpose of an average."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FusionPolicy:
    """How votes become one answer.

    Attributes:
        min_detectors: Fewer votes than this make no answer.
    """

    min_detectors: int = 1

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ConfigError: ``min_detectors`` is below 1.
        """
        if self.min_detectors < 1:
            msg = f"Setting 'min_detectors' must be at least 1, not {self.min_detectors}."
            raise ConfigError(msg)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """A detector's score with the band it decides by and the interval of its probability."""

    score: Score
    point: OperatingPoint
    uncertainty: Uncertainty


def fuse(votes: Sequence[Vote], policy: FusionPolicy) -> tuple[float | None, Uncertainty | None, Label]:
    """Return calibrated P(fake), its interval and the label for the votes on one file.

    A single vote stands as it is. Several are averaged as log-odds (the logarithmic opinion pool of
    Genest & Zidek, 1986, with equal weights); so are the ends of their bands, so that detectors that
    agree decide together as each does alone. The interval spans those of all members, with the
    number of files of the least known.

    Args:
        votes: The detectors that have a score; abstentions are not among them.
        policy: How many votes an answer needs.

    Returns:
        Probability in [0, 1], uncertainty and label; None, None and ``inconclusive`` for too few votes.
    """
    if len(votes) < policy.min_detectors:
        return None, None, "inconclusive"
    if len(votes) == 1:
        return votes[0].score.probability, votes[0].uncertainty, votes[0].score.label
    probability = _mean([vote.score.probability for vote in votes])
    band = OperatingPoint(
        threshold=_mean([vote.point.threshold for vote in votes]),
        low=_mean([vote.point.low for vote in votes]),
        high=_mean([vote.point.high for vote in votes]),
    )
    uncertainty = Uncertainty(
        low=min(vote.uncertainty.low for vote in votes),
        high=max(vote.uncertainty.high for vote in votes),
        files=min(vote.uncertainty.files for vote in votes),
    )
    return probability, uncertainty, decide(probability, band)


def _mean(probabilities: Sequence[float]) -> float:
    return float(expit(fmean(logit(np.clip(probabilities, LIMIT, 1 - LIMIT)))))
