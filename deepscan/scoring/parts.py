"""The folder of scores: Parquet files, each put in place by a rename, so that whatever is there is whole."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from deepscan import storage
from deepscan.errors import DataError, DeepscanError, ResourceError, StorageError
from deepscan.scoring.rows import SCHEMA, SCORED, VERSION

_VERSION, _JUDGES = b"deepscan.scores", b"deepscan.judges"
_BATCH_ROWS = 4096
_OF_THE_MOMENT = pa.array([StorageError.__name__, ResourceError.__name__, DeepscanError.__name__])


class Parts:
    """The parts of one folder, all of them the words of the same judges.

    Attributes:
        out: The folder, an absolute location.
        judges: Who judges and how, as values of JSON.
    """

    def __init__(self, out: str, judges: Mapping[str, Any]) -> None:
        """Name the folder; nothing is created until a part is written."""
        self.out = storage.absolute(out)
        self.judges = dict(judges)

    def check(self) -> None:
        """Make sure that the folder can be written and holds nobody else's scores.

        Raises:
            DataError: It holds those of other judges or of another version.
            StorageError: It cannot be written.
        """
        for location in _parts(self.out):
            self._check(location)
        probe = storage.join(self.out, ".probe")
        storage.write(probe, b"deepscan")
        storage.remove(probe)

    def settle(self, inbox: pa.Table) -> NDArray[np.bool_]:
        """Return which files of an inbox have their row, bool [N].

        A row goes that tells of a file as it no longer is, or of what was wrong with storage or memory and
        not with the file: such a file is to be judged again, and has one row then.

        Raises:
            StorageError: The folder cannot be read or written.
        """
        done = np.zeros(len(inbox), np.bool_)
        locations = _parts(self.out)
        rows, sizes = _read_all(locations, ("path", "file_id", "error"))
        place = _places(rows, inbox)
        same = pc.equal(inbox.column("file_id").take(place), rows.column("file_id"))
        lost = pc.is_in(rows.column("error"), value_set=_OF_THE_MOMENT)
        kept = pc.fill_null(pc.and_(same, pc.invert(lost)), True).combine_chunks()
        done[place.filter(pc.and_(pc.is_valid(place), kept)).to_numpy()] = True
        ends = np.cumsum(sizes)
        for location, size, end in zip(locations, sizes, ends, strict=True):
            mine = kept.slice(end - size, size)
            if not pc.all(mine).as_py():
                self._keep(location, mine)
        return done

    def write(self, rows: pa.Table) -> None:
        """Add a part. Its name comes from the files in it, so that written again it is the same part.

        Raises:
            StorageError: It cannot be written; nothing is left of it.
        """
        ids = "".join(rows.column("file_id").to_pylist())
        digest = hashlib.sha256(ids.encode()).hexdigest()[:24]
        self._put(storage.join(self.out, f"part-{digest}.parquet"), rows)

    def _put(self, location: str, rows: pa.Table) -> None:
        facts = {_VERSION: str(VERSION).encode(), _JUDGES: json.dumps(self.judges, sort_keys=True).encode()}
        sink = pa.BufferOutputStream()
        pq.write_table(rows.replace_schema_metadata(facts), sink, compression="zstd")
        storage.write(location, sink.getvalue())

    def _keep(self, location: str, chosen: Any) -> None:
        rows = _read(location).filter(chosen)
        if len(rows):
            self._put(location, rows)
        else:
            storage.remove(location)

    def _check(self, location: str) -> None:
        facts = _read(location, ()).schema.metadata or {}
        if facts.get(_VERSION) != str(VERSION).encode():
            msg = f"{location} holds no scores of version {VERSION}; give another folder with --out."
            raise DataError(msg)
        judges = json.loads(facts[_JUDGES])
        if judges != self.judges:
            msg = (
                f"{self.out} holds scores of {judges}, which are not those of {self.judges}; give the same "
                "bundles and settings as then, or another folder with --out."
            )
            raise DataError(msg)


def read_scores(out: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yield every row of a folder of scores, a dict with the columns of ``rows.SCHEMA``.

    Raises:
        DataError: A part is none.
        StorageError: The folder cannot be read.
    """
    for location in _parts(storage.absolute(out)):
        for batch in _read(location).to_batches(_BATCH_ROWS):
            yield from batch.to_pylist(maps_as_pydicts="strict")


def count(out: str, inbox: pa.Table) -> dict[str, int]:
    """Return how many files of an inbox have each label, ``abstained`` or gave an ``error``.

    Raises:
        StorageError: The folder cannot be read.
    """
    rows, _ = _read_all(_parts(storage.absolute(out)), ("path", "status", "label"))
    ours = rows.filter(pc.is_valid(_places(rows, inbox)))
    words = pc.if_else(pc.equal(ours.column("status"), SCORED), ours.column("label"), ours.column("status"))
    return dict(Counter(words.to_pylist()))


def _places(rows: pa.Table, inbox: pa.Table) -> Any:
    """Return which row of the inbox the file of each row is; null = none of them."""
    return pc.index_in(rows.column("path").combine_chunks(), value_set=inbox.column("path").combine_chunks())


def _read_all(locations: Sequence[str], columns: Sequence[str]) -> tuple[pa.Table, list[int]]:
    """Return some columns of several parts as one table, and how many rows each part has."""
    tables = [_read(location, columns) for location in locations]
    empty = SCHEMA.empty_table().select(list(columns))
    return pa.concat_tables([empty, *tables]), [len(table) for table in tables]


def _parts(out: str) -> list[str]:
    if not storage.is_folder(out):
        return []
    found = (each.location for each in storage.files(out))
    return sorted(each for each in found if storage.name(each).startswith("part-"))


def _read(location: str, columns: Sequence[str] = tuple(SCHEMA.names)) -> pa.Table:
    with storage.opened(location) as file:
        try:
            return pq.ParquetFile(file).read(columns=list(columns))
        except pa.ArrowInvalid as error:
            msg = f"{location} is no part of a folder of scores ({error}); take it away."
            raise DataError(msg) from error
