"""How busy the machine is: CPUs, memory and GPUs, in figures that hold for a container, too."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pynvml

CGROUP = pathlib.Path("/sys/fs/cgroup")
"""Where a container finds its own limits (control groups, version 2)."""

LEAST_S = 1.0
"""A reading is used again for this long: shares of shorter times say little."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU as NVML tells of it.

    Attributes:
        index: Its number.
        name: Its name.
        share: Share of the last moments in which it worked, in [0, 1].
        memory_bytes: Memory in use, by all processes.
        memory_share: Share of its memory, in [0, 1].
    """

    index: int
    name: str
    share: float
    memory_bytes: int
    memory_share: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How busy the machine is at a moment.

    Attributes:
        cpu_share: Share of the CPUs that was busy since the reading before, in [0, 1]; of those of the
            container where it is limited.
        memory_bytes: Resident memory of this process and all below it.
        memory_share: Share of the memory of the machine that is in use, in [0, 1]; of the container's
            where it is limited.
        gpus: The GPUs; empty where NVML finds none.
    """

    cpu_share: float
    memory_bytes: int
    memory_share: float
    gpus: tuple[Gpu, ...] = ()

    @property
    def shares(self) -> dict[str, float]:
        """The figures that alert rules can be about; of GPUs, those of the busiest and of the fullest."""
        shares = {"cpu_share": self.cpu_share, "memory_share": self.memory_share}
        if self.gpus:
            shares["gpu_share"] = max(gpu.share for gpu in self.gpus)
            shares["gpu_memory_share"] = max(gpu.memory_share for gpu in self.gpus)
        return shares


class Machine:
    """Reads how busy the machine is; the first reading is about the time since it was made."""

    def __init__(
        self, cgroup: pathlib.Path = CGROUP, nvml: Any = pynvml, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin to measure.

        Args:
            cgroup: Folder of the container's control group.
            nvml: The module that speaks to the GPU's driver.
            clock: Reads in seconds.
        """
        self._cgroup, self._clock = cgroup, clock
        self._nvml = nvml if _works(nvml) else None
        self._process = psutil.Process()
        self._cpus = _cpu_limit(cgroup)
        self._before = clock(), self._busy_s()
        self._last: Reading | None = None

    def read(self) -> Reading:
        """Return how busy the machine is, as of at most a second ago."""
        now_s, (before_s, busy_s) = self._clock(), self._before
        if self._last is not None and now_s - before_s < LEAST_S:
            return self._last
        self._before = now_s, self._busy_s()
        available_s = max(now_s - before_s, 1e-6) * (self._cpus or psutil.cpu_count() or 1)
        self._last = Reading(
            cpu_share=min(1.0, max(0.0, (self._before[1] - busy_s) / available_s)),
            memory_bytes=sum(_resident_bytes(self._process)),
            memory_share=_memory_share(self._cgroup),
            gpus=tuple(_gpus(self._nvml)) if self._nvml else (),
        )
        return self._last

    def _busy_s(self) -> float:
        """Return how many seconds CPUs have worked so far: those of the container where it is limited."""
        if self._cpus:
            return _figures(self._cgroup / "cpu.stat")["usage_usec"] / 1e6
        times = psutil.cpu_times()
        # Guests are part of the time of users already.
        idle_s = times.idle + getattr(times, "iowait", 0.0)
        counted = ("guest", "guest_nice")
        return float(sum(v for k, v in times._asdict().items() if k not in counted) - idle_s)


def _cpu_limit(cgroup: pathlib.Path) -> float | None:
    """Return how many CPUs a container may use; None = there is no limit of its own."""
    words = _text(cgroup / "cpu.max").split()
    if len(words) != 2 or words[0] == "max" or "usage_usec" not in _figures(cgroup / "cpu.stat"):
        return None
    return int(words[0]) / int(words[1])


def _memory_share(cgroup: pathlib.Path) -> float:
    limit = _text(cgroup / "memory.max")
    if not limit.isdecimal():
        return float(psutil.virtual_memory().percent) / 100
    # Files that the kernel holds in memory give way to whoever needs it.
    reclaimable = _figures(cgroup / "memory.stat").get("inactive_file", 0)
    used = int(_text(cgroup / "memory.current") or 0) - reclaimable
    return max(0.0, used / int(limit))


def _figures(path: pathlib.Path) -> dict[str, int]:
    pairs = (line.split() for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _resident_bytes(process: psutil.Process) -> Iterator[int]:
    yield process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            yield child.memory_info().rss
        except psutil.Error:
            continue  # it ended while we were looking


def _works(nvml: Any) -> bool:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return False
    return True


def _gpus(nvml: Any) -> Iterator[Gpu]:
    """Read every GPU; one that cannot tell, such as a slice of a divided GPU, is left out."""
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            yield Gpu(
                index=index,
                name=nvml.nvmlDeviceGetName(handle),
                share=nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
                memory_bytes=memory.used,
                memory_share=memory.used / memory.total,
            )
        except nvml.NVMLError:
            continue
