"""Starting Ray, and planning what a run takes of the cluster before anything runs.

Ray waits for ever, without a word, when training workers hold every CPU and the data stream that
feeds them needs one. So a run is planned first, and refused with the figures when it cannot fit.
"""

import contextlib
import dataclasses
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import ray
import ray.autoscaler.sdk
import ray.data
import ray.util

from deepscan.errors import ConfigError, ResourceError, StalledError

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux the only way to make a local cluster bind 127.0.0.1
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # every report waits for this poll
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths keep their meaning in workers
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DEDUP_LOGS": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",  # Serve keeps its log in files of its own
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # else Ray's own daemons go before the training, which waits in lockstep
    "RAY_enable_metrics_collection": "0",
    "MALLOC_ARENA_MAX": "1",  # training runs in a thread; arenas of threads give memory back all the time
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a campaign keeps its own journal
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output of Tune draws boxes even when it is told to be silent
}
DATA_CPUS = 1.0
MIN_WORKER_CPUS = 0.1
ELASTIC_TASK_CPUS = 0.25
ASK_AGAIN_S = 1.0
OBJECT_STORE_BYTES = 1 * 2**30

P = TypeVar("P")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What a training run takes of the cluster.

    Attributes:
        workers: Training processes.
        worker_cpus: Logical CPUs of each.
        worker_gpus: GPUs of each.
        threads: Computing threads of each.
        data_cpus: Logical CPUs left to the data stream.
        task_cpus: Logical CPUs of one of its tasks, which some node has left.
        least: Fewest workers with which the run goes on after losing others; None = their number is fixed.
    """

    workers: int
    worker_cpus: float
    worker_gpus: int
    threads: int
    data_cpus: float
    task_cpus: float = 1.0
    least: int | None = None

    @property
    def scale(self) -> int | tuple[int, int]:
        """The number of workers in Ray's words: fixed, or from the fewest to the most."""
        return self.workers if self.least is None else (self.least, self.workers)

    @property
    def per_worker(self) -> dict[str, float]:
        """The resources of a worker in Ray's words."""
        gpus = {"GPU": float(self.worker_gpus)} if self.worker_gpus else {}
        return {"CPU": self.worker_cpus, **gpus}


def plan_resources(
    workers: int, cpus: float, gpus: float, least: int | None = None, nodes: Sequence[float] = ()
) -> Resources:
    """Divide the cluster between training workers and the data stream.

    Every worker gets a GPU where there are enough, else it trains on the CPU. The data stream keeps at
    least one CPU, and a task of it is as large as what some node has left. An elastic run may find itself
    in a smaller cluster than it was planned for, whose CPUs Ray gives to as many workers as fit, so that
    its tasks are small from the start.

    Args:
        workers: Training processes wanted.
        cpus: Logical CPUs of the cluster.
        gpus: GPUs of the cluster.
        least: Fewest workers that will do; None = all of those wanted.
        nodes: Logical CPUs of each node; none = one node has all of them.

    Raises:
        ConfigError: More are to do than are wanted.
        ResourceError: They cannot fit.
    """
    if least is not None and not 1 <= least <= workers:
        msg = f"The fewest workers must be from 1 to {workers}, the number wanted, not {least}."
        raise ConfigError(msg)
    worker_gpus = 1 if gpus >= workers else 0
    most = min(1.0 if worker_gpus else cpus, (cpus - DATA_CPUS) / workers)
    worker_cpus, left = _largest_share(most, workers, nodes or (cpus,))
    if worker_cpus < MIN_WORKER_CPUS:
        msg = (
            f"{workers} workers and a data stream do not fit into {cpus:g} CPUs: the stream needs "
            f"{DATA_CPUS:g} and a worker at least {MIN_WORKER_CPUS:g}. Ask for fewer workers or add nodes."
        )
        raise ResourceError(msg)
    threads = max(1, int(worker_cpus)) if worker_gpus else max(1, int(cpus // workers))
    return Resources(
        workers=workers,
        worker_cpus=worker_cpus,
        worker_gpus=worker_gpus,
        threads=threads,
        data_cpus=cpus - workers * worker_cpus,
        task_cpus=min(left, 1.0 if least is None else ELASTIC_TASK_CPUS),
        least=least,
    )


def _largest_share(most: float, workers: int, nodes: Sequence[float]) -> tuple[float, float]:
    """Return the CPUs of a worker such that all of them find room, and what then is left on one node."""
    parts = {node / count for node in nodes for count in range(1, workers + 1)}
    for share in sorted({most} | {part for part in parts if part < most}, reverse=True):
        share = math.floor(share * 100) / 100
        if share < MIN_WORKER_CPUS:
            break
        left = list(nodes)
        for _ in range(workers):
            left.sort()
            left[-1] -= share
        room = math.floor(max(left) * 100) / 100
        if min(left) >= 0 and room >= MIN_WORKER_CPUS:
            return share, room
    return 0.0, 0.0


def alone() -> bool:
    """Return whether this machine is the whole cluster."""
    return sum(node["Alive"] for node in ray.nodes()) == 1  # type: ignore[no-untyped-call]


def node_cpus() -> list[float]:
    """Return the logical CPUs of each node of the cluster that has any."""
    found = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [float(cpus) for cpus in found if cpus]


def when_there_is_room(
    plan: Callable[[], P],
    machines: Sequence[Mapping[str, float]],
    address: str | None,
    patience_s: float,
    tell: Callable[[str], None],
) -> P:
    """Return a plan, as soon as the cluster has the machines for it.

    A cluster that was joined may have none yet: they are still starting, or its autoscaler starts them for
    those who ask. A private one never grows.

    Args:
        plan: Raises ResourceError while it does not fit.
        machines: What the autoscaler is asked for: the resources of each process, in Ray's words.
        address: Address that was connected to, as ``connected`` got it.
        patience_s: Seconds after which to give up.
        tell: Called with what is missing, once it is.

    Raises:
        ResourceError: There is no room, and none has come in that time.
    """
    try:
        return plan()
    except ResourceError as error:
        if not _address(address):
            raise
        tell(f"Waiting up to {patience_s:g} s for machines. {error}")
    deadline_s = time.monotonic() + patience_s
    try:
        while True:
            # Repeated, because a head that has just started may not have been listening.
            ray.autoscaler.sdk.request_resources(bundles=[dict(each) for each in machines])
            time.sleep(ASK_AGAIN_S)
            try:
                return plan()
            except ResourceError as error:
                if time.monotonic() > deadline_s:
                    msg = f"{error} No such machine came in {patience_s:g} s."
                    raise ResourceError(msg) from error
    finally:
        ray.autoscaler.sdk.request_resources(bundles=[])


def wait_for_places(resources: Resources, patience_s: float) -> None:
    """Return once the cluster has room for the workers of a run, the fewest that will do.

    Ray Train would wait for it by itself, but in a state in which it cannot be interrupted.

    Raises:
        StalledError: It has none after so many seconds.
    """
    workers = resources.workers if resources.least is None else resources.least
    places = ray.util.placement_group([resources.per_worker] * workers)
    try:
        if not places.wait(patience_s):
            msg = f"Nothing has moved for {patience_s:g} s. {what_waits(resources.task_cpus)}"
            raise StalledError(msg)
    finally:
        ray.util.remove_placement_group(places)


def what_waits(task_cpus: float) -> str:
    """Say what waits for what, when work whose tasks take so many CPUs stands still."""
    groups = ray.util.placement_group_table().values()
    pending = [group["bundles"] for group in groups if group["state"] == "PENDING"]
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    cpus, gpus = available()
    stock = (
        f"The cluster has {cpus:g} CPUs and {gpus:g} GPUs, of which {free.get('CPU', 0):g} and "
        f"{free.get('GPU', 0):g} are free."
    )
    if pending:
        wanted = "; ".join(str(list(bundles.values())) for bundles in pending)
        return f"Training workers wait for {wanted}. {stock} End what holds them, or ask for fewer workers."
    return (
        f"No workers wait for their places: tasks of {task_cpus:g} CPUs wait for room, or for files that are "
        f"out of reach. {stock} End what holds them, or add nodes."
    )


def available() -> tuple[float, float]:
    """Return the CPUs and GPUs of the cluster."""
    totals: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return float(totals.get("CPU", 0)), float(totals.get("GPU", 0))


@contextlib.contextmanager
def connected(address: str | None = None, cpus: int | None = None) -> Iterator[None]:
    """Connect to Ray for the time of the block.

    An address (or ``RAY_ADDRESS``, which Ray sets inside a job) is connected to; otherwise a private
    cluster on 127.0.0.1 is started and stopped. Where the process is connected already, it stays so.

    Raises:
        ResourceError: The cluster at the address does not answer.
    """
    if ray.is_initialized():
        yield
        return
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = _address(address)
    try:
        if address:
            ray.init(address=address, logging_level=logging.WARNING)
        else:
            _start_local(cpus)
    except ConnectionError as error:
        msg = f"No Ray cluster answers at {address}: {error}. Run 'ray start --head', or give none."
        raise ResourceError(msg) from error
    configure_data()
    try:
        yield
    finally:
        ray.shutdown()


def _address(given: str | None) -> str | None:
    """Return the address of the cluster to join; None = a private one is wanted."""
    return given or os.environ.get("RAY_ADDRESS")


def _start_local(cpus: int | None) -> None:
    shared_memory = os.statvfs("/dev/shm")  # noqa: S108  (its free space is asked for; nothing is written)
    free_bytes = shared_memory.f_bavail * shared_memory.f_frsize
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray Data's actors trigger a false alarm in it
    ray.init(
        address="local",
        num_cpus=cpus or max(2, os.cpu_count() or 2),
        object_store_memory=min(OBJECT_STORE_BYTES, max(free_bytes // 2, 80 * 2**20)),
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )


def configure_data() -> None:
    """Set what Ray Data does in this process: a fixed order, no bars of its own, no waiting for ever."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = 300
    context.execution_options.preserve_order = True
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # It would tell in every command that its bars are off, which is what was asked for.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
