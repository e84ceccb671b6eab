"""The model as PyTorch, compiled for this machine by ``torch.compile`` when it is first asked.

The files are those of ``eager``: what is compiled is kept by PyTorch outside of the bundle, for this machine.
The whole model is compiled or none of it: a part that the compiler cannot follow is an error, not a part that
goes on uncompiled.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from deepscan.errors import FormatError
from deepscan.formats import BFLOAT16, FLOAT16, FLOAT32, FORMATS, Format, Runner, eager
from deepscan.formats.eager import HALVES
from deepscan.formats.graphs import first_line
from deepscan.modalities import Outputs


@dataclasses.dataclass(frozen=True, slots=True)
class CompiledRunner:
    """Runs a compiled module; ``module`` is the same one uncompiled, in which gradients can be taken.

    The first batch of one Example and the first of several compile it, each once.
    """

    module: nn.Module
    compiled: Callable[..., Mapping[str, torch.Tensor]]
    device: torch.device
    precision: str

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Return what the module says of each Example.

        Raises:
            FormatError: The compiler failed.
        """
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in inputs.items()}
        for tensor in tensors.values():
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
        half = HALVES.get(self.precision)
        try:
            with (
                torch._dynamo.config.patch(allow_rnn=True),
                torch.inference_mode(),
                torch.autocast(self.device.type, half, enabled=half is not None),
            ):
                outputs = self.compiled(**tensors)
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
            msg = (
                f"{type(self.module).__name__} cannot be compiled here: {first_line(error)}. Compiling takes "
                "a C++ compiler (g++ or clang++, or the one that CXX names) and, on a GPU, Triton; without "
                "them use the bundle that it was exported from."
            )
            raise FormatError(msg) from error
        return {name: value.float().cpu().numpy() for name, value in outputs.items()}


def load(
    build: Callable[[], nn.Module], directory: pathlib.Path, device: str, precision: str = FLOAT32
) -> Runner:
    """Build the module, fill it and return a runner that compiles it on ``device`` when first called."""
    import torch._dynamo
    import torch._inductor.exc

    module = build()
    eager.fill(module, directory)
    target = torch.device(device)
    module = module.to(target).eval()
    compiled = torch.compile(module, fullgraph=True)
    return CompiledRunner(module, compiled, target, precision)


FORMATS.register(
    "compiled",
    Format(
        name="compiled",
        summary="PyTorch module, compiled where it runs",
        write=eager.write,
        load=load,
        tolerances={FLOAT32: 1e-4, BFLOAT16: 0.05, FLOAT16: 0.01},
    ),
)
