"""Model files of others that deepscan needs: fetched once from a public address, checked, kept in a cache.

``DEEPSCAN_ASSETS`` names a folder that already holds them (a mirror, for machines without internet);
``DEEPSCAN_HOME`` moves the cache, and ``DEEPSCAN_REGRESSION`` the regression set.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable

import platformdirs

from deepscan.errors import AssetError
from deepscan.registry import Registry

Progress = Callable[[int, int], None]
"""Called with the bytes fetched so far and the bytes in all."""

_ATTEMPTS = 3
_PAUSE_S = 0.5
_TIMEOUT_S = 30.0
_CHUNK_BYTES = 2**18


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """A file that deepscan fetches.

    Attributes:
        name: Name in the registry and on the command line.
        file: File name in the mirror and in the cache.
        url: Public address.
        licence: SPDX name of its licence.
        sha256: Hex digest of the content; a file with another is refused.
        bytes: Size of the file.
        summary: One line for tables.
    """

    name: str
    file: str
    url: str
    licence: str
    sha256: str
    bytes: int
    summary: str


ASSETS: Registry[Asset] = Registry("asset")

YUNET = ASSETS.register(
    "yunet",
    Asset(
        name="yunet",
        file="yunet_n_640_640.onnx",
        url="https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/"
        "0047ac24afb1a50a0c6105001c89d1b5b805dbf1/onnx/yunet_n_640_640.onnx",
        licence="Apache-2.0",
        sha256="25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31",
        bytes=317466,
        summary="YuNet, a small face detector: boxes and five landmarks.",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where things live on this machine; assets are looked for in the mirror first.

    Attributes:
        mirror: Folder that somebody filled by hand with assets; None = there is none.
        cache: Folder that ``fetch`` fills with assets.
        prepared: Folder of the prepared stores.
        batches: File of the batch sizes that models run best with.
        regression: Folder of the regression set, which is no cache: nobody can make it again.
    """

    mirror: pathlib.Path | None
    cache: pathlib.Path
    prepared: pathlib.Path
    batches: pathlib.Path
    regression: pathlib.Path


def places() -> Places:
    """Read where things live: ``DEEPSCAN_ASSETS``, ``DEEPSCAN_HOME`` and ``DEEPSCAN_REGRESSION``."""
    mirror, chosen = os.environ.get("DEEPSCAN_ASSETS"), os.environ.get("DEEPSCAN_HOME")
    home = pathlib.Path(chosen or platformdirs.user_cache_dir("deepscan"))
    lasting = pathlib.Path(chosen or platformdirs.user_data_dir("deepscan"))
    return Places(
        mirror=pathlib.Path(mirror) if mirror else None,
        cache=home / "assets",
        prepared=home / "prepared",
        batches=home / "batch_sizes.json",
        regression=pathlib.Path(os.environ.get("DEEPSCAN_REGRESSION") or lasting / "regression"),
    )


def locate(name: str) -> pathlib.Path | None:
    """Return the checked local file of an asset, or None where there is none.

    Raises:
        UnknownNameError: No asset has this name.
        AssetError: There is a file, but its content is not the asset's.
    """
    asset = ASSETS.get(name)
    found = places()
    for folder in filter(None, (found.mirror, found.cache)):
        path = folder / asset.file
        if path.is_file():
            _check(asset, path, str(path))
            return path
    return None


def require(name: str) -> pathlib.Path:
    """Return the checked local file of an asset.

    Raises:
        UnknownNameError: No asset has this name.
        AssetError: There is no such file, or its content is not the asset's.
    """
    path = locate(name)
    if path is None:
        asset = ASSETS.get(name)
        msg = (
            f"The asset {name!r} is not on this machine. Run `deepscan assets fetch {name}`. {_advice(asset)}"
        )
        raise AssetError(msg)
    return path


def fetch(name: str, progress: Progress | None = None) -> pathlib.Path:
    """Put an asset into the cache, from the mirror where it has the file, else from its address.

    A sound file in the cache is kept, an altered one replaced. Nothing is left behind by a failure.

    Args:
        name: Name of the asset.
        progress: Called after every piece.

    Returns:
        The file in the cache.

    Raises:
        UnknownNameError: No asset has this name.
        AssetError: The source is unreachable, or what it sent is not the asset.
    """
    asset = ASSETS.get(name)
    found = places()
    target = found.cache / asset.file
    if target.is_file() and _digest_of(target) == asset.sha256:
        return target
    mirrored = found.mirror / asset.file if found.mirror else None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
            draft = pathlib.Path(folder) / asset.file
            if mirrored and mirrored.is_file():
                shutil.copyfile(mirrored, draft)
                _check(asset, draft, str(mirrored))
            else:
                _download(asset, draft, progress or _silent)
                _check(asset, draft, asset.url)
            draft.replace(target)
    except OSError as error:
        msg = f"The asset {name!r} cannot be written to {target} ({error}); make room or set DEEPSCAN_HOME."
        raise AssetError(msg) from error
    return target


def _download(asset: Asset, draft: pathlib.Path, progress: Progress) -> None:
    # Imported here because httpx is slow to load and few processes ever download.
    import httpx

    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with httpx.stream("GET", asset.url, timeout=_TIMEOUT_S, follow_redirects=True) as response:
                response.raise_for_status()
                _write(asset, response.iter_bytes(_CHUNK_BYTES), draft, progress)
        except httpx.HTTPError as error:
            if isinstance(error, httpx.TransportError) and attempt < _ATTEMPTS:
                time.sleep(_PAUSE_S * attempt)
                continue
            reason = str(error) or type(error).__name__
            msg = f"The asset {asset.name!r} cannot be fetched from {asset.url}: {reason}. {_advice(asset)}"
            raise AssetError(msg) from error
        else:
            return


def _write(asset: Asset, chunks: Iterable[bytes], draft: pathlib.Path, progress: Progress) -> None:
    done = 0
    with draft.open("wb") as stream:
        for chunk in chunks:
            done += stream.write(chunk)
            progress(done, asset.bytes)
            # An endless answer must not fill the disk; the check that follows says what is wrong.
            if done > asset.bytes:
                return


def _silent(done: int, total: int) -> None:
    """Report nothing."""


def _check(asset: Asset, path: pathlib.Path, origin: str) -> None:
    size_bytes, digest = path.stat().st_size, _digest_of(path)
    if (size_bytes, digest) != (asset.bytes, asset.sha256):
        local = f"Remove it, then run `deepscan assets fetch {asset.name}`."
        msg = (
            f"{origin} is not the asset {asset.name!r}: it has {size_bytes} bytes and sha256 {digest}, "
            f"expected are {asset.bytes} and {asset.sha256}. "
            f"{_advice(asset) if origin == asset.url else local}"
        )
        raise AssetError(msg)


def _digest_of(path: pathlib.Path) -> str:
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=64)
def _digest(path: pathlib.Path, mtime_ns: int, size_bytes: int) -> str:
    """Hash a file once for as long as its time and size stay."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _advice(asset: Asset) -> str:
    return (
        f"Without internet, put {asset.file} (from {asset.url}) into a folder and set DEEPSCAN_ASSETS "
        "to that folder."
    )
