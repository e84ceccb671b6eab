"""Analyzers testify: they measure media and say what they saw. They never vote."""

import dataclasses
from collections.abc import Callable

from deepscan.media.source import Media
from deepscan.registry import Registry
from deepscan.verdict import Evidence


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Analyzer:
    """A way of measuring media; adding one is adding a file here that registers it.

    Attributes:
        name: Name in the registry and in verdicts.
        summary: One line for tables.
        accepts: Tells whether there is anything to measure in a file.
        testify: Measures a file; raises AbstainError where there is nothing to measure after all, and
            MediaError where the media does not decode.
    """

    name: str
    summary: str
    accepts: Callable[[Media], bool]
    testify: Callable[[Media], Evidence]


ANALYZERS: Registry[Analyzer] = Registry("analyzer")
