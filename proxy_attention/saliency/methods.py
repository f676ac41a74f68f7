"""Explanation methods as formulas on the last feature map and its gradient; knows no model.

A = features (N, K, h, w), g = gradient of the explained score with respect to A: of the same shape, or (N, K, 1, 1)
where it is the same at every position (a linear head on pooled features). Every method returns (N, h, w), before ReLU
and scaling.
"""

from collections.abc import Callable

import torch


def gradcam(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """``sum_k mean(g_k) A_k``.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, equations 1 and 2.
    """
    return _weighted(gradients.mean(dim=(2, 3)), features)


def gradcam_plus_plus(features: torch.Tensor, gradients: torch.Tensor, *, epsilon: float = 0.0) -> torch.Tensor:
    """``sum_k w_k A_k`` with ``w_k = sum(alpha relu(g_k))`` and ``alpha = g^2 / (2 g^2 + sum(A_k) g^3)``.

    alpha is 0 where the gradient is, and where its denominator is. Computed in float64: the denominator may cancel,
    and cubes of small gradients vanish in float32.

    Args:
        epsilon: added to the denominator; grad-cam 1.5.7 adds 1e-6, the paper nothing.
    Source: Chattopadhyay et al., Grad-CAM++, WACV 2018, equation 19 (for an exponential last activation).
    """
    g = gradients.double()
    square = g.square()
    denominator = 2 * square + features.sum(dim=(2, 3), keepdim=True, dtype=torch.float64) * square * g + epsilon
    usable = (g != 0) & (denominator != 0)
    alpha = torch.where(usable, square / torch.where(usable, denominator, 1.0), 0.0)
    positions = features.shape[2] * features.shape[3]
    weights = (alpha * g.relu()).mean(dim=(2, 3)) * positions
    return _weighted(weights, features.double()).to(features.dtype)


def _weighted(weights: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """``sum_k w_k A_k``: (N, K) and (N, K, h, w) to (N, h, w)."""
    return torch.einsum("nk,nkhw->nhw", weights, features)


METHODS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
}
"""Every explanation method by name."""
