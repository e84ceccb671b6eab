"""How fast models answer and what they take, measured side by side.

A machine does not keep its pace: it warms, it throttles, others compute beside. So candidates run in turn,
round by round, and medians are compared; then whatever slows one slows the others as well.
"""

import dataclasses
import itertools
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from deepscan import errors
from deepscan.bundle import Bundle
from deepscan.detector import pick_device
from deepscan.errors import ConfigError, DeepscanError, ResourceError
from deepscan.formats import Runner
from deepscan.formats.tracing import example_of
from deepscan.modalities import Column, Example

BATCHES = (1, 2, 4, 8, 16, 32)
"""Sizes of a batch among which the best is looked for."""

NEARLY = 0.97
"""Share of the best throughput that a smaller batch may have and still be preferred: it takes less memory."""

SETTLE_S = 0.05
"""Pause before a timed call: threads of runtimes spin for a moment after one, on the cores of the next."""

PROCESS = "deepscan.optimize.peak"
"""What runs in the process whose memory is measured."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How fast a model answers one call.

    Attributes:
        batch_size: Examples in the call.
        p50_ms: Median over the rounds, in milliseconds.
        p95_ms: The 95th percentile, linear between the two nearest rounds.
        per_s: Examples a second at the median.
    """

    batch_size: int
    p50_ms: float
    p95_ms: float
    per_s: float


def speeds(
    runners: Mapping[str, Runner],
    inputs: Example,
    batch_sizes: Sequence[int] = (1, 8),
    rounds: int = 10,
    budget_s: float = 30.0,
) -> dict[str, dict[int, Speed]]:
    """Measure runners side by side: each round runs each of them once with each size of a batch.

    Every runner is warmed up with every size, and begins when the one before has come to rest. The order
    changes from round to round, so that none always follows the same other one. Runners give arrays in the
    main memory: on a GPU, too, a call ends when all is computed and copied.

    Args:
        runners: What is compared, by name.
        inputs: What all of them read, arrays with the Examples first; they are repeated where a batch is
            larger.
        batch_sizes: Numbers of Examples in a call.
        rounds: Most rounds, at least 1.
        budget_s: No further round begins that would end, by those before, after so many seconds; the
            warm-up and one round are always run.

    Returns:
        Speeds by runner and size.

    Raises:
        ConfigError: A size or ``rounds`` is below 1, or there are no inputs.
    """
    if rounds < 1 or not batch_sizes or min(batch_sizes) < 1 or not _count(inputs):
        msg = f"Speeds need Examples, rounds >= 1 and batches of at least 1, not {rounds} and {batch_sizes}."
        raise ConfigError(msg)
    begin_s = time.perf_counter()
    batches = {size: repeated(inputs, size) for size in batch_sizes}
    turns = list(itertools.product(batches, runners))
    for size, name in turns:
        runners[name](batches[size])
    spent_ms: dict[tuple[int, str], list[float]] = {turn: [] for turn in turns}
    longest_s = 0.0
    for number in range(rounds):
        round_s = time.perf_counter()
        if number and round_s - begin_s + longest_s > budget_s:
            break
        first = number % len(turns)
        for size, name in turns[first:] + turns[:first]:
            time.sleep(SETTLE_S)
            spent_ms[size, name].append(_call_ms(runners[name], batches[size]))
        longest_s = max(longest_s, time.perf_counter() - round_s)
    return {name: {size: speed_of(size, spent_ms[size, name]) for size in batches} for name in runners}


def speed_of(batch_size: int, spent_ms: Sequence[float]) -> Speed:
    """Return the Speed that calls of some milliseconds come to."""
    p50_ms, p95_ms = np.percentile(spent_ms, (50, 95)).tolist()
    return Speed(batch_size=batch_size, p50_ms=p50_ms, p95_ms=p95_ms, per_s=1000 * batch_size / p50_ms)


def best_batch(
    runner: Runner, inputs: Example, batch_sizes: Sequence[int] = BATCHES, budget_s: float = 30.0
) -> Speed:
    """Return the Speed of the batch size with the most Examples a second, or of a smaller one nearly as good.

    Sizes are tried from the smallest on; where the next one would not fit into the time that is left, the
    best so far is it.

    Args:
        runner: The model.
        inputs: What it reads, arrays with the Examples first; repeated where a batch is larger.
        batch_sizes: Numbers of Examples among which is chosen.
        budget_s: Seconds for all of it; the smallest size is always measured.

    Raises:
        ConfigError: A size is below 1, or there are no inputs.
    """
    begin_s, found = time.perf_counter(), list[Speed]()
    for size in sorted(batch_sizes):
        left_s = budget_s - (time.perf_counter() - begin_s)
        # A warm-up and a round of a batch twice the size take about four times one call of the last.
        if found and 4 * found[-1].p50_ms / 1000 > left_s:
            break
        share_s = left_s / len(batch_sizes)
        found.append(speeds({"": runner}, inputs, (size,), rounds=5, budget_s=share_s)[""][size])
    most = max(each.per_s for each in found)
    return next(each for each in found if each.per_s >= NEARLY * most)


def repeated(inputs: Example, size: int) -> Example:
    """Return so many of the Examples; the first ones again where there are fewer."""
    places = np.arange(size) % _count(inputs)
    return {name: np.ascontiguousarray(column[places]) for name, column in inputs.items()}


def noise_of(inputs: Mapping[str, Column], count: int) -> dict[str, NDArray[Any]]:
    """Return so many Examples of noise for a model that reads these columns, the same in every run."""
    return {name: column.numpy() for name, column in example_of(inputs, count).items()}


def parameters(module: nn.Module) -> int:
    """Return the number of weights that training may change."""
    return sum(each.numel() for each in module.parameters())


def flops(module: nn.Module, inputs: Example) -> int:
    """Return the floating-point operations of one call, two for a product that is added.

    PyTorch counts those of convolutions, products of matrices and attention; nothing else, such as norms,
    activations and recurrent cells that one kernel computes.

    Args:
        module: The model, in evaluation mode.
        inputs: What it reads, arrays with the Examples first.
    """
    device = next((each.device for each in module.parameters()), torch.device("cpu"))
    tensors = {name: torch.from_numpy(column).to(device) for name, column in inputs.items()}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(**tensors)
    return int(counter.get_total_flops())


def peak_memory_bytes(
    path: pathlib.Path, batch_size: int = 8, device: str = "cpu", plugin: pathlib.Path | None = None
) -> int:
    """Return by how much loading a bundle and running a batch of noise raises the memory of a fresh process.

    On a CPU it is the largest resident memory beyond what the process held after its imports; on a GPU the
    most that PyTorch had allocated there at once.

    Args:
        path: The bundle.
        batch_size: Examples in the batch.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        plugin: File that registers its model; it is executed.

    Raises:
        BundleError: The bundle cannot be used.
        ConfigError: The device does not exist, or the batch is of no Examples.
        FormatError: Its format does not run on this machine or device.
        ResourceError: The process ended before it was done, as where memory does not suffice.
    """
    if batch_size < 1:
        msg = f"A batch has at least 1 Example, it cannot have {batch_size}."
        raise ConfigError(msg)
    Bundle.read(path)
    order = {
        "path": str(path.absolute()),
        "batch_size": batch_size,
        "device": pick_device(device),
        "threads": torch.get_num_threads(),
        "plugin": str(plugin.absolute()) if plugin else None,
    }
    command = [sys.executable, "-m", PROCESS, json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  (our own module)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        msg = f"The process that measured the memory of {path} ended early ({last}); use a smaller batch."
        raise ResourceError(msg)
    told = json.loads(done.stdout.splitlines()[-1])
    if "error" in told:
        kind: type[DeepscanError] = getattr(errors, told["error"])
        raise kind(told["message"])
    return int(told["bytes"])


def _call_ms(runner: Runner, inputs: Example) -> float:
    begin_s = time.perf_counter()
    runner(inputs)
    return 1000 * (time.perf_counter() - begin_s)


def _count(inputs: Example) -> int:
    return min((len(column) for column in inputs.values()), default=0)
