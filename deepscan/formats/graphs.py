"""What the formats share whose models are graphs: names that graphs do not keep, refusals, silence.

It knows no PyTorch: who runs a graph need not wait for its import.
"""

import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import Self

from deepscan.errors import BundleError, FormatError
from deepscan.formats import FLOAT32

SIGNATURE = "signature.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """Names of a model's inputs and outputs, in the order in which a graph without names has them."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def write(self, directory: pathlib.Path) -> str:
        """Write the names beside a graph and return the name of the file."""
        text = json.dumps({"inputs": self.inputs, "outputs": self.outputs}, indent=1)
        (directory / SIGNATURE).write_text(text + "\n", encoding="utf-8")
        return SIGNATURE

    @classmethod
    def read(cls, directory: pathlib.Path) -> Self:
        """Read what ``write`` wrote.

        Raises:
            BundleError: The file is absent or broken.
        """
        try:
            said = json.loads((directory / SIGNATURE).read_text(encoding="utf-8"))
            return cls(tuple(map(str, said["inputs"])), tuple(map(str, said["outputs"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"{directory / SIGNATURE} names no inputs and outputs ({error}); export the bundle again."
            raise BundleError(msg) from error


def require_float32(format_name: str, precision: str) -> None:
    """Refuse to write a precision that takes data besides the weights.

    Raises:
        FormatError: It is not float32.
    """
    if precision != FLOAT32:
        msg = f"{format_name!r} is written in {FLOAT32}; `deepscan quantize` makes {precision} of it."
        raise FormatError(msg)


def require_cpu(runtime: str, device: str) -> None:
    """Refuse a device on which a runtime does not run.

    Raises:
        FormatError: It is not the CPU.
    """
    if device != "cpu":
        msg = f"{runtime} bundles run on the CPU, not on {device!r}; use --device cpu."
        raise FormatError(msg)


def first_line(error: BaseException) -> str:
    """Return what an error says, without the report of many lines that tracers add to it."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what a tracer prints of its own steps out of the log."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
