"""A Detector: Prep, model and calibration of one bundle. It votes."""

import dataclasses
import pathlib
import re
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from deepscan.bundle import Bundle
from deepscan.calibration import decide
from deepscan.errors import AbstainError, ConfigError
from deepscan.formats import Runner
from deepscan.fusion import Vote
from deepscan.modalities import Example, Modality, Prep, Prepared, batch
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.verdict import Abstention, Part, Score, Uncertainty

UNKNOWN = Uncertainty(low=0.0, high=1.0, files=0)


@dataclasses.dataclass(frozen=True, slots=True)
class Detector:
    """One bundle, loaded."""

    bundle: Bundle
    modality: Modality
    prep: Prep
    runner: Runner

    @classmethod
    def load(cls, path: pathlib.Path, device: str = "auto") -> Self:
        """Load a bundle onto a device (``auto``, ``cpu``, ``cuda``, ``cuda:1``).

        Raises:
            AssetError: Its Prep needs an asset that is not on this machine.
            BundleError: The bundle cannot be used.
            ConfigError: The device does not exist.
        """
        bundle = Bundle.read(path)
        runner = bundle.weights_format().load(bundle.module(), path, pick_device(device))
        return cls(bundle, load_modalities().get(bundle.card.modality), bundle.prep().resolved(), runner)

    def logits(self, examples: list[Example], batch_size: int = 32) -> NDArray[np.float32]:
        """Return the fake-logit of each Example, float32 [P]."""
        chunks = [examples[i : i + batch_size] for i in range(0, len(examples), batch_size)]
        return np.concatenate([self.runner(batch(chunk, self.prep.inputs)) for chunk in chunks])

    def vote(self, prepared: Prepared) -> Vote | Abstention:
        """Judge a prepared file, or pass on why it cannot be judged."""
        if isinstance(prepared, AbstainError):
            return self.abstain(prepared)
        return self.judge(prepared, self.logits(prepared))

    def abstain(self, error: AbstainError) -> Abstention:
        """Turn the reason why a file cannot be judged into an Abstention."""
        card = self.bundle.card
        return Abstention(
            detector=card.name,
            bundle=card.id,
            modality=card.modality,
            reason=error.reason,
            message=str(error),
        )

    def judge(self, examples: list[Example], logit_P: NDArray[np.float32]) -> Vote:
        """Calibrate the logits of a file's parts, aggregate them to a Score and vote with it."""
        card = self.bundle.card
        logit = self.modality.aggregate(logit_P)
        probability = float(card.calibration.apply(np.asarray([logit]))[0])
        score = Score(
            detector=card.name,
            bundle=card.id,
            modality=card.modality,
            logit=float(logit),
            probability=probability,
            label=decide(probability, card.operating),
            parts=self._parts(examples, logit_P),
        )
        uncertainty = card.reliability.uncertainty(probability) if card.reliability else UNKNOWN
        return Vote(score=score, point=card.operating, uncertainty=uncertainty)

    def _parts(self, examples: list[Example], logit_P: NDArray[np.float32]) -> tuple[Part, ...]:
        probability_P = self.bundle.card.calibration.apply(logit_P)
        suspicious_first = np.argsort(-logit_P, kind="stable")
        return tuple(
            Part(probability=float(probability_P[i]), region=self.modality.locate(examples[i]))
            for i in suspicious_first
        )


def pick_device(name: str) -> str:
    """Resolve ``auto`` to the GPU where there is one, else the CPU.

    Raises:
        ConfigError: The device is unknown or not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    if not re.fullmatch(r"cuda(:\d+)?", name):
        msg = f"{name!r} is no device; write auto, cpu, cuda or cuda:N."
        raise ConfigError(msg)
    gpus = torch.cuda.device_count()
    if int(name.partition(":")[2] or 0) >= gpus:
        msg = f"Device {name!r} was asked for, but torch sees {gpus} GPUs here; use another or --device cpu."
        raise ConfigError(msg)
    return name
