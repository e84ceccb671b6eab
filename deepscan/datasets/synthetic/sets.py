"""The files of a made set: written source by source, so that an interrupted run goes on where it was."""

import csv
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deepscan.datasets.synthesize import claim
from deepscan.errors import ConfigError

Progress = Callable[[int, int], None]
"""Called with how much is done and of how much."""

MANIFEST = "manifest.csv"
_COLUMNS = ("path", "label", "split", "source", "generator", "truth")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What set a user wants; None leaves a setting to the kind of set, which refuses what it cannot use.

    Attributes:
        out: Folder to write; absent, empty, or written before with the same order.
        count: Files in all, half of them fake.
        size_px: Side of the square pictures.
        seed: Seed of everything, at least 0.
        recordings: Real recordings to copy, as ``layout.scan`` reads them.
    """

    out: pathlib.Path
    count: int | None = None
    size_px: int | None = None
    seed: int = 0
    recordings: pathlib.Path | None = None

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: A number is out of range.
        """
        if self.seed < 0 or (self.count is not None and (self.count < 2 or self.count % 2)):
            msg = (
                f"Cannot make {self.count} files with seed {self.seed}: count must be even and at least 2, "
                "seed at least 0."
            )
            raise ConfigError(msg)

    def refuse(self, **unused: str) -> None:
        """Refuse settings that a kind of set has no use for.

        Args:
            **unused: Names of settings and why each has no use here.

        Raises:
            ConfigError: One of them is set.
        """
        for name, why in unused.items():
            if getattr(self, name) is not None:
                msg = f"{name} = {str(getattr(self, name))!r} has no use here: {why}. Leave it out."
                raise ConfigError(msg)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file of the set.

    Attributes:
        data: Its bytes.
        suffix: Ending of its name, with the dot.
        generator: How it was forged; empty for a real one.
        truth: What is known about it, as JSON has it.
    """

    data: bytes
    suffix: str
    generator: str
    truth: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What the files of one index derive from: its name and, if it is settled already, its split."""

    name: str
    split: str = ""


def write_set(
    out: pathlib.Path,
    settings: Mapping[str, Any],
    sources: Sequence[Source],
    make: Callable[[int], list[File]],
    progress: Progress | None = None,
) -> pathlib.Path:
    """Write ``real/`` and ``fake/<generator>/``, the truth of each source, and a manifest of all.

    What an earlier run with the same settings finished is kept.

    Args:
        out: Folder.
        settings: All that decides the content.
        sources: One for each index.
        make: Index -> the files that derive from that source, at most one real and one of each generator;
            called in threads, several at a time.
        progress: Called with the sources done and their number, in this thread.

    Returns:
        Path of ``manifest.csv``, with the columns path, label, split, source, generator and truth (a JSON
        file: path -> what is known).

    Raises:
        DataError: The folder holds other things.
    """
    claim(out, settings)

    def complete(index: int) -> None:
        if not _finished(out, _truth(index)):
            _write_source(out, index, make(index))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(complete, range(len(sources))), 1):
            if progress is not None:
                progress(done, len(sources))
    return _write_manifest(out, sources)


def _write_manifest(out: pathlib.Path, sources: Sequence[Source]) -> pathlib.Path:
    rows: list[tuple[str, ...]] = []
    for index, source in enumerate(sources):
        truth = _truth(index)
        for path, known in json.loads((out / truth).read_text(encoding="utf-8")).items():
            label = "fake" if known["generator"] else "real"
            rows.append((path, label, source.split, source.name, known["generator"], truth))
    with (out / MANIFEST).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *rows])
    return out / MANIFEST


def _truth(index: int) -> str:
    return f"truth/{index:05}.json"


def _finished(out: pathlib.Path, truth: str) -> bool:
    return (out / truth).is_file() and all(
        (out / path).is_file() for path in json.loads((out / truth).read_text(encoding="utf-8"))
    )


def _write_source(out: pathlib.Path, index: int, files: list[File]) -> None:
    known = {}
    for file in files:
        folder = f"fake/{file.generator}" if file.generator else "real"
        path = f"{folder}/{index:05}{file.suffix}"
        (out / folder).mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(file.data)
        known[path] = {"generator": file.generator, **file.truth}
    # Written last and renamed: where the truth is, its files are complete.
    (out / "truth").mkdir(exist_ok=True)
    unfinished = out / f"{_truth(index)}.unfinished"
    unfinished.write_text(json.dumps(known, indent=1), encoding="utf-8")
    unfinished.replace(out / _truth(index))
