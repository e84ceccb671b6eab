"""Differences between groups of files, by a column that the user wrote.

Nothing is inferred about people: a group is a value of a column of the manifest. A difference between
the best and the worst of several groups is above 0 by chance alone, the more so the smaller the groups. So
groups that are too small are left out and named, and the intervals hold for all pairs of groups at once
(``bootstrap.largest``).
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscan.metrics import bootstrap
from deepscan.metrics.bootstrap import Floats, ratio
from deepscan.metrics.figures import cumulative, ranking_figures
from deepscan.metrics.records import NOTHING, Figure, Predictions

MIN_FILES, MIN_SOURCES = 20, 5
NEEDED = {"auc": (0, 1), "accuracy": (), "real_called_fake": (0,), "fake_called_real": (1,)}
"""The labels that a group needs files of, by what groups are compared in."""
LOW_IS_WORSE = ("auc", "accuracy")
EQUALISED = ("real_called_fake", "fake_called_real")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """How far the best and the worst group are apart in one figure.

    Attributes:
        difference: Largest less smallest value, in [0, 1]; not defined for fewer than two groups.
        worst: The group that fares worst; empty where fewer than two are compared.
        values: The figure in each group that is large enough.
    """

    difference: Figure
    worst: str
    values: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Disparity:
    """Differences between the groups that one column makes.

    Attributes:
        gaps: ``auc``, ``accuracy``, ``real_called_fake`` (false positive rate) and ``fake_called_real``
            (false negative rate), the last three at the threshold.
        equalised_odds: The larger of the gaps of the two error rates: 0 where all groups suffer the same
            errors (Hardt et al., NeurIPS 2016, as a largest difference: Agarwal et al., ICML 2018).
        too_small: Groups that are left out of one or more gaps, and why.
    """

    gaps: dict[str, Gap]
    equalised_odds: Figure
    too_small: dict[str, str]


def disparity(
    files: Predictions, column: str, threshold: float, rng: np.random.Generator, replicates: int
) -> Disparity:
    """Compare the groups of one column, with 95 % intervals over sources drawn for all groups at once.

    Args:
        files: What the detector said.
        column: Name of one of ``files.groups``.
        threshold: Calibrated probability from which a file is called fake.
        rng: Draws the sources.
        replicates: Number of draws; 0 = no intervals.
    """
    group = files.groups[column]
    names = [str(name) for name in np.unique(group)]
    members = {name: files.where(group == name) for name in names}
    compared = {
        figure: [name for name in names if not _missing(members[name], labels)]
        for figure, labels in NEEDED.items()
    }
    judge = functools.partial(_by_group, files, group, threshold, names)
    values = {name: found[0] for name, found in judge(np.ones((1, len(group)))).items()}
    drawn = bootstrap.replicate(judge, files.source, rng, replicates)
    gaps = {}
    for figure, kept in compared.items():
        known = {name: float(values[f"{figure}/{name}"]) for name in kept}
        least = min if figure in LOW_IS_WORSE else max
        worst = least(known, key=known.__getitem__) if len(known) > 1 else ""
        apart = bootstrap.largest(*_pairs(values, drawn, [(figure, kept)]))
        gaps[figure] = Gap(difference=apart, worst=worst, values=known)
    both = [(name, compared[name]) for name in EQUALISED]
    enough = all(len(kept) > 1 for _, kept in both)
    equalised = bootstrap.largest(*_pairs(values, drawn, both)) if enough else NOTHING
    return Disparity(gaps=gaps, equalised_odds=equalised, too_small=_too_small(members))


def _pairs(
    values: Mapping[str, Floats], drawn: Mapping[str, Floats], figures: Sequence[tuple[str, list[str]]]
) -> tuple[Floats, Floats | None]:
    """Return the differences of figures between all pairs of their groups, and their replicates [R, D]."""
    pairs = [
        (f"{figure}/{one}", f"{figure}/{two}")
        for figure, kept in figures
        for one, two in itertools.combinations(kept, 2)
    ]
    apart = np.array([values[one] - values[two] for one, two in pairs])
    if not drawn or not pairs:
        return apart, None
    return apart, np.stack([drawn[one] - drawn[two] for one, two in pairs], axis=1)


def _by_group(
    files: Predictions, group: NDArray[Any], threshold: float, names: list[str], weight: Floats
) -> dict[str, Floats]:
    """Return every figure of every group, float [R], as ``figure/group``."""
    found: dict[str, Floats] = {}
    for name in names:
        held = group == name
        part, parts = files.where(held), weight[:, held]
        called = part.probability >= threshold
        fake, real = (parts @ (part.label == label) for label in (1, 0))
        alarm, lost = parts @ ((part.label == 0) & called), parts @ ((part.label == 1) & ~called)
        found[f"auc/{name}"] = ranking_figures(*cumulative(part, parts))["auc"]
        found[f"accuracy/{name}"] = 1 - ratio(alarm + lost, fake + real)
        found[f"real_called_fake/{name}"] = ratio(alarm, real)
        found[f"fake_called_real/{name}"] = ratio(lost, fake)
    return found


def _missing(part: Predictions, labels: tuple[int, ...]) -> bool:
    """Whether a group has too few files, or sources, of the labels, or in all where none are named."""
    kept = [part.label == label for label in labels] or [np.ones(len(part.label), bool)]
    return any(each.sum() < MIN_FILES or len(np.unique(part.source[each])) < MIN_SOURCES for each in kept)


def _too_small(members: Mapping[str, Predictions]) -> dict[str, str]:
    """Say of each group that is left out of a gap what it lacks."""
    told = {}
    for name, part in members.items():
        lacking = [
            f"{int(held.sum())} {word} files of {len(np.unique(part.source[held]))} sources"
            for label, word in ((0, "real"), (1, "fake"))
            if _missing(part, (label,))
            for held in (part.label == label,)
        ]
        if lacking:
            told[name] = (
                f"{' and '.join(lacking)}: at least {MIN_FILES} of {MIN_SOURCES} sources are needed "
                "to say anything"
            )
    return told
