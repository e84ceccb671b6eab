"""Analyzers testify: they measure media and say what they saw. They never vote."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import get_args

from deepscan.media.source import Media
from deepscan.registry import Registry
from deepscan.verdict import Evidence, Finding

GROUPS = (
    "provenance",
    "model",
    "metadata",
    "compression",
    "noise",
    "spectrum",
    "face",
    "voice",
    "sound",
    "sync",
)
"""What analyzers look at, in the order in which their evidence is shown."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Analyzer:
    """A way of measuring media; adding one is adding a file here that registers it.

    Attributes:
        name: Name in the registry and in verdicts.
        group: What it looks at, one of ``GROUPS``.
        summary: One line for tables.
        measures: Names of the measurements, all of which every Evidence has that it gives.
        accepts: Tells whether there is anything to measure in a file.
        testify: Measures a file; raises AbstainError where there is nothing to measure after all, and
            MediaError where the media does not decode.
    """

    name: str
    group: str
    summary: str
    measures: tuple[str, ...]
    accepts: Callable[[Media], bool]
    testify: Callable[[Media], Evidence]


ANALYZERS: Registry[Analyzer] = Registry("analyzer")


def ordered(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Return evidence as people should read it: what matters most first, then by group."""
    return sorted(evidence, key=lambda each: (-_WEIGHTS.index(each.finding), _rank(each.group)))


_WEIGHTS: tuple[Finding, ...] = get_args(Finding)


def _rank(group: str) -> int:
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)
