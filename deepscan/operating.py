"""Where a bundle decides: fitted to validation files, as they are and as they arrive."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa

from deepscan.calibration import MAX_ERROR_RATE, Calibration, OperatingPoint, fit_operating_point
from deepscan.datasets.columns import text_column
from deepscan.datasets.judged import check_columns

DELIVERY = "deepscan.delivery"
"""Column of judged files that were delivered first: the name of the delivery. A user may have `delivery`."""


def operating_point(
    recipe: dict[str, Any], calibration: Calibration, judged: pa.Table, delivered: pa.Table | None = None
) -> OperatingPoint:
    """Fit the operating point that a recipe asks for.

    Its error rate is kept within each group of files that there are enough of: of one value of
    ``error_rate_by``, delivered in one way.

    Args:
        recipe: Settings of a ``Recipe``.
        calibration: From logits to probabilities.
        judged: Validation files that have a ``logit``, and a ``label``.
        delivered: The same files once more, with a column ``DELIVERY``; None = as they are is enough.

    Raises:
        ConfigError: The column ``error_rate_by`` is not there.
        DataError: The files are not of both classes.
    """
    by = recipe.get("error_rate_by", "")
    if by:
        check_columns(judged.column_names, [by])
    alone = _fitted(recipe, calibration, [judged], by)
    if delivered is None:
        return alone
    point = _fitted(recipe, calibration, [judged, delivered], by)
    # A file that was delivered in five ways is one file still: more of them show no lower rate.
    low, high = min(alone.low, point.low), max(alone.high, point.high)
    return dataclasses.replace(point, low=low, high=high, real=alone.real, fake=alone.fake)


def _fitted(
    recipe: dict[str, Any], calibration: Calibration, parts: list[pa.Table], by: str
) -> OperatingPoint:
    logit = np.concatenate([part["logit"].to_numpy() for part in parts])
    label = np.concatenate([part["label"].to_numpy() for part in parts]).astype(np.int64)
    return fit_operating_point(
        calibration.apply(logit),
        label,
        recipe.get("max_error_rate", MAX_ERROR_RATE),
        recipe.get("calls_real", True),
        [group for part in parts for group in _groups(part, by)] if by or len(parts) > 1 else None,
    )


def _groups(files: pa.Table, by: str) -> list[str]:
    columns = [text_column(files, name) for name in (DELIVERY, by) if name in files.column_names]
    return ["\n".join(values) for values in zip(*columns, strict=True)] if columns else [""] * len(files)
