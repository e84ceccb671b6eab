"""Looks at every file of a data set once: what it says of itself, and its fingerprint."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from deepscan.errors import MediaError
from deepscan.media.fingerprints import Bits, fingerprint
from deepscan.media.headers import Measures, describe
from deepscan.media.source import Limits, Media


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Seen:
    """What was seen of a file.

    Attributes:
        kind: The kind of media; empty for a file that is no sound media.
        sha256: Digest of the content.
        measures: What the file says of itself.
        bits: Fingerprint; None where there is nothing to compare.
        problem: Why the file cannot be read; empty where it can.
    """

    kind: str = ""
    sha256: str = ""
    measures: Measures = dataclasses.field(default_factory=dict)
    bits: Bits | None = None
    problem: str = ""


def examine(
    paths: Sequence[str], limits: Limits | None = None, advance: Callable[[int, int], None] | None = None
) -> list[Seen]:
    """Look at files, several at once, in the order of ``paths``.

    Args:
        paths: The files.
        limits: What is too large to be read; None = the defaults of ``Limits``.
        advance: Called with the number of files done and of all.
    """
    seen: list[Seen] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for each in pool.map(lambda path: look(pathlib.Path(path), limits), paths):
            seen.append(each)
            if advance:
                advance(len(seen), len(paths))
    return seen


def look(path: pathlib.Path, limits: Limits | None = None) -> Seen:
    """Look at one file; one that cannot be read is no error but a ``problem``."""
    try:
        media = Media.from_path(path, limits)
        facts = media.facts
        return Seen(kind=facts.kind, sha256=facts.sha256, measures=describe(media), bits=fingerprint(media))
    except MediaError as error:
        return Seen(problem=f"{type(error).__name__}: {error}")
