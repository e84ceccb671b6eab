"""The log of an experiment: Parquet files in a folder, as many as its limits allow.

Every process writes files of its own, so any number of them share a folder; it is a location of
``deepscan.storage``. Files are put in place whole, so they can be read at any time. What is not yet in
a file is lost when the process dies. Answers and feedback are apart: ``answers-*.parquet`` and
``feedback-*.parquet``, with the time, the writer and the writer's count of its files in the name.
"""

import dataclasses
import itertools
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from deepscan import storage
from deepscan.errors import ConfigError, StorageError
from deepscan.experiment import Entry, Feedback
from deepscan.experiment.answers import Answers, Truths

_log = logging.getLogger(__name__)

ANSWERS, FEEDBACK, CUT = "answers", "feedback", "cut.txt"
FILE = re.compile(rf"({ANSWERS}|{FEEDBACK})-(\d{{13}})-[0-9a-f]{{12}}-\d{{6,}}\.parquet")
SCHEMAS = {
    ANSWERS: pa.schema(
        [
            ("time_s", pa.float64()),
            ("request_id", pa.string()),
            ("sha256", pa.string()),
            ("variant", pa.string()),
            ("shadow", pa.bool_()),
            ("label", pa.string()),
            ("probability", pa.float64()),
            ("scores", pa.map_(pa.string(), pa.float64())),
            ("abstentions", pa.map_(pa.string(), pa.string())),
            ("elapsed_ms", pa.float64()),
            ("cached", pa.bool_()),
            ("key_hash", pa.string()),
        ]
    ),
    FEEDBACK: pa.schema(
        [
            ("label", pa.int8()),
            ("time_s", pa.float64()),
            ("source", pa.string()),
            ("request_id", pa.string()),
            ("sha256", pa.string()),
        ]
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class JournalLimits:
    """How much a log holds, and when it is written.

    Attributes:
        max_bytes: Most bytes in the folder; the oldest files go first. Just after a write there may be more,
            by one file for each process that writes.
        max_age_s: Files older than so many seconds go; None = no limit.
        rows_per_file: A file is written when so many rows wait.
        seconds_per_file: It is also written when the first of them has waited so many seconds.
    """

    max_bytes: int = 256 * 2**20
    max_age_s: float | None = None
    rows_per_file: int = 1000
    seconds_per_file: float = 60.0

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ConfigError: One is not above 0.
        """
        for name in ("max_bytes", "max_age_s", "rows_per_file", "seconds_per_file"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                msg = f"Setting {name!r} of the log cannot be {value}; give a number above 0."
                raise ConfigError(msg)


class Journal:
    """Writes one process's part of a log; its methods may be called from any thread.

    A log must not end the service that it is about: what cannot be written on the way is told to the
    log of the process and dropped. Only ``flush`` and ``close`` raise.
    """

    def __init__(
        self, folder: str, limits: JournalLimits | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Write to a folder, which is made with the first file.

        Args:
            folder: A path, or a URI of an object store.
            limits: How much it holds.
            clock: Tells the seconds since 1970.
        """
        self._folder = storage.absolute(folder)
        self._limits = limits or JournalLimits()
        self._clock = clock
        self._writer = uuid.uuid4().hex[:12]
        self._files = 0
        self._rows: dict[str, list[Entry] | list[Feedback]] = {ANSWERS: [], FEEDBACK: []}
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._closed = False

    def append(self, entry: Entry) -> None:
        """Take an answer; every so many of them, the call takes the time that writing a file takes."""
        self._take(ANSWERS, entry)

    def feedback(self, feedback: Feedback) -> None:
        """Take what somebody found out."""
        self._take(FEEDBACK, feedback)

    def flush(self) -> None:
        """Write what waits.

        Raises:
            StorageError: It cannot be written; it is dropped.
        """
        with self._lock:
            waiting = {kind: rows for kind, rows in self._rows.items() if rows}
            self._rows = {ANSWERS: [], FEEDBACK: []}
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            names = {kind: self._next_name(kind) for kind in waiting}
        for kind, rows in waiting.items():
            storage.write(storage.join(self._folder, names[kind]), _parquet(kind, rows))
        if waiting:
            self._drop_old()

    def close(self) -> None:
        """Write what waits, and take nothing more.

        Raises:
            StorageError: It cannot be written.
        """
        with self._lock:
            self._closed = True
        self.flush()

    def _take(self, kind: str, row: Any) -> None:
        with self._lock:
            if self._closed:
                _log.warning("The log %s is closed; a row is dropped.", self._folder)
                return
            self._rows[kind].append(row)
            full = len(self._rows[kind]) >= self._limits.rows_per_file
            if not full and self._timer is None:
                self._timer = _later(self._limits.seconds_per_file, self._flush_or_tell)
        if full:
            self._flush_or_tell()

    def _flush_or_tell(self) -> None:
        try:
            self.flush()
        except StorageError as error:
            _log.error("Rows of the log were dropped: %s", error)

    def _next_name(self, kind: str) -> str:
        self._files += 1
        return f"{kind}-{int(self._clock() * 1000):013d}-{self._writer}-{self._files:06d}.parquet"

    def _drop_old(self) -> None:
        """Delete the oldest files beyond the limits; other processes may do so at the same time."""
        try:
            beyond = self._beyond_limits(_files(self._folder))
            if beyond:
                _remember_cut(self._folder, beyond[-1].time_ms)
            for each in beyond:
                _remove(each.location)
        except StorageError as error:
            _log.warning("The log was not cut to its limits this time: %s", error)

    def _beyond_limits(self, found: "Sequence[_File]") -> "list[_File]":
        age_s = self._limits.max_age_s
        oldest_ms = 0.0 if age_s is None else (self._clock() - age_s) * 1000
        excess_bytes = sum(each.size_bytes for each in found) - self._limits.max_bytes
        before_bytes = itertools.accumulate((each.size_bytes for each in found), initial=0)
        return [
            each
            for each, before in zip(found, before_bytes, strict=False)
            if before < excess_bytes or each.time_ms < oldest_ms
        ]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Log:
    """What a folder holds.

    Attributes:
        answers: A row an answer, by time, with the fields of ``Entry``.
        feedback: A row a feedback, by time, with the fields of ``Feedback``.
        cut_s: Answers before this time, in seconds since 1970, may have been deleted to keep to the limits;
            None = nothing was.
        broken: Files that could not be read.
    """

    answers: pa.Table
    feedback: pa.Table
    cut_s: float | None
    broken: tuple[str, ...]


def read(folder: str) -> Log:
    """Read a log, also while it is written; a file that is broken is left out, with a warning.

    Raises:
        StorageError: There is no such folder, or it cannot be read.
    """
    folder = storage.absolute(folder)
    if not storage.is_folder(folder):
        msg = f"There is no folder {folder}; give the folder that the service writes its log to."
        raise StorageError(msg)
    found = _files(folder)
    tables: dict[str, list[pa.Table]] = {kind: [schema.empty_table()] for kind, schema in SCHEMAS.items()}
    broken = []
    for each in found:
        table = _read_file(each)
        if table is not None:
            tables[each.kind].append(table)
        elif storage.find(each.location).size_bytes is not None:
            _log.warning("%s is no file of a log, or broken; it is left out.", each.location)
            broken.append(each.location)
    joined = {kind: pa.concat_tables(parts).sort_by("time_s") for kind, parts in tables.items()}
    return Log(
        answers=joined[ANSWERS],
        feedback=joined[FEEDBACK],
        cut_s=_cut_ms(folder) / 1000 or None,
        broken=tuple(broken),
    )


def columns(log: Log) -> tuple[Answers, Truths]:
    """Return what a comparison needs of a log."""
    answers, feedback = log.answers, log.feedback
    names = ("time_s", "request_id", "sha256", "variant", "shadow", "label", "elapsed_ms", "cached")
    taken = {name: _array(answers[name]) for name in names}
    probability = _array(answers["probability"].fill_null(float("nan")))
    return (
        Answers(**taken, probability=probability, caller=_array(answers["key_hash"].fill_null(""))),
        Truths(
            time_s=_array(feedback["time_s"]),
            label=_array(feedback["label"]),
            request_id=_array(feedback["request_id"].fill_null("")),
            sha256=_array(feedback["sha256"].fill_null("")),
        ),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    location: str
    size_bytes: int
    kind: str
    time_ms: int


def _files(folder: str) -> list[_File]:
    """Return the files of a log, the oldest first; others in the folder are none of its business."""
    found = []
    for entry in storage.files(folder):
        named = FILE.fullmatch(storage.name(entry.location))
        if named:
            kind, time_ms = named.groups()
            found.append(
                _File(
                    location=entry.location,
                    size_bytes=entry.size_bytes or 0,
                    kind=kind,
                    time_ms=int(time_ms),
                )
            )
    return sorted(found, key=lambda each: (each.time_ms, each.location))


def _remember_cut(folder: str, time_ms: int) -> None:
    """Write down up to which time files were deleted, before they are."""
    if time_ms > _cut_ms(folder):
        storage.write(storage.join(folder, CUT), str(time_ms).encode())


def _cut_ms(folder: str) -> int:
    """Return up to which time files were deleted, in milliseconds since 1970; 0 = none were."""
    location = storage.join(folder, CUT)
    if storage.find(location).size_bytes is None:
        return 0
    text = storage.read(location).decode(errors="replace")
    return int(text) if text.isdecimal() else 0


def _read_file(file: _File) -> pa.Table | None:
    schema = SCHEMAS[file.kind]
    try:
        table = parquet.ParquetFile(pa.BufferReader(storage.read(file.location))).read()
        return table if table.schema.equals(schema) else None
    except (StorageError, pa.ArrowException, OSError):
        return None


def _parquet(kind: str, rows: Sequence[Any]) -> pa.Buffer:
    # ``asdict`` would copy deeply; Arrow takes a map as pairs.
    schema = SCHEMAS[kind]
    values = {name: [getattr(row, name) for row in rows] for name in schema.names}
    for name in ("scores", "abstentions") if kind == ANSWERS else ():
        values[name] = [list(each.items()) for each in values[name]]
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(values, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def _array(column: pa.ChunkedArray) -> NDArray[Any]:
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _remove(location: str) -> None:
    try:
        storage.remove(location)
    except StorageError as error:
        if storage.find(location).size_bytes is not None:
            _log.warning("A file of the log could not be deleted: %s", error)


def _later(delay_s: float, call: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(delay_s, call)
    timer.daemon = True
    timer.start()
    return timer
