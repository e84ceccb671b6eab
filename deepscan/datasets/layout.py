"""A folder or a table of files -> the manifest, one row a file, that everything else reads.

What is recognised is data (the tables of words below), not code: no data set is known by name.
"""

import collections
import csv
import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from deepscan.datasets.columns import matches, relative, text_column
from deepscan.errors import ConfigError, DataError

LABEL_WORDS = {
    **dict.fromkeys(("real", "original", "pristine", "genuine", "bonafide", "authentic", "live"), 0),
    **dict.fromkeys(
        (
            "fake",
            "spoof",
            "spoofed",
            "manipulated",
            "tampered",
            "forged",
            "deepfake",
            "synthetic",
            "synthesis",
            "synthesized",
            "generated",
            "ai",
        ),
        1,
    ),
}
"""Words that say real (0) or fake (1), in folder names (also as plurals) and label columns."""

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Words that name a split, in folder names and split columns."""

ALIASES = {
    "path": re.compile(r"path|(file|image|video|audio)([_ ]?(path|name))?"),
    "label": re.compile(r"label|target|class|is_fake"),
    "split": re.compile(r"split|subset|partition"),
    "source": re.compile(r"source([_ ]?id)?|identity"),
    "generator": re.compile(r"generator|method|attack|manipulation"),
}
"""Names, whatever their case, under which a manifest may carry each of our columns."""

MANIFEST_NAMES = ("manifest.csv", "manifest.tsv", "manifest.parquet", "manifest.jsonl")

_LABEL_DIGITS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
_NEUTRAL = re.compile(
    r"\d*|(image|picture|photo|img|video|clip|audio|sound|sequence|frame|face|crop)s?"
    r"|samples?|files?|data|dataset|set|split|deep|only|c23|c40|raw|jpe?g|png|mp4|wav|flac"
)
_NO_MEDIA = re.compile(
    r".*\.(jsonl?|txt|csv|tsv|parquet|md|xml|ya?ml|html?|log|pdf|py|npy|npz|pkl|pth?|zip)"
    r"|\..*|thumbs\.db|desktop\.ini|readme|license"
)
_NO_FOLDER = re.compile(r"\..*|__macosx|masks?|landmarks?")


def scan(
    path: str | os.PathLike[str], *, where: Sequence[str] = (), source_pattern: str | None = None
) -> pa.Table:
    """Read a folder of files or a manifest file into the manifest table.

    Args:
        path: A folder whose sub-folders name the labels (and splits), a folder with a
            ``manifest.csv`` (``.tsv``, ``.parquet``, ``.jsonl``) at its top, or such a file.
        where: Keep only the rows for which all of these hold: ``column=value``,
            ``column!=value``, ``column=one,two``. Values are as the manifest writes them (folders
            say ``real`` and ``fake``) and may be patterns (``source=libri-*``); ``path`` is the
            path relative to the folder.
        source_pattern: Regular expression searched in the file name without its suffix; its first
            group, or all that it matched, becomes the source.

    Returns:
        Rows sorted by path, with the columns ``path`` (string, absolute), ``label`` (int8, 1 fake,
        0 real), ``split`` (string, ``train``, ``val``, ``test`` or empty), ``source`` (string),
        ``generator`` (string, empty for real or unknown), then all other columns of a manifest.

    Raises:
        DataError: Nothing is found, or files, columns or labels are missing or unreadable.
        ConfigError: ``where`` or ``source_pattern`` is malformed.
    """
    given = pathlib.Path(os.path.abspath(path))
    if not given.exists():
        msg = f"{str(given)!r} does not exist; give a folder of media or a manifest file."
        raise DataError(msg)
    manifest = next((given / name for name in MANIFEST_NAMES if (given / name).is_file()), given)
    folder = given if given.is_dir() else given.parent
    table = _from_folder(folder) if manifest.is_dir() else _from_manifest(manifest)
    table = _complete(table, folder)
    for condition in where:
        table = table.filter(pa.array(matches(table, condition, folder)))
    if not table.num_rows:
        conditions = "".join(f" with {condition}" for condition in where)
        msg = f"{str(given)!r} holds no files{conditions}; give other data or conditions."
        raise DataError(msg)
    if source_pattern is not None:
        table = _replace(table, source=_match_sources(text_column(table, "path"), source_pattern))
    return _check(_translate(table)).sort_by("path")


def digest(table: pa.Table) -> str:
    """Return 16 hex digits that change when files are added, renamed, relabelled, moved or resized.

    Hashes, in the order of the paths, each file's path relative to the folder common to all, its
    label, split, source and size in bytes. Contents are not read and times do not count, so that
    a copy of the data on another machine has the same digest.

    Raises:
        DataError: A file is not there any more.
    """
    if not table.num_rows:
        return hashlib.sha256().hexdigest()[:16]
    table = table.sort_by("path")
    paths = text_column(table, "path")
    root = os.path.commonpath([os.path.dirname(paths[0]), os.path.dirname(paths[-1])])
    try:
        sizes = [os.path.getsize(path) for path in paths]
    except OSError as error:
        msg = f"{error.filename!r} cannot be read any more ({error.strerror}); scan the data again."
        raise DataError(msg) from error
    rows = zip(paths, *(table[name].to_pylist() for name in ("label", "split", "source")), sizes, strict=True)
    body = hashlib.sha256()
    for name, *values in rows:
        body.update("\0".join([name[len(root) :].lstrip(os.sep), *map(str, values), "\n"]).encode())
    return body.hexdigest()[:16]


def _from_folder(root: pathlib.Path) -> pa.Table:
    rows: list[tuple[str, str, str, str]] = []
    unlabelled: list[str] = []
    for parts, names in _walk(root):
        label, split, generator = _read_folders(parts)
        files = ["/".join((*parts, name)) for name in names]
        if label is None:
            unlabelled += files
        else:
            rows += [(file, ("real", "fake")[label], split, generator) for file in files]
    if unlabelled:
        msg = (
            f"No folder on the way says real or fake for {_examples(unlabelled)} in {str(root)!r}. "
            f"Name the folders real and fake (also read: {', '.join(LABEL_WORDS)}), or give a manifest."
        )
        raise DataError(msg)
    columns = zip(*rows, strict=True) if rows else [()] * 4
    return pa.table(
        {
            name: pa.array(column, pa.string())
            for name, column in zip(("path", "label", "split", "generator"), columns, strict=True)
        }
    )


def _walk(root: pathlib.Path) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    def refuse(error: OSError) -> None:
        msg = f"{error.filename!r} cannot be read: {error.strerror}."
        raise DataError(msg) from error

    seen = set()
    for here, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        # A folder linked twice would put the same files into two splits, or never end.
        status = os.stat(here)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not _NO_FOLDER.fullmatch(name.lower()))
        names = [name for name in files if not _NO_MEDIA.fullmatch(name.lower())]
        if names:
            yield pathlib.Path(here).relative_to(root).parts, names


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Folder:
    name: str
    label: int | None
    split: str
    plain: bool


def _read_folders(parts: Sequence[str]) -> tuple[int | None, str, str]:
    """Return the label (None = not said), split and generator ("" = not said) of a folder's files."""
    folders = [_read_folder(part) for part in parts]
    # A plain name ("fake", "training_real") outranks one with unknown words in it
    # ("deepfake_corpus", "Real-ESRGAN"), which may be the name of a data set or of a method.
    labelled = [folder for folder in folders if folder.label is not None]
    said = [folder for folder in labelled if folder.plain] or labelled
    if len({folder.label for folder in said}) > 1:
        msg = (
            f"The folders of {'/'.join(parts)!r} say both real and fake; rename them so that one says it, "
            "or give a manifest."
        )
        raise DataError(msg)
    split = next((folder.split for folder in folders if folder.plain and folder.split), "")
    if not said:
        return None, split, ""
    below = folders[folders.index(said[0]) + 1 :] if said[0].label else []
    methods = (f.name for f in below if not f.plain or (f.label is not None and not f.split))
    return said[0].label, split, next(methods, "")


def _read_folder(name: str) -> _Folder:
    joined = re.sub(r"(?<=bona)[-_ ]+(?=fide)", "", name.casefold())
    words = [
        word[:-1] if word[:-1] in LABEL_WORDS and word.endswith("s") else word
        for word in re.split(r"[^a-z0-9]+", joined)
    ]
    labels = {LABEL_WORDS[word] for word in words if word in LABEL_WORDS}
    splits = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    return _Folder(
        name=name,
        # "real_and_fake" says neither.
        label=labels.pop() if len(labels) == 1 else None,
        split=splits.pop() if len(splits) == 1 else "",
        plain=all(w in LABEL_WORDS or w in SPLIT_WORDS or _NEUTRAL.fullmatch(w) for w in words),
    )


def _from_manifest(path: pathlib.Path) -> pa.Table:
    readers: dict[str, Callable[[pathlib.Path], pa.Table]] = {
        ".csv": _read_delimited,
        ".tsv": _read_delimited,
        ".parquet": pyarrow.parquet.read_table,
        ".jsonl": pyarrow.json.read_json,
    }
    if path.suffix.lower() not in readers:
        msg = f"{str(path)!r} is no manifest; give a folder or a file that ends in {', '.join(readers)}."
        raise DataError(msg)
    try:
        table = readers[path.suffix.lower()](path)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        msg = f"{str(path)!r} does not read as {path.suffix.lower()}: {error}"
        raise DataError(msg) from error
    table = _rename(table, str(path))
    return _replace(
        table, **{name: text_column(table, name) for name in ALIASES if name in table.column_names}
    )


def _read_delimited(path: pathlib.Path) -> pa.Table:
    with path.open(encoding="utf-8-sig", newline="") as file:
        line = file.readline()
    delimiter = max("\t,;|", key=line.count)
    names = next(csv.reader([line], delimiter=delimiter), [])
    # Text stays text: as numbers, the sources 007 and 7 would be one.
    return pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )


def _rename(table: pa.Table, given: str) -> pa.Table:
    lowered = [name.strip().casefold() for name in table.column_names]
    if len(set(lowered)) < len(lowered):
        msg = f"{given!r} has columns of the same name: {', '.join(table.column_names)}; rename one."
        raise DataError(msg)
    # Our own word wins over its aliases; every other column keeps its name.
    chosen = {
        ours: next(
            (
                i
                for i in sorted(range(len(lowered)), key=lambda i: lowered[i] != ours)
                if alias.fullmatch(lowered[i])
            ),
            None,
        )
        for ours, alias in ALIASES.items()
    }
    for ours in ("path", "label"):
        if chosen[ours] is None:
            msg = (
                f"{given!r} has no column for the {ours}: it has {', '.join(table.column_names)}. "
                f"Name one {ours!r}."
            )
            raise DataError(msg)
    names = {i: ours for ours, i in chosen.items()}
    return table.rename_columns([names.get(i, name) for i, name in enumerate(table.column_names)])


def _replace(table: pa.Table, **columns: Sequence[Any]) -> pa.Table:
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))
    return table


def _complete(table: pa.Table, folder: pathlib.Path) -> pa.Table:
    """Make paths absolute and add the columns that are absent; all of ours are text still."""
    paths = [os.path.normpath(os.path.join(folder, path)) for path in text_column(table, "path")]
    for name in ("split", "source", "generator"):
        if name not in table.column_names:
            table = table.append_column(name, pa.array([""] * len(paths), pa.string()))
    # A file without a source is its own: its path, for equal names in two folders are two files.
    stems = (os.path.splitext(path)[0] for path in relative(paths, folder))
    sources = [source or stem for source, stem in zip(text_column(table, "source"), stems, strict=True)]
    others = [name for name in table.column_names if name not in ALIASES]
    return _replace(table, path=paths, source=sources).select([*ALIASES, *others])


def _match_sources(paths: Sequence[str], pattern: str) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        msg = f"The source pattern {pattern!r} is no regular expression: {error}."
        raise ConfigError(msg) from error
    found = [compiled.search(pathlib.PurePath(path).stem) for path in paths]
    if unmatched := [path for path, match in zip(paths, found, strict=True) if match is None]:
        msg = f"The source pattern {pattern!r} matches nothing in {_examples(unmatched)}; widen it."
        raise DataError(msg)
    return [next(filter(None, match.groups()), match[0]) for match in found if match]


def _translate(table: pa.Table) -> pa.Table:
    labels = _look_up(table, "label", {**LABEL_WORDS, **_LABEL_DIGITS})
    splits = _look_up(table, "split", {**SPLIT_WORDS, "": ""})
    named = zip(text_column(table, "generator"), labels, strict=True)
    table = _replace(table, split=splits, generator=[name if label else "" for name, label in named])
    return table.set_column(table.column_names.index("label"), "label", pa.array(labels, pa.int8()))


def _look_up(table: pa.Table, column: str, words: Mapping[str, str | int]) -> list[str | int]:
    texts = text_column(table, column)
    # Each distinct text is looked up once: a million rows have a handful of them.
    found = {text: words.get(re.sub(r"[-_ ]", "", text.casefold())) for text in set(texts)}
    unknown = sorted(text for text, word in found.items() if word is None)
    if unknown:
        rows = [
            path for path, text in zip(text_column(table, "path"), texts, strict=True) if found[text] is None
        ]
        msg = (
            f"The {column} {', '.join(map(repr, unknown[:3]))} of {_examples(rows)} is none of "
            f"{', '.join(map(repr, words))}; correct it, or leave those rows out with a condition."
        )
        raise DataError(msg)
    return [word for word in map(found.get, texts) if word is not None]


def _check(table: pa.Table) -> pa.Table:
    counts = collections.Counter(text_column(table, "path"))
    if len(counts) < table.num_rows:
        repeated = [path for path, count in counts.items() if count > 1]
        msg = f"Listed more than once: {_examples(repeated)}; keep one row of each."
        raise DataError(msg)
    if missing := [path for path in counts if not os.path.isfile(path)]:
        msg = f"Not there: {_examples(missing)}, of {len(counts)}; correct the paths or leave the rows out."
        raise DataError(msg)
    return table


def _examples(paths: Sequence[str]) -> str:
    more = ", ..." if len(paths) > 3 else ""
    return f"{len(paths)} {'file' if len(paths) == 1 else 'files'} ({', '.join(sorted(paths)[:3])}{more})"
