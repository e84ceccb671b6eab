"""The model as plain PyTorch, weights in safetensors.

In half precision the weights take half the room, and the arithmetic of matrices and convolutions is left to
autocast, which keeps in float32 what would lose too much: norms, softmax, sums.
"""

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
from deepscan.formats import BFLOAT16, FLOAT16, FLOAT32, FORMATS, Format, Runner
from deepscan.modalities import Column, Outputs

WEIGHTS = "weights.safetensors"
HALVES = {BFLOAT16: torch.bfloat16, FLOAT16: torch.float16}


@dataclasses.dataclass(frozen=True, slots=True)
class EagerRunner:
    """Runs a module in evaluation mode on one device."""

    module: nn.Module
    device: torch.device
    precision: str = FLOAT32

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Return what the module says of each Example."""
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in inputs.items()}
        half = HALVES.get(self.precision)
        with torch.inference_mode(), torch.autocast(self.device.type, half, enabled=half is not None):
            outputs = self.module(**tensors)
        return {name: value.float().cpu().numpy() for name, value in outputs.items()}


def write(
    module: nn.Module, directory: pathlib.Path, inputs: Mapping[str, Column], precision: str = FLOAT32
) -> tuple[str, ...]:
    """Write the weights and buffers of ``module`` into ``directory``, whatever it reads.

    In half precision the parameters of more than one axis are halved; the others are few, and statistics of
    norms may lie beyond what half precision holds.

    Raises:
        StorageError: They cannot be written, e.g. because the disk is full.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    if half := HALVES.get(precision):
        large = {name for name, value in module.named_parameters() if value.ndim > 1}
        state |= {name: state[name].to(half) for name in large}
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


def load(
    build: Callable[[], nn.Module], directory: pathlib.Path, device: str, precision: str = FLOAT32
) -> Runner:
    """Build the module, fill it and return its runner on ``device``."""
    module = build()
    fill(module, directory)
    target = torch.device(device)
    module = module.to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return EagerRunner(module.eval(), target, precision)


FORMATS.register(
    "eager",
    Format(
        name="eager",
        summary="PyTorch module, safetensors",
        write=write,
        load=load,
        tolerances={FLOAT32: 1e-4, BFLOAT16: 0.05, FLOAT16: 0.01},
    ),
)
