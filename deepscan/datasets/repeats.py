"""The same content twice: files of equal bytes, and files that look or sound alike."""

import collections
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from deepscan.datasets.examine import Seen
from deepscan.media.fingerprints import alike

ALIKE = 0.12
"""Largest share of the bits of two fingerprints that may differ. Copies in another coding, gain or size stay
below it; unrelated files differ in more than twice as many (``tests/media/test_fingerprints.py``)."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two files with the same content, by their rows, first < second.

    Attributes:
        first: Row of one file.
        second: Row of the other.
        exact: Whether their bytes are the same; otherwise they look or sound alike.
    """

    first: int
    second: int
    exact: bool


def pairs(seen: Sequence[Seen]) -> list[Pair]:
    """Return the pairs of files with the same content.

    Of many files of equal bytes each is paired with the first only, which alone is compared with others.
    """
    copies: dict[str, list[int]] = collections.defaultdict(list)
    for row, each in enumerate(seen):
        if each.sha256:
            copies[each.sha256].append(row)
    found = [Pair(first=rows[0], second=row, exact=True) for rows in copies.values() for row in rows[1:]]
    firsts = [rows[0] for rows in copies.values()]
    return found + [Pair(first=a, second=b, exact=False) for a, b in _near(seen, firsts)]


def _near(seen: Sequence[Seen], rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    comparable: dict[tuple[str, int], list[int]] = collections.defaultdict(list)
    for row in rows:
        bits = seen[row].bits
        if bits is not None:
            comparable[seen[row].kind, len(bits)].append(row)
    for members in comparable.values():
        bits_NB = np.stack([bits for row in members if (bits := seen[row].bits) is not None])
        for first, second in alike(bits_NB, ALIKE):
            yield members[first], members[second]
