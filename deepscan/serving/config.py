"""The arguments of a service: what it serves, and how many processes of each stage it may use.

``deepscan serve``, ``serve run`` and ``serve build`` all give these to ``deepscan.serving.app:build``.
Ray Serve hands them over as a pydantic model, hence no dataclasses here; unknown keys are refused.
"""

import math
import socket
from collections.abc import Mapping
from typing import Annotated, Any, Self

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from deepscan import config
from deepscan.errors import ConfigError
from deepscan.isolation.process import Allowance
from deepscan.media.source import Limits
from deepscan.monitor.alerts import DEFAULTS, Rule
from deepscan.serving.access import GateArgs
from deepscan.serving.alerting import Webhook
from deepscan.serving.api import Rules
from deepscan.serving.sliding import StreamSettings
from deepscan.serving.telemetry import rules_of


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _limits(value: Any) -> Any:
    return config.from_dict(Limits, value, "limits.") if isinstance(value, Mapping) else value


def _stream(value: Any) -> Any:
    return config.from_dict(StreamSettings, value, "stream.") if isinstance(value, Mapping) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""Several texts, or one without the list around it: ``serve run`` passes ``bundles=PATH`` so."""


class Stage(BaseModel):
    """How one stage of the graph is spread over processes.

    Attributes:
        cpus: CPUs reserved for a replica; also its number of torch threads, rounded up.
        gpus: GPUs reserved for a replica.
        min_replicas: Replicas at rest; 0 = none, and the first request waits until one has started.
        max_replicas: Replicas under load; Serve adds and removes them where this is above the minimum.
        upscale_delay_s: How long there has to be too much to do before replicas are added, in seconds.
        downscale_delay_s: How long there has to be too little before they are removed, in seconds.
        max_ongoing: Requests that a replica holds at a time.
        max_queued: Requests that may wait for a replica, per caller; more are refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpus: float = Field(default=0.1, ge=0)
    gpus: float = Field(default=0, ge=0)
    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int = Field(default=1, ge=1)
    upscale_delay_s: float = Field(default=5.0, ge=0)
    downscale_delay_s: float = Field(default=300.0, ge=0)
    max_ongoing: int = Field(default=32, ge=1)
    max_queued: int = Field(default=64, ge=1)

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_replicas < self.min_replicas:
            msg = f"max_replicas ({self.max_replicas}) is below min_replicas ({self.min_replicas})"
            raise ValueError(msg)
        return self

    def options(self) -> dict[str, Any]:
        """Return the stage as options of a Serve deployment."""
        actor = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        options: dict[str, Any] = {
            "max_ongoing_requests": self.max_ongoing,
            "max_queued_requests": self.max_queued,
            "ray_actor_options": actor,
        }
        if self.max_replicas == self.min_replicas:
            return options | {"num_replicas": self.min_replicas}
        # Half of what a replica can hold: at the limit itself Serve would see no growing queue.
        target = max(1.0, self.max_ongoing / 2)
        return options | {
            "autoscaling_config": {
                "min_replicas": self.min_replicas,
                "max_replicas": self.max_replicas,
                "target_ongoing_requests": target,
                "upscale_delay_s": self.upscale_delay_s,
                "downscale_delay_s": self.downscale_delay_s,
            }
        }


class VariantArgs(BaseModel):
    """A variant beside the bundles of the service itself.

    Attributes:
        name: Its name in the log.
        weight: Share of the callers that it answers, relative to the other weights.
        shadow: It gets a copy of every request and never answers.
        bundles: Directories of its bundles, or one ensemble file.
        fusion: Settings of its ``FusionPolicy``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    weight: float = Field(default=1.0, ge=0)
    shadow: bool = False
    bundles: Texts = Field(min_length=1)
    fusion: Texts = ()


class ExperimentArgs(BaseModel):
    """Which variants share the callers, and what is kept of their answers.

    Attributes:
        main_weight: Share of the callers that the bundles of the service itself answer, as variant ``main``.
        variants: The others.
        salt: Any text that callers do not know; it must stay the same as long as a trial goes on.
        log: Folder or URI of the log of all answers; empty = none is kept.
        log_bytes: Most bytes of the log; the oldest files go first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    main_weight: float = Field(default=1.0, ge=0)
    variants: tuple[VariantArgs, ...] = ()
    salt: str = ""
    log: str = ""
    log_bytes: int = Field(default=256 * 2**20, ge=1)


class MonitoringArgs(BaseModel):
    """When somebody is told that something is wrong.

    Attributes:
        alerts: Rules in place of those of ``deepscan.monitor.alerts.DEFAULTS``; an empty list = none.
        webhook: Address that is told of alerts; empty = nobody is.
        every_s: Seconds between two looks at the rules.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    alerts: tuple[dict[str, Any], ...] | None = None
    webhook: str = ""
    every_s: float = Field(default=15.0, gt=0)

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> Self:
        self.rules()
        self.hook()
        return self

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules."""
        return DEFAULTS if self.alerts is None else rules_of(self.alerts)

    def hook(self) -> Webhook | None:
        """Return where alerts are sent."""
        return Webhook(url=self.webhook) if self.webhook else None


class DecodingArgs(BaseModel):
    """Where files are decoded, and what one may cost.

    Attributes:
        processes: Processes that decode, which are killed where a file does harm; on Ray Serve there is one
            for each replica that decodes or reads headers. 0 = threads, where a file can take the whole
            process with it.
        time_s: Seconds that a file may take, in a process.
        memory_bytes: Memory that a file may take, in a process.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    processes: int = Field(default=2, ge=0)
    time_s: float = Field(default=60.0, gt=0)
    memory_bytes: int = Field(default=4 * 2**30, ge=2**20)

    def allowance(self) -> Allowance:
        """Return what a file may cost."""
        return Allowance(time_s=self.time_s, memory_bytes=self.memory_bytes)


class ServeArgs(BaseModel):
    """Everything that can be set of a service.

    Attributes:
        bundles: Directories of the bundles to serve, or one ensemble file.
        fusion: Settings of the ``FusionPolicy``, as ``method=mean``; of that of an ensemble only
            ``min_models`` and ``threshold`` can be set.
        plugins: Python files that define models of these bundles; they are executed.
        device: Where models run: ``auto``, ``cpu``, ``cuda``.
        limits: What is refused before it is decoded.
        max_batch_files: Files that a batch may hold.
        batch_size: Requests whose parts go through a model together, at most.
        batch_wait_s: How long a batch waits for more requests; 0 = take what has queued.
        max_wait_s: Who would have to wait longer for those before him is refused at once.
        retry_after_s: What a client is told to wait when the service is full.
        verdict_cache_bytes: Room for verdicts that were given, shared by all processes; 0 = keep none.
        prepared_cache_bytes: Room for prepared files in each process that prepares; 0 = keep none.
        ingress: Processes that speak HTTP.
        ensemble: Processes that plan and fuse.
        prepare: Processes that decode and prepare, for each distinct preparation.
        replica: Processes that run models, for each distinct preparation.
        asleep: Modalities that are rarely asked for: their processes of ``prepare`` and ``replica`` end when
            nobody asks, and the next request waits until they have started again.
        resident: Bundles that a process of ``replica`` holds at a time, where many share a preparation;
            others are loaded when they are asked for. 0 = all of them.
        evidence: Processes whose analyzers measure files.
        shared: The processes that remember verdicts, keep the books and hold the jobs; there is one of each.
        gate: Who may ask, and how often.
        decoding: Where files are decoded, and what one may cost.
        stream: What live streams may take of the service.
        experiment: Which variants share the callers, and the log of their answers.
        monitoring: Alerts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundles: Texts = Field(min_length=1)
    fusion: Texts = ()
    plugins: Texts = ()
    device: str = "auto"
    limits: Annotated[Limits, BeforeValidator(_limits)] = Limits()
    max_batch_files: int = Field(default=16, ge=1)
    batch_size: int = Field(default=8, ge=1)
    batch_wait_s: float = Field(default=0.0, ge=0)
    max_wait_s: float = Field(default=10.0, gt=0)
    retry_after_s: int = Field(default=1, ge=1)
    verdict_cache_bytes: int = Field(default=64 * 2**20, ge=0)
    prepared_cache_bytes: int = Field(default=128 * 2**20, ge=0)
    ingress: Stage = Stage(cpus=0.1, max_ongoing=64)
    ensemble: Stage = Stage(cpus=0.1, max_ongoing=64)
    prepare: Stage = Stage(cpus=0.3, max_ongoing=8)
    replica: Stage = Stage(cpus=0.4, max_ongoing=16)
    asleep: Texts = ()
    resident: int = Field(default=0, ge=0)
    evidence: Stage = Stage(cpus=0.1, max_ongoing=4)
    shared: Stage = Stage(cpus=0.05, max_ongoing=128, max_queued=256)
    gate: GateArgs = GateArgs()
    decoding: DecodingArgs = DecodingArgs()
    stream: Annotated[StreamSettings, BeforeValidator(_stream)] = StreamSettings()
    experiment: ExperimentArgs = ExperimentArgs()
    monitoring: MonitoringArgs = MonitoringArgs()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _sections_keep_their_defaults(cls, values: Any) -> Any:
        """Complete a stage of which only some fields are given by those of its own default."""
        if not isinstance(values, Mapping):
            return values
        defaults = {name: cls.model_fields[name].default for name in values if name in cls.model_fields}
        return {
            name: defaults[name].model_dump() | dict(value)
            if isinstance(value, Mapping) and isinstance(defaults.get(name), BaseModel)
            else value
            for name, value in values.items()
        }

    @pydantic.model_validator(mode="after")
    def _somebody_takes_requests(self) -> Self:
        for name in ("ingress", "ensemble", "shared"):
            if getattr(self, name).min_replicas == 0:
                msg = f"{name}.min_replicas must be at least 1: without it nobody would hear a request"
                raise ValueError(msg)
        return self

    @pydantic.model_validator(mode="after")
    def _next_batch_is_there(self) -> Self:
        if self.replica.max_ongoing < 2 * self.batch_size:
            msg = (
                f"replica.max_ongoing ({self.replica.max_ongoing}) must be at least twice batch_size "
                f"({self.batch_size}), so that the next batch is there when one ends"
            )
            raise ValueError(msg)
        return self

    def rules(self) -> Rules:
        """Return what the routes allow."""
        return Rules(
            limits=self.limits,
            max_batch_files=self.max_batch_files,
            stream=self.stream,
            retry_after_s=self.retry_after_s,
        )

    def deployments(self, preps: int) -> dict[str, int]:
        """Return how many deployments each stage is, by its name.

        Args:
            preps: Distinct preparations of the bundles.
        """
        each = {"prepare": preps, "replica": preps, "shared": 3}
        stages = (name for name in type(self).model_fields if isinstance(getattr(self, name), Stage))
        return {name: each.get(name, 1) for name in stages}

    def fitted(self, preps: int, cpus: float) -> Self:
        """Return the arguments with all reservations cut alike, so that they fit into the cluster together.

        Ray waits for ever for CPUs that are not there. What is reserved says how many processes share a
        node, not how fast they are; only a replica's threads follow it.

        Args:
            preps: Distinct preparations of the bundles.
            cpus: CPUs of the cluster.
        """
        counts = self.deployments(preps)
        stages: dict[str, Stage] = {name: getattr(self, name) for name in counts}
        # A stage at rest has to find its place when it is woken.
        needed = sum(counts[name] * stage.cpus * max(1, stage.min_replicas) for name, stage in stages.items())
        if needed <= cpus:
            return self
        share = cpus / needed
        # Ray counts in ten-thousandths of a CPU and refuses finer figures.
        reserved = {name: math.floor(1000 * share * stage.cpus) / 1000 for name, stage in stages.items()}
        smaller = {name: stages[name].model_copy(update={"cpus": reserved[name]}) for name in stages}
        return self.model_copy(update=smaller)


def parse(values: Mapping[str, Any]) -> ServeArgs:
    """Build the arguments from plain values, as in the ``args`` of a Serve configuration.

    Raises:
        ConfigError: A key is unknown or a value is out of range; the message names it.
    """
    try:
        return ServeArgs(**values)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "arguments"
        msg = f"Serving setting {where!r}: {problem['msg']}. Known: {', '.join(ServeArgs.model_fields)}."
        raise ConfigError(msg) from error


def require_free(host: str, port: int) -> None:
    """Check that nothing listens on a port of this machine yet.

    Raises:
        ConfigError: The port is taken, or the address is not one of this machine.
    """
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        msg = f"Cannot listen on {host}:{port} ({error.strerror or error}); choose another --port or --host."
        raise ConfigError(msg) from error
