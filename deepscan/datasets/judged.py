"""Tables of judged files, as the figures take them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepscan.errors import ConfigError
from deepscan.metrics import Predictions

STANDARD_COLUMNS = ("path", "label", "split", "source", "generator", "status", "reason", "examples")
SAID_COLUMNS = ("logit", "probability")
MAX_GROUP_VALUES, MAX_ASKED_VALUES = 20, 50


def as_predictions(scored: pa.Table, by: Sequence[str] = ()) -> Predictions:
    """Return judged files that have a ``logit`` and a ``probability``, ready to be measured.

    Args:
        scored: The files; columns that are not ours are the user's.
        by: The user's columns to measure by; empty = all that divide the files into 2 to 20 groups.

    Raises:
        ConfigError: There is no such column, or it divides the files into more than 50 groups.
    """
    return Predictions(
        label=scored.column("label").to_numpy().astype(np.int64),
        logit=scored.column("logit").to_numpy(),
        probability=scored.column("probability").to_numpy(),
        source=_strings(scored, "source"),
        generator=_strings(scored, "generator"),
        groups={name: _strings(scored, name) for name in _group_columns(scored, by)},
    )


def check_columns(names: Sequence[str], by: Sequence[str]) -> None:
    """Check that columns to measure by are among the user's columns of a table.

    Raises:
        ConfigError: One is not.
    """
    users = _users(names)
    if unknown := [name for name in by if name not in users]:
        has = f"has {', '.join(users)}" if users else "has no columns of your own"
        msg = f"The data have no column {unknown[0]!r} to measure by: the manifest {has}."
        raise ConfigError(msg)


def _strings(table: pa.Table, name: str) -> NDArray[Any]:
    return np.asarray([str(value) for value in table.column(name).to_pylist()])


def _users(names: Sequence[str]) -> list[str]:
    return [name for name in names if name not in {*STANDARD_COLUMNS, *SAID_COLUMNS}]


def _group_columns(table: pa.Table, by: Sequence[str]) -> list[str]:
    """Name the user's columns that divide the files into a few groups, or check those that were named."""
    values = {name: len(pc.unique(table.column(name))) for name in _users(table.column_names)}
    if not by:
        return [name for name, count in values.items() if 1 < count <= MAX_GROUP_VALUES]
    check_columns(table.column_names, by)
    for name in by:
        if values[name] > MAX_ASKED_VALUES:
            msg = (
                f"Column {name!r} divides the files into {values[name]} groups, too small to compare; "
                f"give one of at most {MAX_ASKED_VALUES} values."
            )
            raise ConfigError(msg)
    return list(dict.fromkeys(by))
