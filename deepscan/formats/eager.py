"""The model as plain PyTorch, weights in safetensors."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from deepscan.errors import BundleError, StorageError
from deepscan.formats import FORMATS, Format, Runner
from deepscan.modalities import Column, Outputs

WEIGHTS = "weights.safetensors"


@dataclasses.dataclass(frozen=True, slots=True)
class EagerRunner:
    """Runs a module in evaluation mode on one device."""

    module: nn.Module
    device: torch.device

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Return what the module says of each Example."""
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in inputs.items()}
        with torch.inference_mode():
            outputs = self.module(**tensors)
        return {name: value.float().cpu().numpy() for name, value in outputs.items()}


def write(module: nn.Module, directory: pathlib.Path, inputs: Mapping[str, Column]) -> tuple[str, ...]:
    """Write the weights and buffers of ``module`` into ``directory``, whatever it reads.

    Raises:
        StorageError: They cannot be written, e.g. because the disk is full.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    try:
        safetensors.torch.save_file(state, directory / WEIGHTS)
    except safetensors.SafetensorError as error:
        msg = f"{directory / WEIGHTS} cannot be written ({error}); check the permissions and the free space."
        raise StorageError(msg) from error
    return (WEIGHTS,)


def fill(module: nn.Module, directory: pathlib.Path) -> None:
    """Fill ``module`` with the weights in ``directory``.

    Raises:
        BundleError: The file is broken, or holds the weights of another architecture.
    """
    try:
        module.load_state_dict(safetensors.torch.load_file(directory / WEIGHTS))
    except (OSError, safetensors.SafetensorError, RuntimeError) as error:
        msg = f"The weights in {directory} do not fit the model: {error}"
        raise BundleError(msg) from error


def load(build: Callable[[], nn.Module], directory: pathlib.Path, device: str) -> Runner:
    """Build the module, fill it and return its runner on ``device``."""
    module = build()
    fill(module, directory)
    target = torch.device(device)
    module = module.to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return EagerRunner(module.eval(), target)


FORMATS.register("eager", Format(name="eager", summary="PyTorch module, safetensors", write=write, load=load))
