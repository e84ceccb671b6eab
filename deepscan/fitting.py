"""Learning a FusionPolicy from files that several detectors judged, all of them validation files.

What a method learns is learnt on all of these files. Calibration, operating point and reliability of
the fusion need probabilities of files that it has not learnt from; they come from parts of the
validation files that are left out in turn, whole sources at a time.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax

from deepscan import calibration
from deepscan.calibration import OperatingPoint
from deepscan.errors import DataError
from deepscan.fusion import LIMIT, Attention, FusionPolicy, Line, Vote, answer
from deepscan.verdict import Score, Uncertainty

FOLDS = 5
MIN_TOGETHER = 20
"""Files of each class that a set of members must have judged together to get weights of its own."""

RIDGE = 0.01
"""Pulls attention towards equal weights, so that a few files cannot silence a member for good."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A detector whose votes are fused: its bundle's id, its name, and the band it decides by."""

    bundle: str
    detector: str
    point: OperatingPoint


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """What several detectors said of the same files.

    Attributes:
        members: The detectors.
        probability_NM: Calibrated P(fake), float64; NaN where a member abstained or failed.
        label_N: 1 = fake, 0 = real.
        source_N: Source of each file; files of one source are never divided.
    """

    members: tuple[Member, ...]
    probability_NM: Floats
    label_N: NDArray[np.int64]
    source_N: NDArray[Any]

    def __post_init__(self) -> None:
        """Check that the arrays belong together; members with one id would be one in a policy."""
        files, members = len(self.label_N), len(self.members)
        assert self.probability_NM.shape == (files, members)
        assert len(self.source_N) == files
        assert len({member.bundle for member in self.members}) == members

    def only(self, kept_N: Bools) -> "Panel":
        """Return the files that are kept."""
        return dataclasses.replace(
            self,
            probability_NM=self.probability_NM[kept_N],
            label_N=self.label_N[kept_N],
            source_N=self.source_N[kept_N],
        )

    def votes(self, file: int) -> list[Vote]:
        """Return the votes on a file."""
        there = zip(self.members, self.probability_NM[file].tolist(), strict=True)
        return [_vote(member, probability) for member, probability in there if not np.isnan(probability)]


def fused(panel: Panel, policy: FusionPolicy) -> Floats:
    """Return what the policy makes of each file, float64 [N]; NaN where it makes no answer."""
    answers = (answer(panel.votes(file), policy) for file in range(len(panel.label_N)))
    return np.array([np.nan if p is None else p for p in answers], dtype=np.float64)


def fit(
    panel: Panel,
    policy: FusionPolicy,
    rng: np.random.Generator,
    max_error_rate: float = calibration.MAX_ERROR_RATE,
) -> FusionPolicy:
    """Learn what the policy's method needs, then calibrate it and find where its decisions fall.

    Weights that were given are kept. The answers of ``stack`` are calibrated by themselves; those of the
    other methods get scale and offset (``calibration.Calibration``, kind ``logistic``).

    Args:
        panel: Validation files.
        policy: Method, limits and, perhaps, weights.
        rng: Divides the sources into parts.
        max_error_rate: See ``calibration.fit_operating_point``.

    Raises:
        DataError: A class has fewer than two sources, or no file was judged.
        ConfigError: The error rate is out of range.
    """
    left_out = np.full(len(panel.label_N), np.nan)
    for part_N in _parts(panel, rng):
        left_out[part_N] = fused(panel.only(part_N), learn(panel.only(~part_N), policy))
    judged_N = ~np.isnan(left_out)
    odds, label = _log_odds(left_out[judged_N]), panel.label_N[judged_N]
    scale = calibration.fit("none" if policy.method == "stack" else "logistic", odds, label)
    probability = scale.apply(odds)
    return dataclasses.replace(
        learn(panel, policy),
        calibration=scale,
        operating=calibration.fit_operating_point(probability, label, max_error_rate),
        reliability=calibration.fit_reliability(probability, label),
    )


def learn(panel: Panel, policy: FusionPolicy) -> FusionPolicy:
    """Return the policy with what its method learns, uncalibrated.

    Raises:
        DataError: A class is missing.
    """
    plain = FusionPolicy(
        method=policy.method,
        weights=policy.weights,
        min_models=policy.min_models,
        max_models=policy.max_models,
        threshold=policy.threshold,
    )
    if policy.method == "attention":
        return dataclasses.replace(plain, attention=_attention(panel))
    if policy.method == "stack":
        return dataclasses.replace(plain, lines=tuple(_lines(panel)))
    if policy.weights or policy.method in ("maximum", "minimum"):
        return plain
    return dataclasses.replace(plain, weights=_reliable(panel))


def _log_odds(probability: Floats) -> Floats:
    return np.asarray(logit(np.clip(probability, LIMIT, 1 - LIMIT)))


def _vote(member: Member, probability: float) -> Vote:
    score = Score(
        detector=member.detector,
        bundle=member.bundle,
        modality="",
        logit=0.0,
        probability=probability,
        label=calibration.decide(probability, member.point),
    )
    return Vote(score=score, point=member.point, uncertainty=Uncertainty(low=0.0, high=1.0, files=0))


def _parts(panel: Panel, rng: np.random.Generator) -> Iterator[Bools]:
    """Divide the files into parts by source, each with both classes."""
    fakes = set(panel.source_N[panel.label_N == 1].tolist())
    sources = rng.permutation(np.unique(panel.source_N)).tolist()
    by_class = [[s for s in sources if s in fakes], [s for s in sources if s not in fakes]]
    pure = [part for part in by_class if part]
    count = min(FOLDS, *(len(part) for part in pure))
    if count < 2 or len(set(panel.label_N.tolist())) < 2:
        msg = (
            "An ensemble is fitted on sources that are left out in turn; the validation split needs real and "
            f"fake files of at least two sources each, and has {len(by_class[0])} sources with fakes and "
            f"{len(by_class[1])} without. Add files to it."
        )
        raise DataError(msg)
    part_of = {source: i % count for part in pure for i, source in enumerate(part)}
    part_N = np.array([part_of[source] for source in panel.source_N.tolist()])
    for number in range(count):
        yield part_N == number


def _reliable(panel: Panel) -> dict[str, float]:
    """Return the log-odds of each member's balanced accuracy, best for independent voters.

    Nitzan & Paroush (1982). A member that is no better than chance weighs nothing; where all are so,
    none is left out.
    """
    weights = {}
    for number, member in enumerate(panel.members):
        p_N = panel.probability_NM[:, number]
        judged_N = ~np.isnan(p_N)
        right_N = (p_N >= member.point.threshold) == (panel.label_N == 1)
        shares = [_share(right_N[judged_N & (panel.label_N == label)]) for label in (0, 1)]
        weights[member.bundle] = max(0.0, float(logit(np.mean(shares))))
    return weights if any(weights.values()) else {}


def _share(right_N: Bools) -> float:
    """Return the share of right answers, kept off 0 and 1 by half a file of each kind."""
    return float((right_N.sum() + 0.5) / (len(right_N) + 1))


def _targets(label_N: NDArray[np.int64]) -> Floats:
    """Return Platt's targets, which keep weights finite where the classes are separate."""
    fake, real = int((label_N == 1).sum()), int((label_N == 0).sum())
    return np.where(label_N == 1, (fake + 1) / (fake + 2), 1 / (real + 2))


def _attention(panel: Panel) -> Attention:
    """Minimise the negative log-likelihood of the pool over the scores of members and of decidedness."""
    voted_N = ~np.isnan(panel.probability_NM).all(axis=1)
    _require_classes(panel.label_N[voted_N])
    p_NM, target_N = panel.probability_NM[voted_N], _targets(panel.label_N[voted_N])
    absent_NM = np.isnan(p_NM)
    odds_NM = np.where(absent_NM, 0.0, _log_odds(p_NM))
    sure_NM = np.where(absent_NM, 0.0, np.abs(2 * p_NM - 1))

    def loss(learnt: Floats) -> tuple[float, Floats]:
        weight_NM = softmax(np.where(absent_NM, -np.inf, learnt[:-1] + learnt[-1] * sure_NM), axis=1)
        pooled_N = (weight_NM * odds_NM).sum(axis=1)
        value = np.mean(np.logaddexp(0, pooled_N) - target_N * pooled_N) + RIDGE * float(learnt @ learnt)
        pull_NM = (expit(pooled_N) - target_N)[:, None] * weight_NM * (odds_NM - pooled_N[:, None])
        slope = np.append(pull_NM.mean(axis=0), np.mean((pull_NM * sure_NM).sum(axis=1)))
        return float(value), slope + 2 * RIDGE * learnt

    found = scipy.optimize.minimize(loss, np.zeros(p_NM.shape[1] + 1), jac=True, method="L-BFGS-B").x.tolist()
    scores = dict(zip((member.bundle for member in panel.members), found[:-1], strict=True))
    return Attention(scores=scores, decidedness=found[-1])


def _lines(panel: Panel) -> Iterator[Line]:
    """Fit each set of members that judged enough files together, and each member alone."""
    there_NM = ~np.isnan(panel.probability_NM)
    sets = {tuple(np.flatnonzero(row).tolist()) for row in np.unique(there_NM, axis=0) if row.any()}
    sets |= {(number,) for number in range(len(panel.members))}
    together: dict[tuple[int, ...], Bools] = {
        members: np.asarray(there_NM[:, members].all(axis=1)) for members in sets
    }
    for members in sorted(sets, key=lambda each: (-int(together[each].sum()), each)):
        label_N = panel.label_N[together[members]]
        fewest = min(int((label_N == label).sum()) for label in (0, 1))
        if fewest >= (MIN_TOGETHER if len(members) > 1 else 1):
            yield _line(panel, members, together[members])


def _line(panel: Panel, members: tuple[int, ...], judged_N: Bools) -> Line:
    odds_NM = _log_odds(panel.probability_NM[judged_N][:, members])
    target_N = _targets(panel.label_N[judged_N])

    def loss(line: Floats) -> tuple[float, Floats]:
        stacked_N = odds_NM @ line[:-1] + line[-1]
        error_N = expit(stacked_N) - target_N
        value = np.mean(np.logaddexp(0, stacked_N) - target_N * stacked_N)
        return float(value), np.append(error_N @ odds_NM, error_N.sum()) / len(target_N)

    start = np.append(np.full(len(members), 1 / len(members)), 0.0)
    found = scipy.optimize.minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * len(members) + [(None, None)],
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000},
    ).x.tolist()
    ids = tuple(panel.members[number].bundle for number in members)
    return Line(members=ids, weights=tuple(found[:-1]), offset=found[-1])


def _require_classes(label_N: NDArray[np.int64]) -> None:
    if set(label_N.tolist()) != {0, 1}:
        msg = "The detectors judged validation files of one class only; an ensemble needs real and fake ones."
        raise DataError(msg)
