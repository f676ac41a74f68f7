"""Finds the layer of a network whose output is its last map, by trying; knows no model by name.

One pass records the output of each module; another differentiates the logits with respect to the last of them.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from proxy_attention.errors import ConfigError
from proxy_attention.models.layout import MIN_SIDE, Layout, layout_of

MIN_CHANNELS = 8
"""Fewer are a gate, such as spatial attention, and no features."""
AT_A_TIME = 8
"""Layers that one pass differentiates with respect to, from the last backwards."""
SHOWN = 20
"""Layers that an error lists."""
NO_FEATURES = (nn.Identity, nn.Dropout, nn.Softmax)
"""Modules that compute no feature: what they alone give is an intermediate result, such as a matrix of attention."""

Hook = Callable[[nn.Module, Any, Any], Any]


@dataclass(frozen=True, eq=False)
class FeatureLayer:
    """A layer whose output is a map that the logits depend on.

    Attributes:
        name: of the module, for ``get_submodule``.
        classes: C, how many logits there are.
        linear_head: the head, where logits are linear in the map's mean over its positions; else None.
        last: the grid of the network's very last map, which may be too small to be this one.
    """

    name: str
    layout: Layout
    classes: int
    linear_head: nn.Linear | None
    last: tuple[int, int]


@dataclass(eq=False)
class _Output:
    """A tensor that modules returned: the first of ``names`` made it, the others passed it on."""

    layout: Layout
    names: list[str]
    eligible: bool = False

    @property
    def name(self) -> str:
        return min(self.names, key=len)


def heads_of(module: nn.Module) -> tuple[nn.Module, ...]:
    """Return the classifier head of a timm model; two where a distilled model has two."""
    head: Any = module.get_classifier()  # type: ignore[operator]
    return tuple(head) if isinstance(head, (tuple, list)) else (head,)


def find_last(module: nn.Module, image_size: int, *, at_least: int) -> FeatureLayer | None:
    """Find the last layer with a map of at least that side on whose positions the logits depend; None without one.

    The module is left as it was, bit for bit: its weights, modes, gradients, hooks, and the global random stream.

    Raises: ConfigError, in terms of ``model``, if it gives no map of any size.
    """
    with _prepared(module):
        pixels = _pixels(image_size)
        outputs, others, end = _watch(module, pixels)
        eligible = [output for output in outputs if output.eligible]
        if not eligible:
            shown = ", ".join("x".join(map(str, shape)) for shape in others[-4:]) or "nothing"
            raise ConfigError(f"a layer with a map of at least {MIN_SIDE}x{MIN_SIDE}; its last layers give {shown}")
        large = [output for output in eligible if min(output.layout.grid) >= at_least]
        last = end or eligible[-1].layout.grid
        if min(last) < at_least:
            # the last stage is too small: take the whole stage before it, not the first layers of a branch of the last
            large.sort(key=lambda output: (-output.layout.grid[0], -max(output.name.count("."), 1)))
        for stop in range(len(large), 0, -AT_A_TIME):
            tried = _try(module, pixels, large[max(stop - AT_A_TIME, 0) : stop], last=last)
            if tried:
                return tried[-1]
    return None


def find_named(module: nn.Module, image_size: int, name: str) -> FeatureLayer:
    """Find the layer of that name, if its output is a map on whose positions the logits depend.

    Raises: ConfigError that names the layers that can be had and the nearest names.
    """
    with _prepared(module):
        pixels = _pixels(image_size)
        outputs, *_ = _watch(module, pixels)
        named = [_Output(output.layout, [name]) for output in outputs if name in output.names]
        last = outputs[-1].layout.grid if outputs else (0, 0)
        tried = _try(module, pixels, named, last=last)
        if tried:
            return tried[0]
        if name not in dict(module.named_modules()):
            why = "which is no module of it"
        else:
            why = "on whose positions no logit depends" if named else "whose output is no map"
        able = [output for output in outputs if output.eligible] or outputs
        there = _try(module, pixels, able[-SHOWN:], last=last)
        listed = ", ".join(f"{found.name} {found.layout.grid[0]}x{found.layout.grid[1]}" for found in there)
        near = get_close_matches(name, [each for output in outputs for each in output.names if each != name], n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ConfigError(f"got {name!r}, {why} (the last that can be had: {listed or 'none'}){hint}")


def _pixels(image_size: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(0)
    return (torch.rand(1, 3, image_size, image_size, generator=draws) - 0.5) / 0.25


@contextmanager
def _prepared(module: nn.Module) -> Iterator[None]:
    """Put the module in eval mode with random heads, then restore it: a head of zeros would hide every dependence."""
    modes = [(each, each.training) for each in module.modules()]
    kept = [(each, each.detach().clone()) for head in heads_of(module) for each in head.parameters()]
    draws = torch.Generator().manual_seed(1)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            module.eval()
            for parameter, _ in kept:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draws))
            yield
        finally:
            for parameter, before in kept:
                parameter.copy_(before)
            for each, training in modes:
                each.training = training


@contextmanager
def _hooked(module: nn.Module, hooks: dict[str, Hook]) -> Iterator[None]:
    with ExitStack() as stack:
        for name, hook in hooks.items():
            stack.callback(module.get_submodule(name).register_forward_hook(hook).remove)
        yield


def _watch(
    module: nn.Module, pixels: torch.Tensor
) -> tuple[list[_Output], list[tuple[int, ...]], tuple[int, int] | None]:
    """Run one pass without a graph, and note the maps that modules give.

    Returns: every map that a module gives, in order; the shapes of what is none; and the grid of the features that go
        to the head, of whatever size.
    """
    network: Any = module
    prefix, nhwc = int(getattr(network, "num_prefix_tokens", 0)), getattr(network, "output_fmt", "") == "NHWC"
    outputs: list[_Output] = []
    others: list[tuple[int, ...]] = []
    calls: Counter[str] = Counter()
    token_counts: set[int] = set()
    # weak references: holding the tensors would fill memory. An in-place activation raises a tensor's version
    alive: dict[int, tuple[weakref.ref[torch.Tensor], int, _Output | None]] = {}

    def known(tensor: torch.Tensor) -> tuple[bool, _Output | None]:
        there, version, output = alive.get(id(tensor), (None, -1, None))
        same = there is not None and there() is tensor and version == tensor._version
        return same, output if same else None

    def note(name: str) -> Hook:
        def hook(_: nn.Module, args: Any, given: Any) -> None:
            calls[name] += 1
            if not isinstance(given, torch.Tensor):
                return
            same, output = known(given)
            if not same:
                layout = layout_of(tuple(given.shape), prefix=prefix, nhwc=nhwc)
                output = _Output(layout, []) if layout is not None else None
                alive[id(given)] = (weakref.ref(given), given._version, output)
                if given.ndim == 3:
                    token_counts.add(given.shape[1])
                if output is not None:
                    outputs.append(output)
                else:
                    others.append(tuple(given.shape))
            if output is not None:
                output.names.append(name)

        return hook

    with _hooked(module, {name: note(name) for name, _ in module.named_modules() if name}):
        result = network.forward_features(pixels)
    final = known(result)[1] if isinstance(result, torch.Tensor) else None
    widths = {parameter.shape[1] for head in heads_of(module) for parameter in head.parameters() if parameter.ndim > 1}
    matrices = token_counts if isinstance(result, torch.Tensor) and result.ndim == 3 else set()
    for output in outputs:
        makers = [module.get_submodule(name) for name in output.names]
        output.eligible = output is final or _is_eligible(output.layout, makers, widths=widths, matrices=matrices)
        output.names = [name for name in output.names if calls[name] == 1]  # a hook sees every call of a module
    ended = layout_of(tuple(result.shape), nhwc=nhwc, at_least=1) if isinstance(result, torch.Tensor) else None
    alone = ended is not None and ended.kind == "tokens" and ended.grid == (1, 1) and not ended.prefix  # a class token
    end = ended.grid if ended is not None and not alone else None
    return [output for output in outputs if output.names], others, end


def _is_eligible(layout: Layout, makers: Sequence[nn.Module], *, widths: set[int], matrices: set[int]) -> bool:
    """Whether an output may be the last map."""
    if layout.kind != "tokens":  # in a network of tokens, a map with their number as its side is an attention matrix
        makes = not all(isinstance(maker, NO_FEATURES) for maker in makers)
        return makes and layout.channels >= MIN_CHANNELS and layout.grid[0] not in matrices
    # Queries, keys, values, projections and the hidden layer of an MLP are parts of a block, not the stream of tokens
    # that a head reads, though the logits depend on some of them. Only a normalised stream of the head's width counts.
    return layout.channels in widths and any("norm" in type(maker).__name__.lower() for maker in makers)


def _try(
    module: nn.Module, pixels: torch.Tensor, outputs: Sequence[_Output], *, last: tuple[int, int]
) -> list[FeatureLayer]:
    """Keep the outputs on whose positions the logits depend, by one pass whose graph begins at the first of them."""
    kept: dict[str, list[torch.Tensor]] = {output.name: [] for output in outputs}

    def begin_graph(name: str) -> Hook:
        def hook(_: nn.Module, args: Any, given: torch.Tensor) -> torch.Tensor:
            torch.set_grad_enabled(True)  # until the no_grad below ends
            leaf = given if given.requires_grad else given.detach().requires_grad_()
            kept[name].append(leaf)
            return leaf.clone()  # an in-place activation downstream must not write to what is kept

        return hook

    if not outputs:
        return []
    with _hooked(module, {name: begin_graph(name) for name in kept}), torch.no_grad():
        logits = module(pixels)
    once = [output for output in outputs if len(kept[output.name]) == 1]
    features = [kept[output.name][0] for output in once]
    if not features or not logits.requires_grad:
        return []
    with torch.enable_grad():
        gradients = torch.autograd.grad(logits.sum(), features, allow_unused=True)
    found = []
    for output, feature, gradient in zip(once, features, gradients, strict=True):
        if gradient is not None and bool(output.layout.as_map(gradient).any()):
            head = _linear_head(module, output.layout, feature.detach(), logits.detach())
            found.append(FeatureLayer(output.name, output.layout, logits.shape[1], head, last))
    return found


def _linear_head(module: nn.Module, layout: Layout, features: torch.Tensor, logits: torch.Tensor) -> nn.Linear | None:
    """Return the head if these logits are it applied to the features' mean over positions; else None."""
    (head, *more) = heads_of(module)
    if more or not isinstance(head, nn.Linear) or head.in_features != layout.channels:
        return None
    pooled = head(layout.as_map(features).mean((2, 3)))
    size = float(logits.abs().max())
    return (
        head if pooled.shape == logits.shape and torch.allclose(pooled, logits, rtol=1e-4, atol=1e-5 * size) else None
    )
