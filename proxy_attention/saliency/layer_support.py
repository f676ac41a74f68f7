"""Checks the layers of a network, for methods that have rules for some layers only; knows no such rule."""

from collections.abc import Collection, Iterable

import torch
from torch import nn

from proxy_attention.saliency.interface import ExplainedModel

STRAIGHT = (
    nn.Conv2d,
    nn.Linear,
    nn.BatchNorm2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,
    nn.Identity,
    nn.Dropout,
)
"""Layers that are affine in eval mode."""


def lacks_relu_alone(model: ExplainedModel) -> str | None:
    """Name the activations that are no ReLU; None if every one is.

    Both torch and timm define theirs in modules named after activations.
    """
    activations = [module for module in model.module.modules() if "activation" in type(module).__module__]
    if others := [module for module in activations if not isinstance(module, nn.ReLU)]:
        return f"no ReLU alone (but {names(others)})"
    return None if activations else "no ReLU"


def lacks_rules(model: ExplainedModel, bent: Collection[type[nn.Module]]) -> str | None:
    """Say which layer is neither affine nor of a type in ``bent``, or is bent and used twice; None if none.

    A subclass of a type in ``bent`` may bend otherwise, so it has no rule. An affine layer's subclass is affine still.
    """
    layers = [module for module in model.module.modules() if not list(module.children())]
    if others := [layer for layer in layers if not isinstance(layer, STRAIGHT) and type(layer) not in bent]:
        return f"no layers with a rule alone (but {names(others)})"
    if again := used_twice(model, [layer for layer in layers if type(layer) in bent]):
        return f"no use of each layer but once ({names(again)} twice)"
    return None


def used_twice(model: ExplainedModel, layers: Iterable[nn.Module]) -> list[nn.Module]:
    """List those of the layers that one pass over a black image calls more than once."""
    calls: list[nn.Module] = []
    training = [module for module in model.module.modules() if module.training]
    weights = next(model.module.parameters())
    black = torch.zeros(1, 3, model.image_size, model.image_size, device=weights.device, dtype=weights.dtype)
    watched = dict.fromkeys(layers)
    handles = [layer.register_forward_hook(lambda module, args, output: calls.append(module)) for layer in watched]
    try:
        for module in training:
            module.training = False
        with torch.no_grad():
            model(black)
    finally:
        for handle in handles:
            handle.remove()
        for module in training:
            module.training = True
    return [layer for layer in watched if calls.count(layer) > 1]


def names(modules: Iterable[nn.Module]) -> str:
    """List the types of these modules, for a person."""
    return ", ".join(sorted({type(module).__name__ for module in modules}))
