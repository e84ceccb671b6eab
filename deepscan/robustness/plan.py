"""What is to be judged: which files, delivered in which ways, and what an earlier run has done of it."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deepscan.bundle import Bundle
from deepscan.datasets.store import file_id
from deepscan.errors import DataError, MediaError
from deepscan.evaluation import Judging
from deepscan.media.deliveries import VERSION, Delivery, choose
from deepscan.media.deliveries.catalog import load_builtin
from deepscan.media.source import Media

CLEAN = "as-is"
"""The name of no delivery: files as they are."""

FOLDER = "robustness"
SAID = pa.schema(
    [
        ("number", pa.int64()),
        ("status", pa.string()),
        ("logit", pa.float64()),
        ("ensemble", pa.float64()),
        ("reason", pa.string()),
    ]
)
"""What is said of a delivered file: its row of the files; ``judged``, ``abstained`` or ``failed``; the logit
of the detector and of the ensemble over deliveries, null where there is none; why there is none."""

_ASKED = b"deepscan.asked"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What the user asks for.

    Attributes:
        deliveries: Names, or ``all`` or ``quick`` in the place of one.
        files: Judge so many files at most; None = all of them.
        ensemble: Judge by the ensemble over mild deliveries, too.
        seed: Seed of the choice of files.
    """

    deliveries: tuple[str, ...] = ("all",)
    files: int | None = None
    ensemble: bool = False
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Files, and how each of them is delivered and judged.

    Attributes:
        bundle: The bundle that judges.
        files: Columns ``path``, ``label``, ``source`` and ``kind``, a row a file.
        deliveries: The ways, without those that this machine cannot make.
        unavailable: Why it cannot, by name.
        mild: The ways through which the ensemble looks; empty = there is none.
        judging: How files are judged.
        out: Folder of what was said.
    """

    bundle: Bundle
    files: pa.Table
    deliveries: tuple[Delivery, ...]
    unavailable: dict[str, str]
    mild: tuple[Delivery, ...]
    judging: Judging
    out: pathlib.Path

    @property
    def names(self) -> tuple[str, ...]:
        """All that is judged, files as they are first."""
        return (CLEAN, *(delivery.name for delivery in self.deliveries))

    def numbers(self, name: str) -> list[int]:
        """Return the rows of the files that a delivery takes."""
        kinds = self.files.column("kind").to_pylist()
        taken = {each.name: each.kinds for each in self.deliveries}.get(name, tuple(kinds))
        return [number for number, kind in enumerate(kinds) if kind in taken]

    def kept(self, name: str) -> pa.Table | None:
        """Return what an earlier run wrote of a delivery; None where that is no answer to this question."""
        path = self._path(name)
        if not path.is_file():
            return None
        table = pq.read_table(path)
        return table if (table.schema.metadata or {}).get(_ASKED) == self._digest() else None

    def keep(self, name: str, said: pa.Table) -> None:
        """Write what was said of a delivery, columns of ``SAID``, as a whole or not at all."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        pq.write_table(said.replace_schema_metadata({_ASKED: self._digest()}), partial)
        partial.replace(path)

    def _path(self, name: str) -> pathlib.Path:
        return self.out / FOLDER / f"{name}.parquet"

    def _digest(self) -> bytes:
        """Return a digest of everything that the judgement of a delivery depends on but its name."""
        facts = {
            "bundle": self.bundle.card.id,
            "files": [file_id(path) for path in self.files.column("path").to_pylist()],
            "ensemble": [each.name for each in self.mild],
            "version": VERSION,
        }
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest().encode()


def plan(bundle: Bundle, judged: pa.Table, asked: Asked, judging: Judging, out: pathlib.Path) -> Plan:
    """Choose files and deliveries.

    Args:
        bundle: The bundle.
        judged: The files that it judged as they are, columns of ``evaluation.predictions``; those without
            a logit are left out.
        asked: What the user asks for.
        judging: How files are judged.
        out: Folder of what is written.

    Raises:
        ConfigError: A delivery is unknown, or none takes any of the files.
        DataError: There are no files that the bundle judges.
    """
    rows = [row for row in judged.to_pylist() if row["logit"] is not None]
    taken = (rows[at] for at in subset(rows, asked.files, asked.seed))
    files = [
        {name: row[name] for name in ("path", "label", "source")} | {"kind": _kind(row["path"])}
        for row in taken
    ]
    if not files:
        msg = f"None of the {len(judged)} files of the split can be judged as they are; the ledger says why."
        raise DataError(msg)
    known = load_builtin()
    kinds = {each["kind"] for each in files} - {""}
    chosen = choose(asked.deliveries, kinds, known)
    mild = [each for each in choose(("all",), kinds, known) if each.mild] if asked.ensemble else []
    return Plan(
        bundle=bundle,
        files=pa.Table.from_pylist(files),
        deliveries=tuple(each for each in chosen if not each.missing),
        unavailable={each.name: each.complaint for each in chosen if each.missing},
        mild=tuple(each for each in mild if not each.missing),
        judging=judging,
        out=out,
    )


def _kind(path: str) -> str:
    try:
        return Media.from_path(pathlib.Path(path)).facts.kind
    except MediaError:  # it was there a moment ago; whoever judges it as it is tells what is wrong now
        return ""


def subset(rows: Sequence[dict[str, object]], most: int | None, seed: int) -> list[int]:
    """Return which of some files to take, in order: as even as can be over both classes and their sources.

    The classes take turns, and in a class its sources do, in an order that the seed gives.

    Args:
        rows: Files, with ``label`` and ``source``.
        most: Number of files; None = all.
        seed: Seed of the order.
    """
    if most is None or most >= len(rows):
        return list(range(len(rows)))
    rng = np.random.default_rng(seed)
    queues = [list(_turns(rows, label, rng)) for label in (1, 0)]
    longest = max(map(len, queues))
    dealt = [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
    return sorted(dealt[:most])


def _turns(rows: Sequence[dict[str, object]], label: int, rng: np.random.Generator) -> Iterator[int]:
    """Yield the files of a class, one of each source in turn."""
    by_source: dict[object, list[int]] = {}
    for at in rng.permutation(len(rows)).tolist():
        if rows[at]["label"] == label:
            by_source.setdefault(rows[at]["source"], []).append(at)
    for turn in range(max(map(len, by_source.values()), default=0)):
        yield from (files[turn] for files in by_source.values() if turn < len(files))
