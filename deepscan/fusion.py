"""One answer from several detectors.

Only detectors that voted count. One that abstained or failed is never replaced by a number, for a
missing face says nothing about the face; the others share its weight. ``deepscan.fitting`` learns a
policy from validation files.
"""

import dataclasses
import math
from collections.abc import Sequence
from statistics import pstdev
from typing import Literal

import numpy as np

from deepscan.calibration import ABOVE_ONE, Calibration, OperatingPoint, Reliability, decide
from deepscan.errors import ConfigError
from deepscan.verdict import Label, Score, Uncertainty

Method = Literal["log-odds", "mean", "majority", "maximum", "minimum", "attention", "stack"]
LEARNT = ("attention", "stack")
LIMIT = 1e-6
"""A probability nearer to 0 or 1 than this is no surer for the purpose of an average."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Attention:
    """What the weight of a vote depends on, learnt on validation.

    Attributes:
        scores: By bundle id: how much it is listened to at all.
        decidedness: How much more a vote counts that is sure of itself, times ``|2 p - 1|``.
    """

    scores: dict[str, float]
    decidedness: float

    def weights(self, votes: "Sequence[Vote]") -> list[float]:
        """Return weights of the votes that are there: the softmax of their scores, except for a factor."""
        scores = [
            self.scores[vote.score.bundle] + self.decidedness * abs(2 * vote.score.probability - 1)
            for vote in votes
        ]
        return [math.exp(score - max(scores)) for score in scores]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A logistic regression over the log-odds of certain members, fitted on files that all of them judged.

    Attributes:
        members: Bundle ids.
        weights: Weight of each, not below 0.
        offset: Added to the weighted sum.
    """

    members: tuple[str, ...]
    weights: tuple[float, ...]
    offset: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FusionPolicy:
    """How votes become one answer.

    Methods, of which all but the last two work without a fit. *Soft voting* is ``mean``.

    - ``log-odds``: weighted average of log-odds (the logarithmic pool of Genest & Zidek, 1986).
    - ``mean``: weighted average of probabilities (the linear pool of Stone, 1961).
    - ``majority``: each member takes a side by its own threshold; the pool of the log-odds of the heavier
      side answers, so that the probability never contradicts the majority. Even sides are pooled together.
    - ``maximum``, ``minimum``: the most, the least suspicious member answers.
    - ``attention``: the log-odds pool with weights that depend on the member and on how sure it is, a softmax
      over those that voted (Bahdanau et al., 2015).
    - ``stack``: logistic regression over log-odds (Wolpert, 1992), weights not below 0 (Breiman, 1996). There
      is one for every set of members that often judged a file together and one for each member alone. The
      largest of them whose members all voted answers, so nothing has to be put in an absent one's place.

    Attributes:
        method: How the votes are pooled.
        weights: By bundle id or detector name; 1 where it is not named, 0 leaves a detector out.
        min_models: Fewer votes than this make no answer.
        max_models: Only so many votes count, those of the largest weight; None = all.
        threshold: From this probability on an answer is ``fake``, below it ``real``, none is inconclusive;
            None = ``operating`` decides.
        calibration: From the pooled log-odds to a probability; its temperature is that of the fusion.
        operating: Where decisions fall; None = where the members' own bands, pooled as they are, say.
        reliability: What validation files that were fused alike turned out to be; None = not measured.
        attention: What ``attention`` has learnt.
        lines: What ``stack`` has learnt.
    """

    method: Method = "log-odds"
    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    min_models: int = 1
    max_models: int | None = None
    threshold: float | None = None
    calibration: Calibration = Calibration()
    operating: OperatingPoint | None = None
    reliability: Reliability | None = None
    attention: Attention | None = None
    lines: tuple[Line, ...] = ()

    def __post_init__(self) -> None:
        """Check the fields against each other.

        Raises:
            ConfigError: A number is out of range, or a field belongs to another method.
        """
        if self.min_models < 1 or (self.max_models is not None and self.max_models < self.min_models):
            msg = (
                f"Fusion needs 1 <= min_models <= max_models, not min_models={self.min_models} and "
                f"max_models={self.max_models}."
            )
            raise ConfigError(msg)
        if any(not 0 <= weight < math.inf for weight in self.weights.values()):
            msg = f"Fusion weights must not be below 0, which {self.weights} are."
            raise ConfigError(msg)
        if self.threshold is not None and not 0 < self.threshold < 1:
            msg = f"The threshold of a fusion must be in (0, 1), not {self.threshold}."
            raise ConfigError(msg)
        self._check_method()

    def _check_method(self) -> None:
        learns = self.method in LEARNT
        if learns and (self.weights or self.max_models is not None):
            msg = f"Fusion {self.method!r} learns its weights; leave out weights and max_models."
            raise ConfigError(msg)
        if (self.attention and self.method != "attention") or (self.lines and self.method != "stack"):
            msg = f"Fusion {self.method!r} cannot use what another method learnt; fit the ensemble again."
            raise ConfigError(msg)

    @property
    def ready(self) -> bool:
        """Whether the method has learnt what it needs."""
        return self.method not in LEARNT or self.attention is not None or bool(self.lines)

    def weight(self, score: Score) -> float:
        """Return the weight that was given to a detector."""
        return self.weights.get(score.bundle, self.weights.get(score.detector, 1.0))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """A detector's score with the band it decides by and the interval of its probability."""

    score: Score
    point: OperatingPoint
    uncertainty: Uncertainty


def fuse(votes: Sequence[Vote], policy: FusionPolicy) -> tuple[float | None, Uncertainty | None, Label]:
    """Return calibrated P(fake), its uncertainty and the label for the votes on one file.

    Unless the policy was fitted, a single vote stands as it is, and the ends of the members' bands are
    pooled like their probabilities, so that detectors that agree decide together as each does alone; what
    one of them is never sure enough to say, they do not say. The interval then spans those of all
    members, with the number of files of the least known.

    Args:
        votes: The detectors that have a score; abstentions are not among them.
        policy: How they become one.

    Returns:
        Probability in [0, 1], uncertainty and label; None, None and ``inconclusive`` for too few votes.

    Raises:
        ConfigError: The policy needs a fit that it has not had.
    """
    counted = _counted(votes, policy)
    probability = _answer(counted, policy)
    if probability is None:
        return None, None, "inconclusive"
    point = policy.operating or _band(counted, policy)
    if policy.threshold is not None:
        point = OperatingPoint(threshold=policy.threshold, low=policy.threshold, high=policy.threshold)
    return probability, _uncertainty(counted, probability, policy), decide(probability, point)


def answer(votes: Sequence[Vote], policy: FusionPolicy) -> float | None:
    """Return P(fake) as ``fuse`` does, and nothing else."""
    return _answer(_counted(votes, policy), policy)


def entropy(probability: float) -> float:
    """Return the entropy of a probability in bits: 0 = certain, 1 = even (Shannon, 1948)."""
    return -sum(p * math.log2(p) for p in (probability, 1 - probability) if p > 0)


def log_odds(probability: float) -> float:
    """Return the log-odds of a probability, at most those of a probability ``LIMIT`` away from 0 or 1."""
    limited = min(max(probability, LIMIT), 1 - LIMIT)
    return math.log(limited / (1 - limited))


def _sigmoid(odds: float) -> float:
    return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))


def _counted(votes: Sequence[Vote], policy: FusionPolicy) -> list[Vote]:
    """Return the votes that have a weight, the heaviest where there are more than may count."""
    if not policy.ready:
        msg = (
            f"Fusion {policy.method!r} has learnt nothing yet; make an ensemble with `deepscan ensemble fit`."
        )
        raise ConfigError(msg)
    if policy.lines:
        return _of_a_line(votes, policy.lines)
    if policy.attention:
        return [vote for vote in votes if vote.score.bundle in policy.attention.scores]
    heavy = [vote for vote in votes if policy.weight(vote.score) > 0]
    heavy.sort(key=lambda vote: (-policy.weight(vote.score), vote.score.bundle))
    return heavy[: policy.max_models]


def _of_a_line(votes: Sequence[Vote], lines: Sequence[Line]) -> list[Vote]:
    """Return the votes of the first of the largest lines whose members all voted."""
    by_bundle = {vote.score.bundle: vote for vote in votes}
    fitting = [line.members for line in lines if by_bundle.keys() >= set(line.members)]
    return [by_bundle[member] for member in max(fitting, key=len)] if fitting else []


def _answer(counted: list[Vote], policy: FusionPolicy) -> float | None:
    if len(counted) < policy.min_models:
        return None
    if policy.lines:
        members = tuple(vote.score.bundle for vote in counted)
        line = next(line for line in policy.lines if line.members == members)
        pooled = _sigmoid(line.offset + _dot(line.weights, [log_odds(_probability(v)) for v in counted]))
    else:
        votes, weights = _weighed(counted, policy)
        pooled = _average([_probability(vote) for vote in votes], weights, policy)
    return _calibrated(pooled, policy.calibration)


def _weighed(counted: list[Vote], policy: FusionPolicy) -> tuple[list[Vote], list[float]]:
    """Return the votes that the answer is made of, and their weights, which sum to 1."""
    weights = [policy.weight(vote.score) for vote in counted]
    if policy.attention:
        weights = policy.attention.weights(counted)
    elif policy.method == "majority":
        counted, weights = _heavier_side(counted, weights)
    elif policy.method == "maximum":
        counted, weights = [max(counted, key=_probability)], [1.0]
    elif policy.method == "minimum":
        counted, weights = [min(counted, key=_probability)], [1.0]
    return counted, [weight / sum(weights) for weight in weights]


def _heavier_side(votes: list[Vote], weights: list[float]) -> tuple[list[Vote], list[float]]:
    sides = [_probability(vote) >= vote.point.threshold for vote in votes]
    lead = sum(weight if side else -weight for weight, side in zip(weights, sides, strict=True))
    if math.isclose(lead, 0, abs_tol=1e-9):
        return votes, weights
    chosen = [i for i, side in enumerate(sides) if side == (lead > 0)]
    return [votes[i] for i in chosen], [weights[i] for i in chosen]


def _average(values: list[float], weights: list[float], policy: FusionPolicy) -> float:
    if len(values) == 1:
        return values[0]
    if policy.method == "mean":
        return _dot(weights, values)
    return _sigmoid(_dot(weights, [log_odds(value) for value in values]))


def _band(counted: list[Vote], policy: FusionPolicy) -> OperatingPoint:
    """Return the members' bands, pooled and calibrated as their probabilities are."""
    votes, weights = _weighed(counted, policy)

    def pooled(ends: list[float]) -> float:
        return _calibrated(_average(ends, weights, policy), policy.calibration)

    points = [vote.point for vote in votes]
    return OperatingPoint(
        threshold=pooled([point.threshold for point in points]),
        low=pooled([point.low for point in points]) if all(point.low > 0 for point in points) else 0.0,
        high=pooled([p.high for p in points]) if all(p.high <= 1 for p in points) else ABOVE_ONE,
    )


def _calibrated(probability: float, calibration: Calibration) -> float:
    if calibration.kind == "none":
        return probability
    return float(calibration.apply(np.array(log_odds(probability))))


def _uncertainty(votes: Sequence[Vote], probability: float, policy: FusionPolicy) -> Uncertainty:
    known = [vote.uncertainty for vote in votes]
    if policy.reliability:
        known = [policy.reliability.uncertainty(probability)]
    return Uncertainty(
        low=min(each.low for each in known),
        high=max(each.high for each in known),
        files=min(each.files for each in known),
        entropy=entropy(probability),
        disagreement=pstdev(map(_probability, votes)) if len(votes) > 1 else None,
    )


def _dot(weights: Sequence[float], values: Sequence[float]) -> float:
    return math.fsum(weight * value for weight, value in zip(weights, values, strict=True))


def _probability(vote: Vote) -> float:
    return vote.score.probability
