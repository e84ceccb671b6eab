"""The regression set: a folder of files with the truth about each, as somebody told it.

``manifest.csv`` has a row a file, as ``deepscan.datasets.layout`` reads it; the files lie in ``files``
under the SHA-256 of their content, so that the same content is there once, whatever it was called.
"""

import collections
import contextlib
import csv
import dataclasses
import fcntl
import io
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence

from deepscan import storage
from deepscan.errors import ConfigError, DataError, StorageError
from deepscan.media.source import Media, Sampling

MANIFEST, FILES, LOCK = "manifest.csv", "files", ".lock"
COLUMNS = (
    "path",
    "label",
    "source",
    "generator",
    "note",
    "name",
    "added",
    "said_by",
    "said",
    "said_probability",
)
LABELS = ("real", "fake")
"""Names of the labels; the place of each is its number."""

SUFFIXES = {"jpeg": "jpg", "matroska": "mkv", "asf": "wmv", "mpeg-ts": "ts", "mpeg-ps": "mpg"}
"""Suffixes of the formats that are not called by them."""

FEWEST_DIGITS = 4
_STORED = re.compile(rf"{FILES}/([0-9a-f]{{64}})\.[a-z0-9]+")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A file of the set.

    Attributes:
        sha256: Hex digest of its content.
        path: Where it lies, from the folder of the set.
        label: 1 = fake, 0 = real, as somebody told it.
        source: The person or recording that it derives from; empty = not told.
        generator: What made it; empty = real, or not told.
        note: What else somebody said of it.
        name: What the file was called, without folders.
        added: Date on which it was added, as in 2026-05-01.
        said_by: Id of a bundle that judged it on that day; empty = none did.
        said: What it said: ``real``, ``fake`` or ``inconclusive``.
        said_probability: P(fake) in [0, 1] that it stated; None = none.
    """

    sha256: str
    path: str
    label: int
    source: str = ""
    generator: str = ""
    note: str = ""
    name: str = ""
    added: str = ""
    said_by: str = ""
    said: str = ""
    said_probability: float | None = None

    @property
    def row(self) -> dict[str, str]:
        """Its row of the manifest."""
        probability = "" if self.said_probability is None else f"{self.said_probability:.6f}"
        texts = {name: str(getattr(self, name)) for name in COLUMNS}
        return texts | {"label": LABELS[self.label], "said_probability": probability}


@dataclasses.dataclass(frozen=True, slots=True)
class RegressionSet:
    """A regression set. Several processes may add to it and take from it at a time.

    Attributes:
        folder: Where it lies; it need not be there yet.
    """

    folder: pathlib.Path

    def cases(self) -> list[Case]:
        """Return its files in the order in which they were added; none where there is no set yet.

        Raises:
            DataError: The manifest is not as ``add`` writes it.
            StorageError: It cannot be read.
        """
        path = self.folder / MANIFEST
        try:
            text = path.read_text(encoding="utf-8") if path.is_file() else ",".join(COLUMNS)
        except (OSError, ValueError) as error:
            msg = f"{path} cannot be read ({error}); look at its permissions, or put back a sound copy."
            raise StorageError(msg) from error
        rows = csv.DictReader(io.StringIO(text, newline=""))
        if tuple(rows.fieldnames or ()) != COLUMNS:
            msg = f"{path} has not the columns {', '.join(COLUMNS)}; put back the file that deepscan wrote."
            raise DataError(msg)
        return [self._case(number, row) for number, row in enumerate(rows, 2)]

    def add(self, media: Media, case: Case, replace: bool = False) -> tuple[Case, bool]:
        """Copy a file into the set, or renew what is known of it; what is not told stays as it was.

        Args:
            media: The file.
            case: What is known of it.
            replace: Forget what the set says of this content, its label too.

        Returns:
            The row as it is now, and whether it is a new one.

        Raises:
            DataError: The set says that the same content has the other label.
            StorageError: The set cannot be written.
        """
        with self._alone():
            known = self.cases()
            before = next((each for each in known if each.sha256 == case.sha256), None)
            if before and before.label != case.label and not replace:
                msg = (
                    f"{case.name} is in the set as {LABELS[before.label]} ({before.sha256[:12]}, added "
                    f"{before.added}); say --replace if it is {LABELS[case.label]}, or leave it as it is."
                )
                raise DataError(msg)
            if before and not replace:
                case = _renewed(before, case)
            self._copy(media, case)
            kept = [case if each.sha256 == case.sha256 else each for each in known]
            self._write(kept if before else [*kept, case])
        return case, before is None

    def remove(self, keys: Sequence[str]) -> list[Case]:
        """Take files out of the set and return their rows.

        Args:
            keys: First digits of the SHA-256 of each, at least four.

        Raises:
            ConfigError: A key is none, or that of no file or of several.
            StorageError: The set cannot be written.
        """
        with self._alone():
            known = self.cases()
            gone = [_found(known, key) for key in dict.fromkeys(keys)]
            self._write([each for each in known if each not in gone])
            for each in gone:
                (self.folder / each.path).unlink(missing_ok=True)
        return gone

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from writing while the block does."""
        with storage.writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / LOCK).open("a", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield

    def _case(self, number: int, row: dict[str, str]) -> Case:
        stored = _STORED.fullmatch(row["path"] or "")
        probability = _probability(row["said_probability"])
        if stored is None or row["label"] not in LABELS or None in row.values() or probability == "":
            msg = (
                f"Line {number} of {self.folder / MANIFEST} is not as deepscan writes it; take it out, and "
                "add the file by `deepscan feedback add`."
            )
            raise DataError(msg)
        texts = {name: row[name] for name in COLUMNS if name not in {"label", "said_probability"}}
        label = LABELS.index(row["label"])
        said = probability if isinstance(probability, float) else None
        return Case(sha256=stored[1], label=label, said_probability=said, **texts)

    def _copy(self, media: Media, case: Case) -> None:
        target = self.folder / case.path
        target.parent.mkdir(exist_ok=True)
        _replace(target, lambda draft: draft.write_bytes(media.data))

    def _write(self, cases: Sequence[Case]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(case.row for case in cases)
        _replace(self.folder / MANIFEST, lambda draft: draft.write_text(text.getvalue(), encoding="utf-8"))


def sound(path: pathlib.Path) -> Media:
    """Read a file and decode what detectors would look at: its picture, frames over its length, its sound.

    Raises:
        AbstainError: It holds neither.
        MediaError: It is no sound media.
    """
    media = Media.from_path(path)
    facts = media.facts
    if facts.duration_s is None:
        _ = media.picture_HWC
    elif facts.width_px is not None:
        collections.deque(media.frames(Sampling()), maxlen=0)
    if facts.has_sound:
        _ = media.recording
    return media


def stored_path(media: Media) -> str:
    """Return where a file lies in a set: by its content alone, and so its suffix."""
    facts = media.facts
    return f"{FILES}/{facts.sha256}.{SUFFIXES.get(facts.container, facts.container)}"


def key_of(word: str) -> str:
    """Return the key of a file that is named by digits of its digest, or by its path."""
    path = pathlib.Path(word)
    return Media.from_path(path).facts.sha256 if path.is_file() else word


def _renewed(before: Case, case: Case) -> Case:
    """Return what is known of a file when more is told of it; its date stays."""
    told = {name: getattr(case, name) for name in ("source", "generator", "note")}
    said = {name: getattr(case, name) for name in ("said_by", "said", "said_probability")}
    changed = {name: value for name, value in told.items() if value}
    return dataclasses.replace(before, **changed, **(said if case.said_by else {}))


def _found(known: Sequence[Case], key: str) -> Case:
    if len(key) < FEWEST_DIGITS or not re.fullmatch(r"[0-9a-f]+", key):
        msg = (
            f"{key!r} is no file, nor at least {FEWEST_DIGITS} digits of a digest; `deepscan feedback list` "
            "has them."
        )
        raise ConfigError(msg)
    found = [case for case in known if case.sha256.startswith(key)]
    if len(found) != 1:
        msg = f"{len(found)} files of the set begin with {key}; `deepscan feedback list` has their digests."
        raise ConfigError(msg)
    return found[0]


def _probability(text: str | None) -> float | str | None:
    """Return a probability; None = none was stated, "" = it is none."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        return ""
    return value if 0 <= value <= 1 else ""


def _replace(target: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """Write a file in one step, so that nobody reads half of it."""
    draft = target.with_name(f".{target.name}.tmp")
    try:
        write(draft)
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
