"""Columns of a manifest as texts, and conditions on them."""

import fnmatch
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from deepscan.errors import ConfigError, DataError
from deepscan.registry import nearest


def matches(table: pa.Table, condition: str, folder: pathlib.Path | None = None) -> NDArray[np.bool_]:
    """Return for which rows a condition holds, bool [N]; see ``scan`` for how one is written.

    Args:
        table: Rows with the columns that conditions may name.
        condition: ``column=value`` or ``column!=value``.
        folder: Paths under it count relative to it; None = as they are.

    Raises:
        ConfigError: The condition is malformed, or names no column.
    """
    column, equals, allowed = condition.partition("=")
    negated, column = column.endswith("!"), column.removesuffix("!").strip()
    if not equals or column not in table.column_names:
        msg = (
            f"Condition {condition!r} must be column=value or column!=value with a column of the data."
            f"{nearest(column, table.column_names)} There are: {', '.join(table.column_names)}."
        )
        raise ConfigError(msg)
    patterns = re.compile("|".join(fnmatch.translate(value.strip()) for value in allowed.split(",")))
    values = text_column(table, column)
    if folder and column == "path":
        values = relative(values, folder)
    return np.array([bool(patterns.match(value)) != negated for value in values], dtype=bool)


def text_column(table: pa.Table, name: str) -> list[str]:
    """Return a column as texts without blanks around them, empty for null.

    Raises:
        DataError: It holds neither text nor numbers.
    """
    try:
        column: Any = table[name].cast(pa.string())
    except pa.ArrowException as error:
        msg = f"Column {name!r} holds {table[name].type}, where text or numbers are needed."
        raise DataError(msg) from error
    return [(text or "").strip() for text in column.to_pylist()]


def relative(paths: Sequence[str], folder: pathlib.Path) -> list[str]:
    """Return paths relative to a folder where they lie in it, else as they are."""
    prefix = os.path.join(folder, "")
    return [path.removeprefix(prefix) for path in paths]
