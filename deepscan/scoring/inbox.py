"""What is to be scored: a folder, a manifest or a list -> a table, one row a file."""

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from deepscan import storage
from deepscan.datasets.layout import ALIASES
from deepscan.errors import DataError
from deepscan.scoring.rows import GIVEN
from deepscan.storage import Entry

INBOX = pa.schema(
    [
        ("path", pa.string()),
        ("file_id", pa.string()),
        ("size_bytes", pa.int64()),
        *((name, pa.string()) for name in GIVEN),
    ]
)
"""One row a file; ``size_bytes`` is null where there is no such file."""

_COLUMN_OF = {"given_label": "label", "split": "split", "source": "source", "generator": "generator"}


def open_inbox(given: str, out: str) -> pa.Table:
    """Return the files to score, in a fixed order.

    Args:
        given: A folder, all of whose files are meant but hidden ones and those below ``out``; a manifest
            (CSV, TSV, Parquet, JSON lines) with a column of paths; or a list (TXT), one path a line. Paths
            may be relative to the place of the manifest or list. All of them may be URIs.
        out: Folder of the scores.

    Returns:
        Columns as in ``INBOX``.

    Raises:
        DataError: Nothing is found, or a manifest cannot be used.
        StorageError: It cannot be read.
    """
    place, ours = storage.absolute(given), storage.absolute(out)
    if storage.is_folder(place):
        found = (each for each in storage.files(place) if not _within(each.location, ours))
        entries, columns = sorted(found, key=lambda each: each.location), {}
    else:
        table = _read_table(place)
        paths = _texts(table, "path", place)
        columns = {ours: _texts(table, theirs, place) for ours, theirs in _COLUMN_OF.items()}
        entries = storage.find_all(_unique([_absolute(path, place) for path in paths], place))
    if not entries:
        msg = f"{place} holds no files; give a folder of media, or a manifest or list that names some."
        raise DataError(msg)
    return _table(entries, columns)


def file_id(entry: Entry) -> str:
    """Return 32 hex digits that change with the location, size and time of change of a file."""
    facts = entry.location if entry.size_bytes is None else "\0".join(_facts(entry))
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def _facts(entry: Entry) -> Sequence[str]:
    return entry.location, str(entry.size_bytes), str(entry.mtime_ns)


def _table(entries: Sequence[Entry], columns: dict[str, list[str | None]]) -> pa.Table:
    known: dict[str, Iterable[Any]] = {
        "path": [each.location for each in entries],
        "file_id": [file_id(each) for each in entries],
        "size_bytes": [each.size_bytes for each in entries],
    }
    empty = [None] * len(entries)
    return pa.table({name: known.get(name, columns.get(name, empty)) for name in INBOX.names}, schema=INBOX)


def _within(location: str, folder: str) -> bool:
    return location.startswith(folder.rstrip("/") + "/")


def _absolute(path: str, place: str) -> str:
    if "://" in path or path.startswith("/"):
        return storage.absolute(path)
    return storage.absolute(storage.join(storage.parent(place), *path.split("/")))


def _unique(locations: list[str], place: str) -> list[str]:
    repeated = [location for location, count in Counter(locations).items() if count > 1]
    if repeated:
        msg = f"{place} names {len(repeated)} files twice or more ({repeated[0]}, ...); keep one row of each."
        raise DataError(msg)
    return locations


def _read_table(place: str) -> pa.Table:
    suffix = place.rpartition(".")[2].lower()
    if suffix not in _READERS:
        kinds = ", ".join(f".{each}" for each in _READERS)
        msg = f"{place} is no folder, and no manifest or list, whose names end in {kinds}."
        raise DataError(msg)
    data = pa.BufferReader(storage.read(place))
    try:
        table = _READERS[suffix](data)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        msg = f"{place} does not read as .{suffix}: {error}"
        raise DataError(msg) from error
    names = [_ours(name) for name in table.column_names]
    if "path" not in names:
        msg = f"{place} has no column for the path: it has {', '.join(table.column_names)}. Name one 'path'."
        raise DataError(msg)
    return table.rename_columns(names)


def _ours(name: str) -> str:
    lowered = name.strip().casefold()
    return next((ours for ours, alias in ALIASES.items() if alias.fullmatch(lowered)), name)


def _texts(table: pa.Table, name: str, place: str) -> list[Any]:
    if name not in table.column_names:
        return [None] * len(table)
    if table.column_names.count(name) > 1:
        msg = f"{place} has several columns for the {name}; rename all but one."
        raise DataError(msg)
    return list(table.column(name).cast(pa.string()).to_pylist())


def _read_delimited(data: Any) -> pa.Table:
    header = data.read_buffer().to_pybytes().decode("utf-8-sig").partition("\n")[0]
    delimiter = max("\t,;|", key=header.count)
    names = next(csv.reader([header.strip()], delimiter=delimiter), [])
    data.seek(0)
    # Text stays text: as numbers, the sources 007 and 7 would be one.
    return pyarrow.csv.read_csv(
        data,
        read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )


def _read_list(data: Any) -> pa.Table:
    lines = data.read_buffer().to_pybytes().decode("utf-8-sig").splitlines()
    return pa.table({"path": pa.array([line.strip() for line in lines if line.strip()], pa.string())})


_READERS: dict[str, Callable[[Any], pa.Table]] = {
    "csv": _read_delimited,
    "tsv": _read_delimited,
    "parquet": pyarrow.parquet.read_table,
    "jsonl": pyarrow.json.read_json,
    "txt": _read_list,
}
