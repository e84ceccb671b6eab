"""What was measured with a bundle and lies in folders: evaluations, robustness, speed."""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepscan.errors import ConfigError, DataError

EVALUATION, PREDICTIONS, ROBUSTNESS = "evaluation.json", "predictions.parquet", "robustness.json"
_PATH = re.compile(r"(?<![\w/])(?:[A-Za-z]:[\\/]|/)(?:[^\s/\\]+[\\/])+")
"""The folders of an absolute path inside a text."""


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What ``deepscan evaluate``, or a training run, left in a folder.

    Attributes:
        name: Name of the folder, without those above it.
        values: Contents of ``evaluation.json``.
        judged: Rows of the split that was measured, of ``predictions.parquet``.
        root: Folder that holds all of its files; paths are told from there on.
    """

    name: str
    values: dict[str, Any]
    judged: list[dict[str, Any]]
    root: str

    @property
    def bundle(self) -> str:
        """Id of the bundle that was measured."""
        return str(self.values["facts"].get("bundle", ""))

    def public(self, value: object) -> str:
        """Return a value as text, in which files are told from the root of the data on."""
        text = "" if value is None else str(value)
        below = text.replace(self.root + os.sep, "") if len(self.root) > 1 else text
        return public(below)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """All that a card is made of beside the bundle.

    Attributes:
        evaluations: Of any of the bundles.
        robustness: Contents of ``robustness.json`` files.
        data_note: What the user says of the data, their licences above all.
    """

    evaluations: tuple[Measured, ...] = ()
    robustness: tuple[dict[str, Any], ...] = ()
    data_note: str = ""

    def of(self, bundle: str) -> "Given":
        """Return what is about one bundle."""
        return dataclasses.replace(
            self,
            evaluations=tuple(each for each in self.evaluations if each.bundle == bundle),
            robustness=tuple(each for each in self.robustness if each["facts"].get("bundle") == bundle),
        )

    def check(self, bundles: Sequence[str]) -> None:
        """Refuse what is about other bundles than those of the card.

        Raises:
            ConfigError: Something is.
        """
        told = [each.bundle for each in self.evaluations]
        told += [str(each["facts"].get("bundle", "")) for each in self.robustness]
        if strangers := [name for name in told if name not in bundles]:
            msg = f"Figures of {strangers[0] or 'no bundle'} are no part of the card of {', '.join(bundles)}."
            raise ConfigError(f"{msg} Leave that folder out, or measure this bundle.")


def read(evaluations: Sequence[pathlib.Path], robustness: Sequence[pathlib.Path], data_note: str) -> Given:
    """Read what was measured.

    Args:
        evaluations: Folders with ``evaluation.json`` and ``predictions.parquet``.
        robustness: Folders with ``robustness.json``.
        data_note: What the user says of the data.

    Raises:
        DataError: A folder does not hold such files.
    """
    return Given(
        evaluations=tuple(_evaluation(folder) for folder in evaluations),
        robustness=tuple(_json(folder / ROBUSTNESS, "rows") for folder in robustness),
        data_note=data_note.strip(),
    )


def read_speeds(path: pathlib.Path | None) -> dict[str, float]:
    """Return milliseconds a file, or an Example where no files were timed, by bundle id.

    Args:
        path: JSON file of ``deepscan benchmark model --media``; None = nothing was measured.

    Raises:
        DataError: It is none such, or timed no files.
    """
    if path is None:
        return {}
    rows = _json(path, "rows")["rows"]
    found = {row["bundle"]: row["stages"]["whole"] for row in reversed(rows) if row.get("stages")}
    if not found:
        msg = f"{path} has no times of files; measure them by `deepscan benchmark model --media FOLDER`."
        raise DataError(msg)
    return found


def public(text: str) -> str:
    """Return a text in which absolute paths have lost their folders: those are nobody's business."""
    return _PATH.sub("", text)


def _evaluation(folder: pathlib.Path) -> Measured:
    values = _json(folder / EVALUATION, "evaluation")
    try:
        table: pa.Table = pq.read_table(folder / PREDICTIONS)
    except (OSError, pa.ArrowException) as error:
        msg = (
            f"{folder / PREDICTIONS} cannot be read ({error}); name a folder that `deepscan evaluate` wrote."
        )
        raise DataError(msg) from error
    rows: list[dict[str, Any]] = table.to_pylist()
    paths = [row["path"] for row in rows]
    root = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    # A training run keeps what it said of the validation split, too, and measures the test split.
    if len({row["split"] for row in rows}) > 1:
        rows = [row for row in rows if row["split"] == "test"]
    return Measured(folder.resolve().name, values, rows, root)


def _json(path: pathlib.Path, key: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read ({error}); name what `deepscan evaluate` or `benchmark` wrote."
        raise DataError(msg) from error
    if not isinstance(values, dict) or not values.get(key):
        msg = f"{path} has no {key!r}; name what `deepscan evaluate` or `benchmark` wrote."
        raise DataError(msg)
    return values
