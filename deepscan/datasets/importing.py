"""Data sets as their authors arrange them -> a manifest that ``layout.scan`` reads.

A ``Layout`` describes an arrangement: which paths are media and what their parts mean, which files list
what, and how their words become ours. One mechanism interprets every layout: walk, match, look up, group.
The known layouts are the records that ``deepscan.datasets.known`` registers.
"""

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from deepscan.datasets.listings import Reader
from deepscan.errors import DataError

Rules = tuple[tuple[str, str], ...]
"""Regular expressions for a whole text, whatever its case, and what it becomes; the first match holds."""

Columns = dict[str, str]
SPLITS: Rules = (("train", "train"), ("val|dev", "val"), ("test|eval", "test"))
"""What splits are called."""

ANYWHERE = r"(?:.*/)?"
"""Begin of a pattern: the data set may lie in a folder of the folder that is given."""

OURS = ("path", "label", "split", "source", "generator")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """Which paths are media, and what they say.

    Attributes:
        pattern: Regular expression for the whole path below the folder, with ``/`` on every system; its
            named groups are columns.
        key: Template in these columns: under which key a ``Listing`` has more about the file.
        columns: Further columns, as templates.
    """

    pattern: str
    key: str = ""
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """Files that say what other files are.

    Attributes:
        pattern: Like that of ``Files``, for the listings themselves.
        reader: Their format.
        columns: What a row says: columns of the manifest, as templates in the named groups of the pattern and
            in the fields of the row.
        words: How the values of a column become ours. A value that no rule matches is an error.
        keys: Templates in all of these: what the row is about.
    """

    pattern: str
    reader: Reader
    keys: tuple[str, ...]
    columns: Mapping[str, str]
    words: Mapping[str, Rules] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a data set is arranged. Columns whose name begins with ``_`` are not written.

    Attributes:
        name: Its name on the command line.
        summary: What it is, in a line: with whom to cite.
        terms: Under which terms it may be used, as far as known; those of its authors hold.
        files: Rules for paths; the first that matches holds.
        listings: What else is known of files.
        listed_only: Files that no listing names are left out, and counted.
        rest: Split of the files that no listing gives one to.
        groups: Columns with the names of persons, clips or recordings. Files that share one, be it by way
            of other files, are one source.
        outranks: Pairs of splits; of a file that is listed in both, the first holds.
    """

    name: str
    summary: str
    terms: str
    files: tuple[Files, ...]
    listings: tuple[Listing, ...] = ()
    listed_only: bool = False
    rest: str = ""
    groups: tuple[str, ...]
    outranks: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What became of a folder.

    Attributes:
        manifest: The columns ``path`` (absolute), ``label`` (``real`` or ``fake``), ``split``, ``source`` and
            ``generator``, then those of the layout; all text, sorted by path.
        absent: What is listed but not there.
        unlisted: Media that no listing names, where only listed ones count.
        leaks: Sources that the authors' splits divide.
        unsplit: Files without a split, where others have one.
    """

    manifest: pa.Table
    absent: tuple[str, ...]
    unlisted: tuple[str, ...]
    leaks: tuple[str, ...]
    unsplit: int


def import_layout(layout: Layout, folder: pathlib.Path, *, splits: bool = True) -> Imported:
    """Read a folder that is arranged as the layout says.

    Args:
        layout: The arrangement.
        folder: The data set, or a folder above it.
        splits: Keep the splits of the authors; without them all files can be divided anew.

    Raises:
        DataError: No file is found, a listing is of another form, or what is said of a file contradicts.
    """
    root = pathlib.Path(os.path.abspath(folder))
    paths = list(_walk(root))
    told = _listed(layout, root, paths)
    rows, unlisted, keys = [], [], set()
    for path in paths:
        columns = _match(layout.files, path)
        if columns is None:
            continue
        key = columns.pop("_key")
        keys.add(key)
        if layout.listed_only and key not in told:
            unlisted.append(path)
            continue
        rows.append(_merge(columns, told.get(key, {}), path, layout.outranks) | {"path": str(root / path)})
    if not rows:
        raise DataError(_nothing(layout, root, paths, unlisted))
    rows = _divided(_grouped(rows, layout.groups), layout.rest) if splits else _undivided(rows, layout.groups)
    named = {row["split"] for row in rows} - {""}
    return Imported(
        manifest=_table(rows),
        absent=tuple(sorted(told.keys() - keys)),
        unlisted=tuple(unlisted),
        leaks=_leaks(rows),
        unsplit=sum(not row["split"] for row in rows) if named else 0,
    )


def _walk(root: pathlib.Path) -> Iterator[str]:
    """Yield the paths of all files below a folder, relative to it, sorted within their folders."""
    if not root.is_dir():
        msg = f"{str(root)!r} is no folder; give the folder that the data set was unpacked into."
        raise DataError(msg)
    seen = set()
    for here, folders, names in os.walk(root, followlinks=True):
        status = os.stat(here)
        known = (status.st_dev, status.st_ino)
        folders[:] = [] if known in seen else sorted(folders)
        if known not in seen:
            yield from ((pathlib.Path(here) / name).relative_to(root).as_posix() for name in sorted(names))
        seen.add(known)


def _match(rules: Iterable[Files], path: str) -> Columns | None:
    for rule in rules:
        if found := re.fullmatch(rule.pattern, path):
            columns = found.groupdict(default="")
            said = {name: template.format_map(columns) for name, template in rule.columns.items()}
            return columns | said | {"_key": rule.key.format_map(columns)}
    return None


def _listed(layout: Layout, root: pathlib.Path, paths: Sequence[str]) -> dict[str, Columns]:
    """Return what the listings say, by key."""
    told: dict[str, Columns] = {}
    for listing in layout.listings:
        for path in paths:
            found = re.fullmatch(listing.pattern, path)
            for where, row in listing.reader.read(root / path) if found else ():
                fields = (found.groupdict(default="") if found else {}) | row
                columns = {name: text.format_map(fields) for name, text in listing.columns.items()}
                columns |= {
                    name: _say(columns[name], name, rules, where) for name, rules in listing.words.items()
                }
                for template in listing.keys:
                    # Lists that were written on Windows have its separator.
                    key = template.format_map(fields | columns).replace("\\", "/")
                    told[key] = _merge(told.get(key, {}), columns, where, layout.outranks)
    return told


def _say(text: str, column: str, rules: Rules, where: str) -> str:
    for pattern, replacement in rules:
        if found := re.fullmatch(pattern, text, re.IGNORECASE):
            return found.expand(replacement)
    msg = f"{where}, says {column} {text!r}, which is none of {', '.join(pattern for pattern, _ in rules)}."
    raise DataError(msg)


def _merge(known: Columns, more: Columns, where: str, outranks: Iterable[tuple[str, str]]) -> Columns:
    """Join what two places say of a file; what is empty in one is taken from the other."""
    merged = known | {name: text for name, text in more.items() if text or name not in known}
    for name in known.keys() & more.keys():
        pair = known[name], more[name]
        if not all(pair) or pair[0] == pair[1]:
            continue
        if name != "split" or not {pair, pair[::-1]} & set(outranks):
            msg = (
                f"{where}, says {name} {pair[1]!r}, but another place says {pair[0]!r}; correct one of them."
            )
            raise DataError(msg)
        merged[name] = next(first for first, second in outranks if {first, second} == set(pair))
    return merged


def _nothing(layout: Layout, root: pathlib.Path, paths: Sequence[str], unlisted: Sequence[str]) -> str:
    seen = f"{len(paths)} files, such as {paths[0]!r}" if paths else "no files"
    wanted = " or ".join(rule.pattern for rule in layout.files)
    lists = " and ".join(listing.pattern for listing in layout.listings)
    why = f"none of {len(unlisted)} media is named in {lists}" if unlisted else f"none is {wanted}"
    return f"{str(root)!r} is not arranged like {layout.name!r}: it holds {seen}, and {why}."


def _grouped(rows: list[Columns], groups: Sequence[str]) -> list[Columns]:
    """Name the source of each row: the smallest name in its group of names that occur together."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            above[name] = name = above[above[name]]
        return name

    names = [[row[group] for group in groups if row.get(group)] for row in rows]
    for together in names:
        for name in together:
            first, second = sorted((top(together[0]), top(name)))
            above[second] = first
    return [row | {"source": top(own[0]) if own else ""} for row, own in zip(rows, names, strict=True)]


def _divided(rows: list[Columns], rest: str) -> list[Columns]:
    """Give files that no listing divides the split of their source, where it has one, or ``rest``."""
    homes: dict[str, set[str]] = collections.defaultdict(set)
    for row in rows:
        homes[row["source"]] |= {row.get("split", "")} - {""}
    return [row | {"split": row.get("split") or rest or _only(homes[row["source"]])} for row in rows]


def _undivided(rows: list[Columns], groups: Sequence[str]) -> list[Columns]:
    return [row | {"split": ""} for row in _grouped(rows, groups)]


def _only(splits: set[str]) -> str:
    return next(iter(splits)) if len(splits) == 1 else ""


def _leaks(rows: Iterable[Columns]) -> tuple[str, ...]:
    homes: dict[str, set[str]] = collections.defaultdict(set)
    for row in rows:
        homes[row["source"] or row["path"]].add(row["split"])
    return tuple(sorted(source for source, splits in homes.items() if len(splits - {""}) > 1))


def _table(rows: Sequence[Columns]) -> pa.Table:
    # Only a fake has a generator, whatever the listings put there for the real ones.
    rows = [row | {"generator": row.get("generator", "") if row["label"] == "fake" else ""} for row in rows]
    others = sorted({name for row in rows for name in row if not name.startswith("_")} - set(OURS))
    columns = {name: pa.array([row.get(name, "") for row in rows], pa.string()) for name in (*OURS, *others)}
    return pa.table(columns).sort_by("path")
