"""Distillation: a student learns what its teachers say beside what is true."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscan.bundle import Bundle
from deepscan.errors import BundleError, ConfigError
from deepscan.formats import eager
from deepscan.models import ModelSpec
from deepscan.objectives import Objective
from deepscan.recipe import Distill

FORMAT = "eager"


@dataclasses.dataclass(frozen=True, slots=True)
class Teacher:
    """A trained detector, asked without gradients.

    Attributes:
        module: Its model, in evaluation mode.
        temperature: Divisor of its logit.
        offset: Added after that; both make the logit the log odds that its calibration gives.
    """

    module: nn.Module
    temperature: float
    offset: float

    @classmethod
    def load(cls, path: pathlib.Path, device: torch.device) -> "Teacher":
        """Load the detector of a bundle.

        Raises:
            BundleError: It cannot be used.
        """
        bundle = Bundle.read(path)
        module = bundle.module()
        eager.fill(module, bundle.path)
        calibration = bundle.card.calibration
        module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(module.eval().requires_grad_(False), calibration.temperature, calibration.offset)

    def log_odds(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return its calibrated log odds of fake, float32 [B]."""
        logit_B: Tensor = self.module(**inputs)["logit"]
        return logit_B.float() / self.temperature + self.offset


def common_prep(student: ModelSpec, teachers: Sequence[pathlib.Path]) -> Any:
    """Return the Prep of the teachers, which their student has to read too.

    Raises:
        BundleError: A teacher cannot be used.
        ConfigError: A teacher is of another modality, cannot teach, or is prepared otherwise than the first.
    """
    bundles = [Bundle.read(path) for path in teachers]
    for bundle in bundles:
        card = bundle.card
        if card.modality != student.modality:
            msg = f"{bundle.path} is of modality {card.modality!r}, its student of {student.modality!r}."
            raise ConfigError(msg)
        if card.calibration.kind == "isotonic":
            msg = f"{bundle.path} is calibrated by a staircase, whose log odds no student can follow."
            raise ConfigError(msg)
        if card.weights_format != FORMAT:
            msg = f"{bundle.path} holds {card.weights_format!r} weights; a teacher runs as {FORMAT!r}."
            raise BundleError(msg)
        if card.prep_digest != bundles[0].card.prep_digest:
            msg = f"{bundle.path} and {bundles[0].path} prepare media differently; one stream feeds all."
            raise ConfigError(msg)
    return bundles[0].prep()


class _Answered(nn.Module):
    """Stands for a model that was asked already, so that a second objective hears the same answer."""

    def __init__(self, output: dict[str, Tensor]) -> None:
        super().__init__()
        self.output = output

    def forward(self, **_: Tensor) -> dict[str, Tensor]:
        return self.output


def distillation(
    objective: Objective, inputs: tuple[str, ...], teachers: Sequence[Teacher], settings: Distill
) -> Objective:
    """Return the objective of following the teachers, beside the student's own (Hinton et al., 2015).

    With the student's logit z, the mean q of the teachers' calibrated log odds and a temperature T, the
    loss is ``(1 - w) own + w T^2 BCE(z / T, sigmoid(q / T))``; T^2 keeps the gradient's size.

    Args:
        objective: The student's own, of a model that returns ``logit`` [B].
        inputs: Columns that student and teachers read.
        teachers: Whom to follow, at least one.
        settings: Weight w and temperature T.
    """

    def followed(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        asked = {name: batch[name] for name in inputs}
        output: dict[str, Tensor] = model(**asked)
        own = objective(_Answered(output), batch)
        with torch.no_grad():
            taught_B = torch.stack([teacher.log_odds(asked) for teacher in teachers]).mean(0)
        softened_B = output["logit"] / settings.temperature
        target_B = torch.sigmoid(taught_B / settings.temperature)
        gap = functional.binary_cross_entropy_with_logits(softened_B.float(), target_B)
        share = settings.weight
        return own | {"loss": (1 - share) * own["loss"] + share * settings.temperature**2 * gap}

    return followed
