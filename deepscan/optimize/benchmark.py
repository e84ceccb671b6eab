"""Bundles measured on this machine, one beside the other: how fast they are, and what they take."""

import dataclasses
import datetime
import os
import pathlib
import platform
import tempfile
from typing import Any

import torch
from torch import nn

from deepscan import bundle as bundles
from deepscan import config
from deepscan.bundle import MANIFEST, Bundle, Card
from deepscan.detector import Detector, pick_device
from deepscan.errors import ConfigError
from deepscan.formats import BFLOAT16, FLOAT32, Runner, network_of
from deepscan.formats.batches import hardware, keep_size
from deepscan.formats.eager import EagerRunner
from deepscan.modalities import Prep
from deepscan.models import ModelSpec
from deepscan.models.catalog import load_builtin
from deepscan.optimize.measure import (
    Speed,
    best_batch,
    flops,
    noise_of,
    parameters,
    peak_memory_bytes,
    speeds,
)
from deepscan.optimize.profile import profile
from deepscan.optimize.sibling import PACKAGES, size_bytes, software

LIGHT = ("mobilenet-v2", "residual-gru", "gru-light", "avsync", "forensic-mlp")
"""One light model for each modality, measured with fresh weights where no bundle is named."""

BATCHES = (1, 8)
MOST_TRIED = 24
"""Files of a folder that are tried, evenly over it."""

WAY, AGAINST = "the bundle", "what it is measured against"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is to be measured.

    Attributes:
        bundles: Bundles; none = ``LIGHT``, with fresh weights.
        against: A bundle, or a model that is built with fresh weights and the same Prep; empty = nothing.
        media: Folder of files, whose stages are timed; None = none are.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        plugin: File that registers models.
        rounds: Most rounds of each comparison, at least 1.
        budget_s: Seconds for each comparison, and again for looking for the best batch.
    """

    bundles: tuple[pathlib.Path, ...] = ()
    against: str = ""
    media: pathlib.Path | None = None
    device: str = "auto"
    plugin: pathlib.Path | None = None
    rounds: int = 10
    budget_s: float = 30.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What was measured of one way to run one model.

    Attributes:
        name: Name of the detector.
        bundle: Id of the bundle.
        way: Format and precision that it runs in.
        parameters: Weights that training may change; None where the format does not tell.
        flops: Floating-point operations an Example; None likewise. See ``measure.flops``.
        bytes: Size of its files.
        speeds: How fast it answers batches of 1 and 8.
        ratios: How many times as fast as what it was measured against it is, by batch size; empty = against
            nothing.
        peak_bytes: Memory that loading it and a batch of 8 take; None for other ways to run a bundle.
        best: The batch with the most Examples a second; None as for ``peak_bytes``.
        stages: Milliseconds of a file by stage, see ``profile.STAGES``; None = no file was judged.
    """

    name: str
    bundle: str
    way: str
    parameters: int | None
    flops: int | None
    bytes: int
    speeds: tuple[Speed, ...]
    ratios: dict[int, float]
    peak_bytes: int | None = None
    best: Speed | None = None
    stages: dict[str, float] | None = None


def run(plan: Plan) -> list[Row]:
    """Measure every bundle of a plan, and keep the batch size that each runs best with on this machine.

    Raises:
        BundleError: A bundle cannot be used.
        ConfigError: The device is not there; there is no such folder of media; or what to measure against
            reads something else than a bundle.
        FormatError: A format does not run here.
        StorageError: The batch sizes cannot be kept.
        UnknownNameError: What to measure against is neither a bundle nor a model.
    """
    device, rows = pick_device(plan.device), list[Row]()
    files = _spread(plan.media) if plan.media else []
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        paths = plan.bundles or tuple(_fresh_named(root, name) for name in _light(plan.against))
        for number, path in enumerate(paths):
            detector = Detector.load(path, device)
            against = _against(root / str(number), plan.against, detector)
            measured = _measured(plan, detector, against, device)
            stages = profile(files, detector) if files else None
            rows += [dataclasses.replace(measured[0], stages=stages), *measured[1:]]
            if plan.bundles and measured[0].best:
                keep_size(detector.bundle.card.id, device, measured[0].best.batch_size)
    return rows


def _measured(plan: Plan, detector: Detector, against: pathlib.Path | None, device: str) -> list[Row]:
    """Return the rows of a bundle, of other ways to run it, and of what it is measured against."""
    other = Detector.load(against, device) if against else None
    network = network_of(detector.runner)
    ways = {WAY: detector.runner}
    if device != "cpu" and network is not None:
        ways |= variants(network, device)
    runners = ways | ({AGAINST: other.runner} if other else {})
    inputs = noise_of(detector.prep.inputs, max(BATCHES))
    told = speeds(runners, inputs, BATCHES, plan.rounds, plan.budget_s)
    rows = []
    for name in runners:
        judge = other if other and name == AGAINST else detector
        ratios = {}
        if other and name != AGAINST:
            ratios = {size: told[AGAINST][size].p50_ms / told[name][size].p50_ms for size in BATCHES}
        row = _row(judge, tuple(told[name].values()), ratios)
        if name in (WAY, AGAINST):
            peak_bytes = peak_memory_bytes(judge.bundle.path, max(BATCHES), device, plan.plugin)
            best = best_batch(judge.runner, inputs, budget_s=plan.budget_s)
            row = dataclasses.replace(row, peak_bytes=peak_bytes, best=best)
        else:
            row = dataclasses.replace(row, way=name)
        rows.append(row)
    return rows


def _row(detector: Detector, told: tuple[Speed, ...], ratios: dict[int, float]) -> Row:
    card, network = detector.bundle.card, network_of(detector.runner)
    one = noise_of(detector.prep.inputs, 1)
    return Row(
        name=card.name,
        bundle=card.id,
        way=f"{card.weights_format} {card.precision}",
        parameters=parameters(network) if network is not None else None,
        flops=flops(network, one) if network is not None else None,
        bytes=size_bytes(detector.bundle),
        speeds=told,
        ratios=ratios,
    )


def _light(against: str) -> tuple[str, ...]:
    """Return the models that are measured where no bundle is named: beside another model, those like it."""
    models = load_builtin()
    if not against or (pathlib.Path(against) / MANIFEST).is_file():
        return LIGHT
    modality = models.get(against).modality
    return tuple(name for name in LIGHT if models.get(name).modality == modality)


def _fresh_named(root: pathlib.Path, name: str) -> pathlib.Path:
    spec = load_builtin().get(name)
    return fresh_bundle(root / name, spec, spec.prep.resolved())


def _against(folder: pathlib.Path, name: str, detector: Detector) -> pathlib.Path | None:
    """Return the bundle to measure against: the one that is named, or a fresh one with the same Prep."""
    if not name:
        return None
    if (pathlib.Path(name) / MANIFEST).is_file():
        path = pathlib.Path(name)
        if Bundle.read(path).prep().resolved().inputs != detector.prep.inputs:
            msg = (
                f"{name} reads something else than {detector.bundle.card.id}; name a bundle of the same Prep."
            )
            raise ConfigError(msg)
        return path
    spec, card = load_builtin().get(name), detector.bundle.card
    if spec.modality != card.modality or tuple(spec.prep.inputs) != tuple(detector.prep.inputs):
        msg = f"The model {name!r} cannot read what {card.id} reads; name one for {card.modality!r}."
        raise ConfigError(msg)
    return fresh_bundle(folder, spec, detector.prep)


def _spread(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return files evenly over a folder, as many as are tried.

    Raises:
        ConfigError: There is no such folder, or no file in it.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        msg = f"{folder} is no folder with files in it; name one that holds media."
        raise ConfigError(msg)
    places = sorted({len(paths) * number // MOST_TRIED for number in range(MOST_TRIED)})
    return [paths[place] for place in places]


def fresh_bundle(folder: pathlib.Path, spec: ModelSpec, prep: Prep) -> pathlib.Path:
    """Write a bundle of a model with fresh weights, which are the same in every run; return its folder."""
    settings: Any = spec.config()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = spec.build(settings)
    card = Card(
        name=spec.name,
        model=spec.name,
        model_config=config.to_dict(settings),
        modality=spec.modality,
        prep=config.to_dict(prep),
        prep_digest=prep.digest,
        files={},
    )
    return bundles.write(folder, card, module.eval()).path


def variants(network: nn.Module, device: str) -> dict[str, Runner]:
    """Return other ways to run a network on a GPU that need no other files: autocast and compilation."""
    target = torch.device(device)
    compiled: Any = torch.compile(network)
    return {
        f"eager {BFLOAT16}": EagerRunner(network, target, BFLOAT16),
        f"compiled {FLOAT32}": EagerRunner(compiled, target),
        f"compiled {BFLOAT16}": EagerRunner(compiled, target, BFLOAT16),
    }


def machine(device: str) -> dict[str, Any]:
    """Return what the figures depend on besides the models: processors, their load and versions.

    Raises:
        ConfigError: The device does not exist.
    """
    device = pick_device(device)
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "processor": hardware("cpu"),
        "gpu": None if device == "cpu" else hardware(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(terse=True),
        "versions": {"python": platform.python_version()} | software(("deepscan", *PACKAGES, "numpy", "av")),
    }
