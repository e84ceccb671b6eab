"""Files on this machine or in an object store, through PyArrow's file systems.

A location is a path, or a URI such as ``s3://bucket/inbox``, ``gs://bucket/inbox`` or ``file:///inbox``, with
the options that PyArrow knows (``?region=...``, ``?endpoint_override=...``). Who may read and write is the
business of the environment: a location holds no password.
"""

import concurrent.futures
import contextlib
import dataclasses
import errno
import functools
import os
import pathlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from deepscan.errors import ConfigError, StorageError

_QUESTIONS_AT_A_TIME = 16
_COPIED_BYTES = 16 * 2**20
_OF_THE_DISK = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EIO,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A file that was found.

    Attributes:
        location: Where it is.
        size_bytes: Its size; None = there is no such file.
        mtime_ns: When it was changed, in nanoseconds since 1970; None where that is not known.
    """

    location: str
    size_bytes: int | None
    mtime_ns: int | None


def absolute(given: str | os.PathLike[str]) -> str:
    """Return a location that means the same on every machine: an absolute path, or a URI.

    Raises:
        ConfigError: It is a URI with a password.
    """
    text = os.fspath(given)
    if "://" not in text:
        return os.path.abspath(text)
    parts = urlsplit(text)
    if parts.password:
        shown = _joined(parts._replace(netloc=parts.hostname or ""))
        msg = f"The location {shown} was given with a key in it; leave it to the environment or a profile."
        raise ConfigError(msg)
    if parts.scheme == "file":
        return os.path.abspath(unquote(parts.path))
    return _joined(parts._replace(path=parts.path.rstrip("/")))


def is_local(location: str) -> bool:
    """Tell whether an absolute location is a path on this machine."""
    return "://" not in location


def join(folder: str, *names: str) -> str:
    """Return the location of something below a folder; names are as the file system writes them."""
    if is_local(folder):
        return os.path.join(folder, *names)
    parts = urlsplit(folder)
    path = "/".join([parts.path.rstrip("/"), *map(quote, names)])
    return _joined(parts._replace(path=path))


def parent(location: str) -> str:
    """Return the location of the folder that something is in."""
    if is_local(location):
        return os.path.dirname(location)
    parts = urlsplit(location)
    return _joined(parts._replace(path=parts.path.rpartition("/")[0]))


def name(location: str) -> str:
    """Return the last part of a location, as the file system writes it."""
    if is_local(location):
        return os.path.basename(location)
    return unquote(urlsplit(location).path.rpartition("/")[2])


def locate(location: str) -> tuple[Any, str]:
    """Return the file system of an absolute location, and the path there.

    Raises:
        ConfigError: No file system is known by that scheme, or its options are wrong.
        StorageError: It does not answer.
    """
    if is_local(location):
        return fs.LocalFileSystem(), location
    parts = urlsplit(location)
    filesystem, root = _filesystem(_joined(parts._replace(path="/")))
    path = f"{root.rstrip('/')}/{unquote(parts.path).lstrip('/')}".rstrip("/")
    return filesystem, path


def _joined(parts: SplitResult) -> str:
    # ``geturl`` would leave the slashes out where there is no host.
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{query}"


@functools.lru_cache(maxsize=64)
def _filesystem(root: str) -> tuple[Any, str]:
    try:
        filesystem, path = fs.FileSystem.from_uri(root)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        msg = f"{root} is no location ({error}); give a path, or a URI as s3://bucket/folder."
        raise ConfigError(msg) from error
    except OSError as error:
        raise _failed(root, "reached", error) from error
    return filesystem, str(path)


def find(location: str) -> Entry:
    """Return what is known of a file.

    Raises:
        StorageError: The storage does not answer.
    """
    filesystem, path = locate(location)
    try:
        return _entry(location, filesystem.get_file_info(path))
    except OSError as error:
        raise _failed(location, "looked at", error) from error


def find_all(locations: Iterable[str]) -> list[Entry]:
    """Return what is known of some files, in their order; many are asked for at a time.

    Raises:
        StorageError: The storage does not answer.
    """
    with concurrent.futures.ThreadPoolExecutor(_QUESTIONS_AT_A_TIME) as pool:
        return list(pool.map(find, locations))


def is_folder(location: str) -> bool:
    """Tell whether there is a folder.

    Raises:
        StorageError: The storage does not answer.
    """
    filesystem, path = locate(location)
    try:
        return bool(filesystem.get_file_info(path).type == fs.FileType.Directory)
    except OSError as error:
        raise _failed(location, "looked at", error) from error


def files(folder: str) -> Iterator[Entry]:
    """Yield the files below a folder; hidden files and folders are left out, linked folders are not entered.

    Raises:
        StorageError: The folder cannot be read.
    """
    try:
        if is_local(folder):
            yield from _local_files(pathlib.Path(folder))
            return
        filesystem, path = locate(folder)
        for info in filesystem.get_file_info(fs.FileSelector(path, recursive=True)):
            names = info.path.removeprefix(path).strip("/").split("/")
            if info.type == fs.FileType.File and not _hidden(names):
                yield _entry(join(folder, *names), info)
    except OSError as error:
        raise _failed(folder, "read", error) from error


def _local_files(folder: pathlib.Path) -> Iterator[Entry]:
    # PyArrow would follow links to folders, also those that lead back to where it came from.
    for here, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [each for each in folders if not _hidden([each])]
        for path in (os.path.join(here, each) for each in names if not _hidden([each])):
            if os.path.isfile(path):
                status = os.stat(path)
                yield Entry(path, status.st_size, status.st_mtime_ns)


def _refuse(error: OSError) -> None:
    raise error


def _hidden(names: Iterable[str]) -> bool:
    return any(each.startswith(".") for each in names)


def _entry(location: str, info: Any) -> Entry:
    there = info.type == fs.FileType.File
    return Entry(location, info.size if there else None, info.mtime_ns if there else None)


@contextlib.contextmanager
def opened(location: str) -> Iterator[Any]:
    """Open a file to be read at any place for the time of the block.

    Raises:
        StorageError: It cannot be read.
    """
    filesystem, path = locate(location)
    try:
        with filesystem.open_input_file(path) as file:
            yield file
    except OSError as error:
        raise _failed(location, "read", error) from error


def read(location: str) -> bytes:
    """Return the content of a file.

    Raises:
        StorageError: It cannot be read.
    """
    with opened(location) as file:
        return bytes(file.read())


def write(location: str, data: "bytes | pa.Buffer") -> None:
    """Write a file, whole or not at all: it is put in place by a rename.

    Raises:
        StorageError: It cannot be written, e.g. because the disk is full; nothing is left of it.
    """
    with _drafted(location) as stream:
        stream.write(data)


def copy(source: str, target: str) -> None:
    """Copy a file, whole or not at all.

    Raises:
        StorageError: It cannot be read or written; nothing is left of the copy.
    """
    with opened(source) as file, _drafted(target) as stream:
        while piece := file.read(_COPIED_BYTES):
            stream.write(piece)


def copy_folder(source: str, target: str, leave_out: Collection[str] = ()) -> None:
    """Copy the files below a folder, but for those below the names that are left out.

    Raises:
        StorageError: One cannot be read or written; those before it are there.
    """
    depth = len(pathlib.PurePath(locate(source)[1]).parts)
    for entry in files(source):
        names = pathlib.PurePath(locate(entry.location)[1]).parts[depth:]
        if names[0] not in leave_out:
            copy(entry.location, join(target, *names))


@contextlib.contextmanager
def _drafted(location: str) -> Iterator[Any]:
    """Open a file to be written that is put in place by a rename when the block has ended well."""
    filesystem, path = locate(location)
    folder, _, last = path.rpartition("/")
    # Readers of folders of Parquet pass over names that begin with a dot.
    draft = f"{folder}/.{last}.draft"
    try:
        filesystem.create_dir(folder, recursive=True)
        with filesystem.open_output_stream(draft, compression=None) as stream:
            yield stream
        filesystem.move(draft, path)
    except OSError as error:
        _discard(filesystem, draft)
        raise _failed(location, "written", error) from error


@contextlib.contextmanager
def writing(place: str | os.PathLike[str]) -> Iterator[None]:
    """Say of what goes wrong with a disk while the block writes into a place that it is the disk.

    Raises:
        StorageError: The disk is full, or the place cannot be written to.
    """
    try:
        yield
    except OSError as error:
        # What a task of Ray raised carries its cause along.
        if getattr(error, "cause", error).errno not in _OF_THE_DISK:
            raise
        raise _failed(os.fspath(place), "written", error) from error


def remove(location: str) -> None:
    """Delete a file.

    Raises:
        StorageError: It cannot be deleted.
    """
    filesystem, path = locate(location)
    try:
        filesystem.delete_file(path)
    except OSError as error:
        raise _failed(location, "deleted", error) from error


def remove_folder(location: str) -> None:
    """Delete a folder and what is in it; that there is none is right as well.

    Raises:
        StorageError: It cannot be deleted.
    """
    if not is_folder(location):
        return
    filesystem, path = locate(location)
    try:
        filesystem.delete_dir(path)
    except OSError as error:
        raise _failed(location, "deleted", error) from error


def _discard(filesystem: Any, path: str) -> None:
    try:
        filesystem.delete_file(path)
    except OSError:
        # It was never made, or the storage is gone; what is wrong is told by the error that led here.
        return


def _failed(location: str, what: str, error: OSError) -> StorageError:
    return StorageError(
        f"{location} cannot be {what} ({error}); check the place, the permissions and the free space."
    )
