"""Structured pruning: whole channels go, so that tensors get smaller and convolutions cheaper.

Which layers lose a channel together (a residual sum couples its branches) is found by torch-pruning, which
follows the graph of gradients (Fang et al., CVPR 2023). What it finds is checked: the smaller part has to say
what the first one says with those channels muted. A part where that does not hold, such as one with a
recurrent layer or with statistics over channels, is taken apart, and its own parts are tried.
"""

import copy
import dataclasses
import itertools
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deepscan.errors import FormatError
from deepscan.nn.heads import Logit
from deepscan.nn.structure import LAYERS, restructure, size_of, sizes_of

MISSING = "Pruning channels needs torch-pruning; pip install 'deepscan[export]'."
ROOTS = (nn.Conv1d, nn.Conv2d, nn.Linear, Logit)
TOLERANCE = 1e-4
"""Largest difference of an output, as a share of the largest of its values, that rounding may make."""

UNTRACED = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
    UserWarning,
)
"""What tracing raises, or warns of, for a part whose graph it cannot follow."""


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """What a part of a network is called with."""

    arguments: tuple[Any, ...]
    named: Mapping[str, Any]

    def of(self, part: nn.Module) -> list[Tensor]:
        """Return all floating-point tensors that the part gives, in the order of their names."""
        return list(_tensors(part(*self.arguments, **self.named)))


def shrink(module: nn.Module, inputs: Mapping[str, Tensor], amount: float) -> dict[str, list[int]]:
    """Take the least channels out of every layer that can lose some, in place.

    The least are those with the smallest L2 norm of all weights that belong to them, in all layers that share
    them. Layers that decide the shape of an output keep theirs.

    Args:
        module: A network in evaluation mode.
        inputs: Examples that show what it computes.
        amount: Share of the channels of a layer that goes, in (0, 1), rounded down.

    Returns:
        New sizes of the layers that have others now, as ``nn.structure.size_of`` tells them.

    Raises:
        FormatError: torch-pruning is not installed, or nothing can be taken out.
    """
    before = sizes_of(module)
    _shrink_part(module, Call((), inputs), amount)
    changed = {name: size for name, size in sizes_of(module).items() if size != before[name]}
    if not changed:
        msg = f"No layer of {type(module).__name__} can lose {amount:g} of its channels; take more."
        raise FormatError(msg)
    return changed


def _shrink_part(part: nn.Module, call: Call, amount: float) -> None:
    """Shrink a part as a whole where that can be followed, else each of its own parts."""
    if sum(type(layer) in ROOTS for layer in part.modules()) < 2:
        return
    if smaller := _attempt(part, call, amount):
        before = sizes_of(part)
        sizes = {name: size for name, size in sizes_of(smaller).items() if size != before[name]}
        restructure(part, [{"step": "channels", "sizes": sizes}])
        part.load_state_dict(smaller.state_dict())
        return
    for inner, seen in _calls_within(part, call):
        _shrink_part(inner, seen, amount)


def _attempt(part: nn.Module, call: Call, amount: float) -> nn.Module | None:
    """Return a smaller copy of a part that says the same but for the channels that went, if there is one."""
    smaller, muted = copy.deepcopy(part), copy.deepcopy(part)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            if not _take_out(smaller, muted, call, amount):
                return None
        with torch.no_grad():
            told, expected = call.of(smaller), call.of(muted)
    except UNTRACED:
        return None
    return smaller if _agree(told, expected) else None


def _take_out(smaller: nn.Module, muted: nn.Module, call: Call, amount: float) -> int:
    """Take channels out of one copy and mute them in the other; return how many groups lost some."""
    pruning = _torch_pruning()
    graph = pruning.DependencyGraph()
    smaller.requires_grad_(True)
    with torch.enable_grad():
        graph.build_dependency(
            smaller,
            example_inputs=call,
            forward_fn=lambda network, given: given.of(network),
            # A product of its own ends every output, so that a group that reaches it can be told.
            output_transform=lambda told: [each * 1 for each in told if each.requires_grad],
            verbose=False,
        )
    importance = pruning.importance.GroupMagnitudeImportance(p=2)
    alive = {layer: torch.arange(_inputs(layer)) for layer in smaller.modules() if type(layer) in ROOTS}
    names, count = {layer: name for name, layer in smaller.named_modules()}, 0
    for group in graph.get_all_groups(root_module_types=ROOTS):
        if not _is_free(pruning, group):
            continue
        score = importance(group)
        lost = math.floor(len(score) * amount)
        if not lost:
            continue
        root = group[0].dep
        least = torch.argsort(score)[:lost].tolist()
        chosen = graph.get_pruning_group(root.target.module, root.handler, least)
        if not graph.check_pruning_group(chosen):
            continue
        for dep, places in chosen:
            layer = dep.target.module
            if layer in alive and dep.handler == graph.get_pruner_of_module(layer).prune_in_channels:
                _mute(muted.get_submodule(names[layer]), alive[layer][places])
                alive[layer] = _without(alive[layer], places)
        chosen.prune(record_history=False)
        count += 1
    return count


def _is_free(pruning: Any, group: Any) -> bool:
    """Tell whether a group of layers may lose channels: no output is among it, and all can be resized."""
    for dep, _ in group:
        layer = dep.target.module
        if isinstance(layer, nn.Parameter | pruning.ops._OutputOp):
            return False
        own = type(layer).__module__ != pruning.ops.__name__
        grouped = isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups > 1
        depthwise = grouped and layer.groups == layer.in_channels == layer.out_channels
        if own and (type(layer) not in LAYERS or (grouped and not depthwise)):
            return False
    return True


def _mute(layer: Any, places: Tensor) -> None:
    """Let a layer hear nothing of some inputs; a depthwise convolution has none of its own to lose."""
    if getattr(layer, "groups", 1) == 1:
        with torch.no_grad():
            layer.weight[:, places] = 0


def _without(alive: Tensor, places: list[int]) -> Tensor:
    kept = torch.ones(len(alive), dtype=torch.bool)
    kept[places] = False
    return alive[kept]


def _inputs(layer: Any) -> int:
    """Return the number of inputs of a convolution or a linear layer."""
    return size_of(layer)[1]


def _agree(told: list[Tensor], expected: list[Tensor]) -> bool:
    if [each.shape for each in told] != [each.shape for each in expected]:
        return False
    pairs = zip(told, expected, strict=True)
    return all(
        torch.allclose(a, b, rtol=0, atol=TOLERANCE * max(1.0, float(b.abs().max())))
        for a, b in pairs
        if b.numel()
    )


def _calls_within(part: nn.Module, call: Call) -> list[tuple[nn.Module, Call]]:
    """Return the outermost parts of a part that it calls, with what it calls them with the first time."""
    seen: dict[nn.Module, Call] = {}

    def note(inner: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.setdefault(inner, Call(arguments, named))

    inside = [each for each in part.modules() if each is not part]
    hooks = [each.register_forward_pre_hook(note, with_kwargs=True) for each in inside]
    try:
        with torch.no_grad():
            part(*call.arguments, **call.named)
    finally:
        for hook in hooks:
            hook.remove()
    found, waiting = [], list(part.children())
    while waiting:
        inner = waiting.pop(0)
        if inner in seen:
            found.append((inner, seen[inner]))
        else:  # a container whose parts are called one by one
            waiting = [*inner.children(), *waiting]
    return found


def _tensors(told: Any) -> Iterator[Tensor]:
    if isinstance(told, Tensor):
        if told.is_floating_point():
            yield told
    elif isinstance(told, Mapping):
        yield from itertools.chain.from_iterable(_tensors(told[name]) for name in sorted(told))
    elif isinstance(told, tuple | list):
        yield from itertools.chain.from_iterable(map(_tensors, told))


def _torch_pruning() -> Any:
    try:
        import torch_pruning
    except ImportError as error:
        raise FormatError(MISSING) from error
    return torch_pruning
