"""Training in less memory: blocks whose activations are computed again instead of kept."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(module: nn.Module) -> int:
    """Let the blocks of a model's longest chain compute their activations again in the backward pass.

    The chain is the ``nn.Sequential`` with the most parameters, its blocks are its children (Chen et al.,
    "Training deep nets with sublinear memory cost", 2016). Results and gradients stay what they are, and
    so do the running statistics of batch norms, which see every batch once.

    Returns:
        The number of blocks, 0 where the model has no such chain.
    """
    chains = (each for each in module.modules() if isinstance(each, nn.Sequential))
    chain = max(chains, key=lambda each: sum(p.numel() for p in each.parameters()), default=())
    for block in chain:
        block.forward = functools.partial(_again, block, block.forward)
    return len(chain)


def kept_bytes(run: Callable[[], object]) -> int:
    """Return how many bytes a forward pass keeps for its backward pass, each storage counted once."""
    storages: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        held = run()
    del held
    return sum(storages.values())


def _again(block: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs)
    contexts = functools.partial(_contexts, block)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)


def _contexts(block: nn.Module) -> tuple[Any, Any]:
    return contextlib.nullcontext(), statistics_held(block)


@contextlib.contextmanager
def statistics_held(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norms over one forward pass in training mode, which they count."""
    norms = [each for each in module.modules() if isinstance(each, _BatchNorm) and each.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked -= 1
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
