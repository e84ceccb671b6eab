"""What scoring takes of a cluster, worked out before anything runs."""

import dataclasses
import math
import pathlib

from deepscan.errors import ConfigError, ResourceError

ACTOR_CPUS = 0.5
"""Ray counts half a CPU for an actor that uses one, so that half of a cluster has room for all of them."""

DEVICES = ("auto", "cpu", "cuda")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """How files are scored.

    Attributes:
        device: ``cpu``, ``cuda``, or ``auto``: GPUs where the cluster has some.
        actors: Most actors that hold the models at once; None = one a GPU, or one a CPU.
        prepare_cpus: CPUs that only read and prepare files; 0 = the actors do; None = 0, or with GPUs all
            CPUs that the actors leave.
        rate_hz: Files a second that all of them together begin at most; None = as many as they can.
        plugin: File that registers a model; None = built in.
        evidence: Whether analyzers measure the files too.
    """

    device: str = "auto"
    actors: int | None = None
    prepare_cpus: int | None = None
    rate_hz: float | None = None
    plugin: pathlib.Path | None = None
    evidence: bool = False

    def __post_init__(self) -> None:
        """Check the device.

        Raises:
            ConfigError: It is unknown.
        """
        if self.device not in DEVICES:
            msg = f"{self.device!r} is no device here, where Ray gives out GPUs; write {', '.join(DEVICES)}."
            raise ConfigError(msg)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pools:
    """What scoring takes of a cluster.

    Attributes:
        device: Device of the models.
        actors: Actors that hold them.
        gpus: GPUs of each.
        threads: Computing threads of each.
        preparers: Actors of one CPU each that prepare files; 0 = the actors with the models do.
    """

    device: str
    actors: int
    gpus: int
    threads: int
    preparers: int


def plan_pools(work: Work, cpus: float, gpus: float) -> Pools:
    """Divide a cluster between the models and the preparation of files.

    Args:
        work: What was asked for.
        cpus: Logical CPUs of the cluster.
        gpus: GPUs of the cluster.

    Raises:
        ResourceError: It does not fit.
    """
    on_gpu = work.device == "cuda" or (work.device == "auto" and gpus >= 1)
    actors = work.actors or max(1, int(gpus if on_gpu else cpus))
    left = math.floor(cpus - actors * ACTOR_CPUS)
    preparers = work.prepare_cpus if work.prepare_cpus is not None else max(0, left) * on_gpu
    if preparers > left or (on_gpu and actors > gpus):
        msg = (
            f"{actors} actors of {ACTOR_CPUS:g} CPUs{' and a GPU' if on_gpu else ''}, and {preparers} CPUs "
            f"to prepare files, do not fit into {cpus:g} CPUs and {gpus:g} GPUs. Ask for less (--actors, "
            "--prepare-cpus) or add nodes."
        )
        raise ResourceError(msg)
    threads = 1 if preparers else max(1, int(cpus // actors))
    return Pools(
        device="cuda" if on_gpu else "cpu",
        actors=actors,
        gpus=int(on_gpu),
        threads=threads,
        preparers=preparers,
    )
