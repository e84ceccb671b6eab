"""How many Examples a model runs at a time: as many as were found best on this machine, else a usual number.

What is best depends on the model, its format, the processor and its threads. It is measured once, by
``deepscan benchmark``, and kept in a file beside the other caches of this machine.
"""

import functools
import json
import os
import pathlib
import platform
import tempfile
from typing import Any

from deepscan.errors import StorageError
from deepscan.formats import computing_threads
from deepscan.media.assets import places

USUAL = 32
"""Examples at a time where nobody has measured."""

_CPU_INFO = pathlib.Path("/proc/cpuinfo")


def best_size(bundle: str, device: str) -> int:
    """Return how many Examples at a time a bundle runs best with.

    Args:
        bundle: Its id.
        device: A resolved device: ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        The number that ``keep_size`` was given for this machine; ``USUAL`` where there is none, or where the
        file is no longer what was written.
    """
    size = _read().get(_key(bundle, device))
    return size if isinstance(size, int) and size >= 1 else USUAL


def keep_size(bundle: str, device: str, size: int) -> None:
    """Keep the number for this machine; see ``best_size``.

    Raises:
        StorageError: The file cannot be written.
    """
    path = places().batches
    sizes = _read() | {_key(bundle, device): size}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own, for two that measure at the same time.
        number, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(json.dumps(sizes, indent=1, sort_keys=True) + "\n")
        os.replace(draft, path)
    except OSError as error:
        msg = f"{path} cannot be written ({error}); make room or set DEEPSCAN_HOME."
        raise StorageError(msg) from error


@functools.cache
def hardware(device: str) -> str:
    """Return the name of the processor that a device is, as its maker gives it."""
    if device != "cpu":
        import torch

        return torch.cuda.get_device_name(device)
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _key(bundle: str, device: str) -> str:
    return f"{bundle} on {hardware(device)}, {computing_threads()} threads"


def _read() -> dict[str, Any]:
    try:
        sizes = json.loads(places().batches.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return sizes if isinstance(sizes, dict) else {}
