"""Files that say what other files are: protocols, tables, JSON; each reader yields rows of text.

A reader knows a format and no data set: which fields there are is given to it. It is strict, because a
table that is read a column off gives labels that nobody would notice to be wrong.
"""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any, Protocol

from deepscan.errors import DataError

Row = tuple[str, dict[str, str]]
"""Where a row stands (file and line, or file and keys), and its fields by name."""


class Reader(Protocol):
    """Reads a listing."""

    def read(self, path: pathlib.Path) -> Iterator[Row]:
        """Yield the rows of a file.

        Raises:
            DataError: The file is not of the form that is expected; the message says where.
        """


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """Lines of text that are divided into fields.

    Attributes:
        columns: Name of each field; a line with more or fewer is refused.
        delimiter: What stands between fields, with the quotes of CSV; empty = any white space.
        header: How the first line must begin, field by field; empty = there is no such line.
    """

    columns: tuple[str, ...]
    delimiter: str = ""
    header: tuple[str, ...] = ()

    def read(self, path: pathlib.Path) -> Iterator[Row]:
        """Yield a row for each line that is not blank.

        Raises:
            DataError: The file is no text, its header differs, or a line has another number of fields.
        """
        lines = iter(enumerate(self._divided(_text(path)), 1))
        if self.header and tuple(_next(lines, path)[: len(self.header)]) != self.header:
            msg = f"{str(path)!r} does not begin with the columns {', '.join(self.header)}; is it the file?"
            raise DataError(msg)
        for number, fields in lines:
            if fields and len(fields) != len(self.columns):
                names = ", ".join(name.lstrip("_") for name in self.columns)
                msg = (
                    f"{str(path)!r}, line {number}, has {len(fields)} fields, where {len(self.columns)} are "
                    f"expected ({names}); get the original file."
                )
                raise DataError(msg)
            if fields:
                yield f"{str(path)!r}, line {number}", dict(zip(self.columns, fields, strict=True))

    def _divided(self, text: str) -> Iterator[list[str]]:
        if self.delimiter:
            return (
                [field.strip() for field in row]
                for row in csv.reader(text.splitlines(), delimiter=self.delimiter)
            )
        return (line.split() for line in text.splitlines())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tuples:
    """A JSON list of lists of texts, one row each.

    Attributes:
        columns: Name of each text.
    """

    columns: tuple[str, ...]

    def read(self, path: pathlib.Path) -> Iterator[Row]:
        """Yield a row for each inner list.

        Raises:
            DataError: The file is of another form.
        """
        outer = _json(path)
        for number, inner in enumerate(outer if isinstance(outer, list) else [None]):
            where = f"{str(path)!r}, entry {number}"
            texts = [text for text in inner if isinstance(text, str)] if isinstance(inner, list) else []
            if len(texts) != len(self.columns) or len(texts) != len(inner or ()):
                msg = f"{where}, is no list of {len(self.columns)} texts; get the original file."
                raise DataError(msg)
            yield where, dict(zip(self.columns, texts, strict=True))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Nested:
    """JSON objects within each other, whose keys are fields too.

    An object is innermost when it holds the first of ``fields`` as a text.

    Attributes:
        shapes: Names of the keys from the outermost to the innermost object, for each depth that occurs.
        fields: Names of the fields of the innermost object; absent ones are empty.
        each: A field that holds a list of texts: a row for each; empty = a row for each object.
    """

    shapes: tuple[tuple[str, ...], ...]
    fields: tuple[str, ...]
    each: str = ""

    def read(self, path: pathlib.Path) -> Iterator[Row]:
        """Yield the rows.

        Raises:
            DataError: The file is of another form.
        """
        for keys, leaf in self._leaves(_json(path), (), path):
            where = f"{str(path)!r}, at {'/'.join(keys)}"
            names = next((shape for shape in self.shapes if len(shape) == len(keys)), None)
            if names is None:
                depths = " or ".join(str(len(shape)) for shape in self.shapes)
                msg = f"{where}, is {len(keys)} objects deep, where {depths} are expected."
                raise DataError(msg)
            fields = {name: str(leaf.get(name) or "") for name in self.fields if name != self.each}
            fields |= dict(zip(names, keys, strict=True))
            if not self.each:
                yield where, fields
                continue
            listed = leaf.get(self.each)
            if not isinstance(listed, list):
                msg = f"{where}, has no list {self.each!r}; get the original file."
                raise DataError(msg)
            for item in listed:
                yield where, fields | {self.each: str(item)}

    def _leaves(
        self, value: Any, keys: tuple[str, ...], path: pathlib.Path
    ) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
        if not isinstance(value, dict):
            msg = f"{str(path)!r}, at {'/'.join(keys) or 'its top'}, holds no object with {self.fields[0]!r}."
            raise DataError(msg)
        if isinstance(value.get(self.fields[0]), str):
            yield keys, value
            return
        for key, inner in value.items():
            yield from self._leaves(inner, (*keys, key), path)


def _next(lines: Iterator[tuple[int, list[str]]], path: pathlib.Path) -> list[str]:
    first = next(lines, None)
    if first is None:
        msg = f"{str(path)!r} is empty; get the original file."
        raise DataError(msg)
    return first[1]


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{str(path)!r} cannot be read as text ({error}); get the original file."
        raise DataError(msg) from error


def _json(path: pathlib.Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError as error:
        msg = f"{str(path)!r} is no JSON ({error}); get the original file."
        raise DataError(msg) from error
