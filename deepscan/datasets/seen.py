"""What a bundle learnt from and was chosen on, and which files of other data are among it.

A figure on such files tells how well a detector remembers, not how well it detects. A bundle keeps a
short fingerprint of the content of each of these files, and of the name of each of their sources: a copy
of a file is found under any name, in any data set, and the bundle tells nobody what the data were.
"""

import base64
import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from deepscan.errors import SeenDataError

SPLITS = ("train", "val")
BYTES = 6
BLOCK_BYTES = 65536
READERS = 8
SHOWN = 3
Seen = Mapping[str, str]
"""``files`` and ``sources`` of each split, as ``train files``: sorted fingerprints in base64."""

OnSeen = Literal["refuse", "leave-out", "count"]
"""What becomes of files that a bundle learnt from or was chosen on."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """Which of some files, and of their sources, a bundle has seen.

    Attributes:
        total: Number of files looked at.
        files: Path -> the split that a file of this content was in, ``train`` or ``val``.
        sources: Source -> the split that files of a source of this name were in; without those of ``files``.
        same_data: Whether they are a split of the very data that the bundle learnt from or was chosen on.
        told: Whether the bundle says what it has seen at all; earlier versions wrote nothing down.
        left_out: Whether ``files`` are in no figure.
    """

    total: int
    files: dict[str, str]
    sources: dict[str, str]
    same_data: bool
    told: bool
    left_out: bool = False

    @property
    def sentences(self) -> tuple[str, ...]:
        """What has to be said of figures on these files, a sentence each."""
        said = []
        if self.same_data and not self.files:
            said.append("These files chose or trained the detector: figures are too good.")
        if self.files:
            end = "they are left out" if self.left_out else "figures are too good"
            said.append(
                f"{len(self.files)} of {self.total} files are among those that trained or chose the "
                f"detector ({_parts(self.files.values())}): {end}."
            )
        if self.sources:
            some = ", ".join(sorted(self.sources)[:SHOWN])
            more = ", ..." if len(self.sources) > SHOWN else ""
            said.append(
                f"{len(self.sources)} sources have names of sources that trained or chose the detector "
                f"({some}{more}): if they are the same ones, figures are too good."
            )
        if not self.told:
            said.append(
                "The bundle does not say which files it learnt from; whether it saw these is unknown."
            )
        return tuple(said)


def remember(ledger: pa.Table, earlier: Seen | None = None) -> dict[str, str]:
    """Return the fingerprints of a data set's training and validation files, and of their sources.

    Args:
        ledger: Columns ``path``, ``split`` and ``source``.
        earlier: What is remembered already, of the bundle that it started from.
    """
    found: dict[str, set[bytes]] = {key: _unpacked(text) for key, text in (earlier or {}).items()}
    for split in SPLITS:
        rows = ledger.select(["path", "source"]).filter(pc.equal(ledger["split"], split)).to_pylist()
        prints = _contents([row["path"] for row in rows])
        found.setdefault(f"{split} files", set()).update(each for each in prints if each)
        found.setdefault(f"{split} sources", set()).update(_name(row["source"]) for row in rows)
    return {key: base64.b64encode(b"".join(sorted(prints))).decode() for key, prints in found.items()}


def overlap(seen: Seen, files: pa.Table, same_data: bool, splits: Sequence[str] = SPLITS) -> Overlap:
    """Find out which files a bundle has seen.

    Args:
        seen: What the bundle remembers.
        files: Those to be judged; columns ``path`` and ``source``.
        same_data: Whether they are a split of its own data that trained or chose it.
        splits: Only what it saw in these counts.
    """
    keys = [f"{split} {what}" for split in splits for what in ("files", "sources")]
    kept = {key: _unpacked(seen.get(key, "")) for key in keys}
    paths, sources = files.column("path").to_pylist(), files.column("source").to_pylist()
    prints = _contents(paths) if seen else [b""] * len(paths)
    found = {
        path: split
        for split in reversed(splits)
        for path, each in zip(paths, prints, strict=True)
        if each in kept[f"{split} files"]
    }
    theirs = {source for path, source in zip(paths, sources, strict=True) if path in found}
    names = {
        source: split
        for split in reversed(splits)
        for source in set(sources) - theirs
        if _name(source) in kept[f"{split} sources"]
    }
    return Overlap(total=len(paths), files=found, sources=names, same_data=same_data, told=bool(seen))


def united(found: Sequence[Overlap], total: int) -> Overlap:
    """Return what any of several bundles has seen of ``total`` files."""
    return Overlap(
        total=total,
        files={path: split for each in found for path, split in each.files.items()},
        sources={source: split for each in found for source, split in each.sources.items()},
        same_data=any(each.same_data for each in found),
        told=all(each.told for each in found),
    )


def unseen(judged: pa.Table, seen: Overlap) -> pa.Table:
    """Return the rows whose ``path`` is none of the files that were seen, if those are to be left out."""
    if not seen.left_out:
        return judged
    return judged.filter(pc.invert(pc.is_in(judged.column("path"), pa.array(list(seen.files), pa.string()))))


def refuse(found: Overlap, name: str) -> None:
    """Refuse to measure a detector on what it learnt from.

    Raises:
        SeenDataError: It has seen some of the files.
    """
    if not (found.files or found.same_data):
        return
    examples = ", ".join(sorted(found.files)[:SHOWN])
    which = f"{len(found.files)} of {found.total} files ({_parts(found.files.values())}: {examples})"
    if not found.files:
        which = "This split"
    msg = (
        f"{which} trained {name} or chose its epoch, calibration and threshold: figures on them tell how "
        "well it remembers, not how well it detects. Give other data or the test split of its run's "
        "ledger.parquet, leave such files out with --seen leave-out, or measure them all the same, marked, "
        "with --seen count."
    )
    raise SeenDataError(msg)


def _parts(splits: Iterable[str]) -> str:
    named = list(splits)
    return ", ".join(f"{named.count(split)} of {split}" for split in SPLITS if split in named)


def _contents(paths: Sequence[str]) -> list[bytes]:
    """Return the fingerprint of each file's content; empty where it cannot be read any more."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(_content, paths))


def _content(path: str) -> bytes:
    """Hash a file's size with its first, middle and last 64 KiB: small files whole, large ones quickly."""
    try:
        with pathlib.Path(path).open("rb") as file:
            size = file.seek(0, 2)
            body = hashlib.sha256(str(size).encode())
            for start in sorted({0, max(0, size // 2 - BLOCK_BYTES // 2), max(0, size - BLOCK_BYTES)}):
                file.seek(start)
                body.update(file.read(BLOCK_BYTES))
    except OSError:
        return b""
    return body.digest()[:BYTES]


def _name(source: str) -> bytes:
    return hashlib.sha256(source.encode()).digest()[:BYTES]


def _unpacked(text: str) -> set[bytes]:
    packed = base64.b64decode(text)
    return {packed[start : start + BYTES] for start in range(0, len(packed), BYTES)}
