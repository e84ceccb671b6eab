"""What the trials of a search take of the cluster."""

import dataclasses
from collections.abc import Sequence

from deepscan.cluster import DATA_CPUS, Resources, plan_resources
from deepscan.errors import ResourceError

DRIVER_CPUS = 0.01
"""Of the process that starts the workers of a trial; Tune takes no 0."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What a search asks for.

    Attributes:
        trials: Trials in all.
        workers: Training processes of a trial.
        cpus: CPUs of a trial; None = one for each of its processes and, with several, one for their data.
        gpus: GPUs of a trial, or a part of one; None = one for each process where there are enough.
    """

    trials: int
    workers: int = 1
    cpus: float | None = None
    gpus: float | None = None

    @property
    def machines(self) -> list[dict[str, float]]:
        """What one trial takes at least, by process, in Ray's words."""
        each = {"CPU": (self.cpus or self.workers) / self.workers}
        if self.gpus:
            each["GPU"] = self.gpus / self.workers
        return [each] * self.workers


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrialPlan:
    """What the trials of a search take of the cluster.

    Attributes:
        concurrent: Trials at a time.
        cpus: Logical CPUs of each.
        gpus: GPUs of each.
        threads: Computing threads of a trial that is one process.
        resources: How a trial of several processes divides its share; None = it is one process.
    """

    concurrent: int
    cpus: float
    gpus: float
    threads: int
    resources: Resources | None = None

    def __str__(self) -> str:
        """Say who gets what."""
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        text = f"{self.concurrent} trial(s) at a time, each on {self.cpus:g} CPU{gpus}"
        if self.resources is None:
            return f"{text} ({self.threads} thread(s))"
        each = self.resources
        return (
            f"{text} ({each.workers} workers of {each.worker_cpus:g} CPU, {each.data_cpus:g} for their data)"
        )


def plan_trials(share: Share, cpus: float, gpus: float, nodes: Sequence[float] = ()) -> TrialPlan:
    """Divide the cluster among the trials of a search.

    A trial of one process makes its batches itself, on one node. One of several has a data stream beside
    its workers, and a process that starts them.

    Args:
        share: What is asked for.
        cpus: Logical CPUs of the cluster.
        gpus: GPUs of the cluster.
        nodes: Logical CPUs of each node; none = one node has all of them.

    Raises:
        ResourceError: Not even one trial fits.
    """
    alone = share.workers == 1
    wanted_cpus = share.cpus or (1.0 if alone else min(cpus, share.workers + DATA_CPUS))
    enough = share.workers if gpus >= share.workers else 0
    wanted_gpus = float(enough if share.gpus is None else share.gpus)
    places = nodes if alone and nodes else (cpus,)
    fitting = sum(_times(place, wanted_cpus) for place in places)
    fitting = min(fitting, _times(gpus, wanted_gpus)) if wanted_gpus else fitting
    if fitting < 1:
        msg = (
            f"A trial of {wanted_cpus:g} CPUs and {wanted_gpus:g} GPUs does not fit into a cluster of "
            f"{cpus:g} CPUs and {gpus:g} GPUs{_largest(places)}. Ask for less with --trial-cpus and "
            "--trial-gpus, or add nodes."
        )
        raise ResourceError(msg)
    within = None if alone else plan_resources(share.workers, wanted_cpus - DRIVER_CPUS, wanted_gpus)
    return TrialPlan(
        concurrent=min(fitting, share.trials),
        cpus=wanted_cpus,
        gpus=wanted_gpus,
        threads=max(1, int(wanted_cpus)),
        resources=within,
    )


def _largest(nodes: Sequence[float]) -> str:
    return f", at most {max(nodes):g} CPUs on a node" if len(nodes) > 1 else ""


def _times(whole: float, part: float) -> int:
    """Return how often a part fits; sums of hundredths may be a hair too large."""
    return int(whole / part + 1e-9)
