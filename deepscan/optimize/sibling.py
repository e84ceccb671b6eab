"""Bundles that are made of other bundles: written whole or not at all, with whom they come from."""

import dataclasses
import importlib.metadata
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from deepscan import bundle as bundles
from deepscan.bundle import Bundle
from deepscan.detector import Detector
from deepscan.errors import ConfigError, FormatError
from deepscan.formats import FLOAT32, network_of

PACKAGES = ("torch", "torchao", "onnx", "onnxruntime", "openvino", "nncf", "litert-torch", "executorch")

OPTIMIZED = "optimized"
"""Where a card's ``metrics`` keep the comparison with its parent."""

Check = Callable[[Bundle], None]
"""Looks at a new bundle before it is kept; raises a FormatError where it is not worth that."""


def load_first(path: pathlib.Path) -> tuple[Detector, nn.Module]:
    """Load the bundle that others are to be made of, on the CPU, with its PyTorch module.

    Raises:
        BundleError: It cannot be used.
        FormatError: It was made of another one and holds no weights of PyTorch in float32 any more.
    """
    first = Detector.load(path, "cpu")
    network, card = network_of(first.runner), first.bundle.card
    if network is None or card.precision != FLOAT32:
        msg = (
            f"{path} holds {card.weights_format!r} weights in {card.precision}; "
            "give the bundle that it was made from."
        )
        raise FormatError(msg)
    return first, network


def write_sibling(
    first: Bundle,
    out: pathlib.Path,
    write: Callable[[pathlib.Path], Sequence[str]],
    check: Check | None = None,
    **changes: Any,
) -> Bundle:
    """Write a bundle that differs from another in its weights files and some fields of its card.

    It takes shape beside ``out`` and moves there once it was checked.

    Args:
        first: The bundle that it is made of.
        out: Folder of the new bundle; it must not be there, or be empty.
        write: Writes the weights files into a directory and returns their names.
        check: Looks at what was written; None = it was looked at before.
        changes: Fields of the card: at least ``change``, what was done.

    Raises:
        ConfigError: ``out`` holds something.
        FormatError: ``write`` or ``check`` refused; nothing is left behind.
    """
    require_free(out)
    draft = out.absolute().with_name(f".{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        card = dataclasses.replace(first.card, parent=first.card.id, software=software(), **changes)
        made = bundles.seal(draft, card, write(draft))
        if check:
            check(made)
        if out.is_dir():
            out.rmdir()
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Bundle(out, made.card)


def require_free(out: pathlib.Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        ConfigError: It does.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"{out} holds something already; name a new folder with --out."
        raise ConfigError(msg)


def size_bytes(bundle: Bundle) -> int:
    """Return the size of a bundle's weights and graphs in bytes."""
    return sum((bundle.path / name).stat().st_size for name in bundle.card.files)


def software(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of the packages that had or may have had a part in it, as far as they are here."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
