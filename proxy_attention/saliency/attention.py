"""Where a vision transformer's attention went, from its first block to its last; knows no training set."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from proxy_attention.saliency.interface import ExplainedModel, Method, SaliencyInput, at_least_float32


def attention_rollout(inputs: SaliencyInput) -> torch.Tensor:
    """Multiply the blocks' attention: how much of each patch reaches the token that is classified.

    Attention is averaged over heads, and half of each token stays where it is. It knows no class.

    Returns: (N, h, w) in [0, 1].
    Source: Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020, equation 1.
    """
    with torch.no_grad(), _attention_of(inputs.model) as blocks:
        inputs.model(inputs.images)
    rolled = _identity(blocks[0])
    for attention in blocks:
        mixed = at_least_float32(attention).mean(dim=1) / 2 + _identity(attention) / 2
        rolled = mixed / mixed.sum(dim=2, keepdim=True) @ rolled
    return _on_grid(rolled, inputs.model)


def gradient_rollout(inputs: SaliencyInput) -> torch.Tensor:
    """Roll attention out with each head weighted by its gradient of the score, without negative parts.

    Returns: (N, h, w) >= 0.
    Source: Chefer et al., Generic Attention-model Explainability, ICCV 2021, equations 5 and 6.
    """
    model = inputs.model
    with torch.enable_grad(), _attention_of(model) as blocks:
        # pixels ask for a gradient, so that attention has one where all weights are frozen, too
        score = inputs.score(at_least_float32(model(inputs.images.detach().requires_grad_())))
        gradients = torch.autograd.grad(score.sum(), blocks)
    with torch.no_grad():
        rolled = _identity(blocks[0])
        for attention, gradient in zip(blocks, gradients, strict=True):
            relevant = at_least_float32(attention * gradient).relu().mean(dim=1)
            rolled = rolled + relevant @ rolled
        return _on_grid(rolled, model)


def _identity(attention: torch.Tensor) -> torch.Tensor:
    """(1, T, T) for attention (N, heads, T, T)."""
    dtype = at_least_float32(attention[:0]).dtype
    return torch.eye(attention.shape[-1], dtype=dtype, device=attention.device)[None]


def _on_grid(rolled: torch.Tensor, model: ExplainedModel) -> torch.Tensor:
    """Read off what reaches the classified tokens from each patch; where the patches' mean is classified, all of them.

    Args:
        rolled: (N, T, T).
    Returns: (N, h, w).
    """
    height, width = model.grid
    prefix = rolled.shape[1] - height * width
    if prefix and getattr(model.module, "global_pool", "token") == "token":
        classified = rolled[:, : 2 if hasattr(model.module, "head_dist") else 1]
    else:
        classified = rolled[:, prefix:]
    return classified[:, :, prefix:].mean(dim=1).view(-1, height, width)


@contextmanager
def _attention_of(model: ExplainedModel) -> Iterator[list[torch.Tensor]]:
    """Attention (N, heads, T, T) of every block of the passes within, in order.

    timm's fused attention never holds it: it is taken apart for as long.
    """
    seen: list[torch.Tensor] = []
    layers = _attention_layers(model)
    fused = [layer.fused_attn for layer in layers]
    handles = [
        layer.attn_drop.register_forward_hook(lambda module, args, output: seen.append(output)) for layer in layers
    ]
    try:
        for layer in layers:
            layer.fused_attn = False
        yield seen
    finally:
        for layer, before in zip(layers, fused, strict=True):
            layer.fused_attn = before
        for handle in handles:
            handle.remove()


def _attention_layers(model: ExplainedModel) -> list[Any]:
    return [
        module for module in model.module.modules() if hasattr(module, "fused_attn") and hasattr(module, "attn_drop")
    ]


def _lacks_attention(model: ExplainedModel) -> str | None:
    """Say why attention cannot be rolled out, tried on one black image; None if it can.

    Every block must attend from all patches to all patches.
    """
    if not _attention_layers(model):
        return "no attention"
    height, width = model.grid
    weights = next(model.module.parameters())
    black = torch.zeros(1, 3, model.image_size, model.image_size, device=weights.device, dtype=weights.dtype)
    modes = [(module, module.training) for module in model.module.modules()]
    model.module.eval()
    try:
        with torch.no_grad(), _attention_of(model) as blocks:
            model(black)
    finally:
        for module, training in modes:
            module.training = training
    tokens = {attention.shape[2:] for attention in blocks if attention.ndim == 4 and len(attention) == 1}
    whole = len(blocks) == len(_attention_layers(model)) and len(tokens) == 1
    sizes = next(iter(tokens)) if whole else (0, 0)
    if not whole or sizes[0] != sizes[1] or sizes[0] < height * width:
        return "no attention from every patch to every other in each block"
    return None


ROLLOUTS: dict[str, Method] = {
    "attention-rollout": Method(
        "Abnar and Zuidema, ACL 2020",
        "how much of each patch reaches the classified token through all blocks; it knows no class",
        maps=attention_rollout,
        lacks=_lacks_attention,
    ),
    "gradient-rollout": Method(
        "Chefer et al., ICCV 2021",
        "attention rolled out likewise, each head weighted by the gradient of the score",
        cost="2",
        maps=gradient_rollout,
        passes=lambda model, image_size: 2,
        lacks=_lacks_attention,
    ),
}
"""The methods that read attention."""
