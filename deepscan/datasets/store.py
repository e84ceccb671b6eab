"""The prepared store: Examples in Parquet, and the ledger of every file that was looked at.

A store is the folder ``<root>/<prep digest>/``. Each Parquet file in it is one finished piece of
work, put in place by a rename: whatever is there is whole. A row is an Example of a file, or the
reason why the file gave none. Row groups are small, so that training reads at random.
"""

import dataclasses
import hashlib
import os
import pathlib
import uuid
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from deepscan.errors import AbstainError, DataError, MediaError
from deepscan.media.source import Limits, Media
from deepscan.modalities import Column, Example, Prep

ROW_GROUP_EXAMPLES = 8
USED = "used"
LEDGER_COLUMNS = ("id", "path", "part", "status", "reason")
Kind = Literal["examples", "ledger"]


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One Example of a file, or why there is none.

    Attributes:
        path: The file.
        part: Number of the Example within the file.
        status: ``used``, ``corrupt``, or the reason of an AbstainError such as ``no-face``.
        reason: Message of the error; empty when used.
        example: The Example; None when not used or not kept.
    """

    path: str
    part: int
    status: str
    reason: str
    example: Example | None


def file_id(path: str) -> str:
    """Return 32 hex digits that change with the file's path, size and modification time."""
    try:
        stat = os.stat(path)
        facts = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}"
    except OSError:
        facts = path
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def prepare_file(path: str, prep: Prep, limits: Limits) -> list[Row]:
    """Run a Prep on one file; whatever is wrong with the file becomes a row."""
    try:
        examples = prep(Media.from_path(pathlib.Path(path), limits))
    except AbstainError as error:
        return [Row(path, 0, error.reason, str(error), None)]
    except (MediaError, OSError) as error:
        return [Row(path, 0, "corrupt", str(error), None)]
    return [Row(path, part, USED, "", example) for part, example in enumerate(examples)]


class Store:
    """The prepared Examples of one Prep under one root folder."""

    def __init__(self, root: pathlib.Path, prep: Prep) -> None:
        """Name the store; nothing is created until something is written."""
        self.path = root / prep.digest
        self.columns = dict(prep.columns)

    def write(self, rows: Sequence[Row], kind: Kind) -> None:
        """Add one Parquet file with these rows, whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        names = self.columns if kind == "examples" else {}
        table = pa.table(
            {
                "id": [file_id(row.path) for row in rows],
                "path": [row.path for row in rows],
                "part": pa.array([row.part for row in rows], pa.int32()),
                "status": [row.status for row in rows],
                "reason": [row.reason for row in rows],
            }
            | {name: pa.array([_bytes(row, name) for row in rows], pa.binary()) for name in names}
        )
        target = self.path / f"{kind}-{uuid.uuid4().hex}.parquet"
        draft = target.with_suffix(".draft")
        pq.write_table(
            table, draft, row_group_size=ROW_GROUP_EXAMPLES, compression="zstd", compression_level=1
        )
        os.replace(draft, target)

    def index(self, *kinds: Kind) -> pa.Table:
        """Return the ledger columns of all rows, with the ``file``, ``group`` and ``row`` they lie at.

        Where a file was looked at twice, its rows of the first kind named win.
        """
        pieces = [_index_of(file) for kind in kinds for file in sorted(self.path.glob(f"{kind}-*.parquet"))]
        return _first_of_each(pa.concat_tables(pieces)) if pieces else _EMPTY_INDEX

    def read(self, file: str, group: int, rows: Sequence[int], names: Sequence[str]) -> list[Example]:
        """Read Examples that ``index`` told the place of, only the named columns."""
        with pq.ParquetFile(self.path / file) as parquet:
            table = parquet.read_row_group(group, columns=list(names)).take(pa.array(rows, pa.int64()))
        columns = {name: table.column(name).to_pylist() for name in names}
        return [
            {name: _array(values[i], self.columns[name]) for name, values in columns.items()}
            for i in range(len(rows))
        ]


def _bytes(row: Row, name: str) -> bytes | None:
    return None if row.example is None else np.ascontiguousarray(row.example[name]).tobytes()


def _array(data: bytes | None, column: Column) -> NDArray[Any]:
    if data is None:
        msg = "A row without an Example was asked for; only rows with status 'used' have one."
        raise DataError(msg)
    return np.frombuffer(data, dtype=column.dtype).reshape(column.shape)


def _index_of(path: pathlib.Path) -> pa.Table:
    with pq.ParquetFile(path) as parquet:
        table = parquet.read(columns=list(LEDGER_COLUMNS))
        sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    group = np.repeat(np.arange(len(sizes)), sizes)
    row = np.arange(len(group)) - np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    places = {
        "file": pa.array([path.name] * len(table)),
        "group": pa.array(group, pa.int32()),
        "row": pa.array(row, pa.int32()),
    }
    for name, values in places.items():
        table = table.append_column(name, values)
    return table


def _first_of_each(table: pa.Table) -> pa.Table:
    """Keep, of every (id, part), the first row."""
    order = pa.array(np.arange(len(table)))
    first = table.append_column("order", order).group_by(["id", "part"]).aggregate([("order", "min")])
    return table.take(pa.array(np.sort(first.column("order_min").to_numpy())))


_EMPTY_INDEX = pa.table(
    {
        **{name: pa.array([], pa.int32() if name == "part" else pa.string()) for name in LEDGER_COLUMNS},
        "file": pa.array([], pa.string()),
        "group": pa.array([], pa.int32()),
        "row": pa.array([], pa.int32()),
    }
)
