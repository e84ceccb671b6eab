"""A Detector: Prep, model and calibration of one bundle. It votes."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Sequence
from typing import Self

import numpy as np

from deepscan.bundle import Bundle
from deepscan.calibration import decide
from deepscan.domain.gate import refusals
from deepscan.errors import AbstainError, ConfigError, DeepscanError
from deepscan.formats import Deferred, Runner, best_device
from deepscan.formats.batches import USUAL, best_size
from deepscan.fusion import Vote
from deepscan.modalities import Example, Modality, Outputs, Prep, Prepared, batch
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.verdict import FAILED, Abstention, Part, Score, Uncertainty

MEASURED = "measured_"
UNKNOWN = Uncertainty(low=0.0, high=1.0, files=0)


@dataclasses.dataclass(frozen=True, slots=True)
class Detector:
    """One bundle, loaded.

    Attributes:
        bundle: What it was loaded from.
        modality: The way of looking at media.
        prep: What prepares them.
        runner: The model.
        batch_size: Examples that the model is given at a time.
    """

    bundle: Bundle
    modality: Modality
    prep: Prep
    runner: Runner
    batch_size: int = USUAL

    @classmethod
    def load(cls, path: pathlib.Path, device: str = "auto", lazily: bool = False) -> Self:
        """Load a bundle onto a device (``auto``, ``cpu``, ``cuda``, ``cuda:1``).

        Args:
            path: The bundle.
            device: Where its model is to run.
            lazily: Load the model when it is asked for the first time; what is wrong with its weights file
                shows then.

        Raises:
            AssetError: Its Prep needs an asset that is not on this machine.
            BundleError: The bundle cannot be used.
            ConfigError: The device does not exist.
        """
        bundle = Bundle.read(path)
        form, card = bundle.weights_format(), bundle.card
        device = form.auto() if device == "auto" else pick_device(device)
        loading = functools.partial(form.load, bundle.module, path, device, card.precision)
        runner = Deferred(loading) if lazily else loading()
        modality, size = load_modalities().get(card.modality), best_size(card.id, device)
        return cls(bundle, modality, bundle.prep().resolved(), runner, size)

    def run(self, examples: list[Example], batch_size: int | None = None) -> Outputs:
        """Return what the model says of the Examples, each array with their number P first.

        Args:
            examples: At least one.
            batch_size: Examples at a time; None = the detector's own number.
        """
        size = batch_size or self.batch_size
        chunks = [examples[i : i + size] for i in range(0, len(examples), size)]
        outputs = [self.runner(batch(chunk, self.prep)) for chunk in chunks]
        return {name: np.concatenate([each[name] for each in outputs]) for name in outputs[0]}

    def warm_up(self) -> None:
        """Run one Example of ones: runtimes compile, choose their ways and take memory at a first call."""
        inputs = self.prep.inputs.items()
        self.runner({name: np.ones((1, *column.shape), column.dtype) for name, column in inputs})

    def vote(self, prepared: Prepared) -> Vote | Abstention:
        """Judge a prepared file, or pass on why it cannot be judged."""
        (admitted,) = admit((self,), prepared)
        if isinstance(admitted, AbstainError):
            return self.abstain(admitted)
        return self.judge(admitted, self.run(admitted))

    def abstain(self, error: DeepscanError) -> Abstention:
        """Turn the reason why a file cannot be judged, or why judging it failed, into an Abstention."""
        card = self.bundle.card
        return Abstention(
            detector=card.name,
            bundle=card.id,
            modality=card.modality,
            reason=error.reason if isinstance(error, AbstainError) else FAILED,
            message=str(error),
        )

    def judge(self, examples: list[Example], outputs: Outputs) -> Vote:
        """Calibrate the logits of a file's parts, aggregate them to a Score and vote with it."""
        card = self.bundle.card
        logit = self.modality.aggregate(outputs["logit"])
        probability = float(card.calibration.apply(np.asarray([logit]))[0])
        score = Score(
            detector=card.name,
            bundle=card.id,
            modality=card.modality,
            logit=float(logit),
            probability=probability,
            label=decide(probability, card.operating),
            parts=self._parts(examples, outputs),
            measures=_measures(outputs),
        )
        uncertainty = card.reliability.uncertainty(probability) if card.reliability else UNKNOWN
        return Vote(score=score, point=card.operating, uncertainty=uncertainty)

    def _parts(self, examples: list[Example], outputs: Outputs) -> tuple[Part, ...]:
        parts = [part for i in range(len(examples)) for part in self._parts_of(examples[i], outputs, i)]
        return tuple(sorted(parts, key=lambda part: -part.probability))

    def _parts_of(self, example: Example, outputs: Outputs, number: int) -> list[Part]:
        """Return the moments of an Example where the model tells them apart, else the Example itself."""
        calibration = self.bundle.card.calibration
        if "moment_logit" not in outputs or self.modality.moments is None:
            probability = float(calibration.apply(outputs["logit"][number]))
            return [Part(probability=probability, region=self.modality.locate(example))]
        probability_T = calibration.apply(outputs["moment_logit"][number])
        weight_T = outputs["attention"][number]
        regions = self.modality.moments(example, len(probability_T))
        return [
            Part(probability=float(probability), region=region, weight=float(weight))
            for region, probability, weight in zip(regions, probability_T, weight_T, strict=False)
        ]


def admit(detectors: Sequence[Detector], prepared: Prepared) -> list[Prepared]:
    """Return a prepared file as each detector may judge it: as it is, or why its gate refuses it.

    Args:
        detectors: Those that share the Prep.
        prepared: What it made of the file; a reason to abstain stays what it is.
    """
    gates = [detector.bundle.card.gate for detector in detectors]
    if isinstance(prepared, AbstainError) or not any(gates):
        return [prepared] * len(detectors)
    return [refusal or prepared for refusal in refusals(gates, prepared, detectors[0].prep.needs)]


def _measures(outputs: Outputs) -> dict[str, float]:
    """Return the figures beside the logit, those of the most suspicious Example."""
    worst = int(np.argmax(outputs["logit"]))
    measured = {name: values for name, values in outputs.items() if name.startswith(MEASURED)}
    return {name.removeprefix(MEASURED): float(values[worst]) for name, values in measured.items()}


def pick_device(name: str) -> str:
    """Resolve ``auto`` to the GPU where there is one, else the CPU.

    Raises:
        ConfigError: The device is unknown or not there.
    """
    if name == "cpu":
        return name
    if name == "auto":
        return best_device()
    # Here and not above: who runs a graph on the CPU need not wait for PyTorch.
    import torch

    if not re.fullmatch(r"cuda(:\d+)?", name):
        msg = f"{name!r} is no device; write auto, cpu, cuda or cuda:N."
        raise ConfigError(msg)
    gpus = torch.cuda.device_count()
    if int(name.partition(":")[2] or 0) >= gpus:
        msg = f"Device {name!r} was asked for, but torch sees {gpus} GPUs here; use another or --device cpu."
        raise ConfigError(msg)
    return name
