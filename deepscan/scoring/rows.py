"""The row that scoring writes of every file, and its Arrow schema.

Where a column has the name of a field of the Verdict, it holds what ``deepscan predict --json`` prints under
that name. The schema does not depend on the files, the detectors or the manifest, so that the parts of many
runs are one table.
"""

import dataclasses
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal

import pyarrow as pa

from deepscan.errors import DeepscanError
from deepscan.verdict import Abstention, Evidence, MediaFacts, Score, Uncertainty, Verdict

VERSION = 2
"""Of the schema; goes up with any change of it."""

SCORED, ABSTAINED, ERROR = "scored", "abstained", "error"
GIVEN = ("given_label", "split", "source", "generator")
"""Columns that a manifest may bring along, as text; null where it has none."""

_PLAIN: dict[Any, Any] = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


def _arrow(hint: Any) -> Any:
    """Return the Arrow type of a type hint of the Verdict."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return pa.struct([(field.name, _arrow(hints[field.name])) for field in dataclasses.fields(hint)])
    if origin is tuple:
        return pa.list_(_arrow(arguments[0]))
    if origin is dict:
        return pa.map_(_arrow(arguments[0]), _arrow(arguments[1]))
    if origin in {typing.Union, types.UnionType}:
        return _arrow(next(each for each in arguments if each is not type(None)))
    return pa.string() if origin is Literal else _PLAIN[hint]


TOLD = ("analyzer", "group", "finding", "reason", "summary", "measurements", "elapsed_ms")
"""Fields of Evidence that rows keep: those that a table can be filtered and sorted by, and no pictures."""

_HINTS = typing.get_type_hints(Evidence)

SAID = pa.schema(
    [
        ("status", pa.string()),
        ("label", pa.string()),
        ("probability", pa.float64()),
        ("uncertainty", _arrow(Uncertainty)),
        ("scores", pa.list_(_arrow(Score))),
        ("abstentions", pa.list_(_arrow(Abstention))),
        ("evidence", pa.list_(pa.struct([(name, _arrow(_HINTS[name])) for name in TOLD]))),
        ("media", _arrow(MediaFacts)),
        ("bundles", pa.list_(pa.string())),
        ("elapsed_ms", pa.float64()),
        ("error", pa.string()),
        ("message", pa.string()),
    ]
)
"""What the detectors, and the analyzers that were asked, said of a file."""

SCHEMA = pa.schema(
    [("path", pa.string()), ("file_id", pa.string()), *((name, pa.string()) for name in GIVEN), *SAID]
)
"""All columns of a part, in their order."""


def said(outcome: Verdict | DeepscanError, elapsed_ms: float) -> dict[str, Any]:
    """Return the columns of ``SAID`` for one file: its Verdict, or the error that stands in its way.

    Args:
        outcome: What judging the file came to.
        elapsed_ms: How long it took, in milliseconds, where there is no Verdict to tell.
    """
    if isinstance(outcome, DeepscanError):
        kind, message = type(outcome).__name__, str(outcome)
        return {"status": ERROR, "error": kind, "message": message, "elapsed_ms": elapsed_ms}
    row = {name: _plain(getattr(outcome, name)) for name in SAID.names if hasattr(outcome, name)}
    return row | {"status": ABSTAINED if outcome.probability is None else SCORED}


def to_table(rows: Sequence[dict[str, Any]], schema: pa.Schema = SAID) -> pa.Table:
    """Return rows as a table; columns that a row has not are null."""
    return pa.Table.from_pylist(list(rows), schema=schema)


def _plain(value: Any) -> Any:
    if isinstance(value, Evidence):
        return {name: getattr(value, name) for name in TOLD}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
