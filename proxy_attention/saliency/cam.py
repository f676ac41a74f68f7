"""Class activation maps as formulas on the last feature map and its gradient; knows no model.

A = features (N, K, h, w), g = gradient of the explained score with respect to A: of the same shape, or (N, K, 1, 1)
where it is the same at every position (a linear head on pooled features). A formula gives weights of either shape; the
map is ``sum_k weight_k A_k``, before ReLU and scaling.
"""

import torch

from proxy_attention.saliency.interface import Method


def gradcam(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Weigh each channel by ``mean(g_k)``.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, equations 1 and 2.
    """
    return gradients.mean(dim=(2, 3), keepdim=True)


def gradcam_plus_plus(features: torch.Tensor, gradients: torch.Tensor, *, epsilon: float = 0.0) -> torch.Tensor:
    """Weigh each channel by ``sum(alpha relu(g_k))`` with ``alpha = g^2 / (2 g^2 + sum(A_k) g^3)``, in float64.

    alpha is 0 where the gradient is, and where its denominator is. The denominator may cancel, and cubes of small
    gradients vanish in float32.

    Args:
        epsilon: added to the denominator; grad-cam 1.5.7 adds 1e-6, the paper nothing.
    Source: Chattopadhyay et al., Grad-CAM++, WACV 2018, equation 19 (for an exponential last activation).
    """
    g = gradients.double()
    square = g.square()
    denominator = 2 * square + features.sum(dim=(2, 3), keepdim=True, dtype=torch.float64) * square * g + epsilon
    alpha = torch.where(g != 0, _divided(square, denominator), 0.0)
    positions = features.shape[2] * features.shape[3]
    return (alpha * g.relu()).mean(dim=(2, 3), keepdim=True) * positions


def hirescam(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Weigh each channel by ``g_k`` at each position.

    Source: Draelos and Carin, Use HiResCAM instead of Grad-CAM, 2020, equation 3.
    """
    return gradients


def xgradcam(features: torch.Tensor, gradients: torch.Tensor, *, epsilon: float = 0.0) -> torch.Tensor:
    """Weigh each channel by ``sum(g_k A_k) / sum(A_k)``; by 0 where that sum is 0.

    Args:
        epsilon: added to the denominator; grad-cam 1.5.7 adds 1e-7, the paper nothing.
    Source: Fu et al., Axiom-based Grad-CAM, BMVC 2020, equation 8.
    """
    if gradients.shape[2:] == (1, 1):
        return gradients  # the same at every position: its own mean, however it is weighted
    a = features.double()
    return _divided((gradients * a).sum(dim=(2, 3), keepdim=True), a.sum(dim=(2, 3), keepdim=True) + epsilon)


def layercam(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Weigh each channel by ``relu(g_k)`` at each position.

    Source: Jiang et al., LayerCAM, IEEE TIP 2021, equation 5.
    """
    return gradients.relu()


def eigencam(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Weigh each channel by 1: the map is the first principal component of the features. Its sign alone knows a class.

    Source: Muhammad and Yeasin, Eigen-CAM, IJCNN 2020.
    """
    return torch.ones_like(features[:, :, :1, :1])


def combined(
    features: torch.Tensor, weights: torch.Tensor, *, towards: torch.Tensor | None = None, eigen: bool = False
) -> torch.Tensor:
    """Combine weighted features to a map: their sum over channels, or their first principal component.

    Args:
        features: (N, K, h, w).
        weights: (N, K, h, w) or (N, K, 1, 1).
        towards: (N, h, w), the map that decides the sign of a principal component, which has none; None is the sum.
    Returns: (N, h, w) of the features' type.
    """
    exact = features.to(weights.dtype)
    if weights.shape[2:] == (1, 1):
        summed = torch.einsum("nk,nkhw->nhw", weights[:, :, 0, 0], exact)
    else:
        summed = (weights * exact).sum(dim=1)
    if eigen:
        summed = first_component(weights * exact, towards=summed if towards is None else towards)
    return summed.to(features.dtype)


def first_component(weighted: torch.Tensor, *, towards: torch.Tensor) -> torch.Tensor:
    """Project each position onto the direction in which the channels vary most, in float64.

    It takes the smaller of the two Gram matrices, many times as fast as a singular value decomposition. Features that
    are not finite give zeros.

    Args:
        weighted: (N, K, h, w).
        towards: (N, h, w); the sign is the one that agrees with it.
    Returns: (N, h, w).
    Source: as grad-cam computes it, ``get_2d_projection``: channels centred over positions.
    """
    count, channels, height, width = weighted.shape
    x = weighted.double().flatten(2)
    x = torch.where(x.isfinite().all(dim=2, keepdim=True).all(dim=1, keepdim=True), x, 0.0)
    x = x - x[:, :, :1]  # what does not vary is 0 to the bit: a mean of equal numbers may be rounded
    x = x - x.mean(dim=2, keepdim=True)
    if height * width <= channels:
        values, vectors = torch.linalg.eigh(x.transpose(1, 2) @ x)
        found = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
    else:
        found = (torch.linalg.eigh(x @ x.transpose(1, 2))[1][:, None, :, -1] @ x)[:, 0]
    agreement = (found * towards.flatten(1)).sum(dim=1, keepdim=True)
    strongest = found.gather(1, found.abs().argmax(dim=1, keepdim=True))
    sign = torch.where(agreement != 0, agreement, strongest)  # of two that agree equally, the one that rises
    return torch.where(sign < 0, -found, found).view(count, height, width)


def _divided(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
    """Divide; 0 where the denominator is."""
    usable = denominator != 0
    return torch.where(usable, numerator / torch.where(usable, denominator, 1.0), 0.0)


CAMS: dict[str, Method] = {
    "gradcam": Method(
        "Selvaraju et al., ICCV 2017",
        "features, each channel weighted by the mean gradient of the score",
        weights=gradcam,
    ),
    "gradcam++": Method(
        "Chattopadhyay et al., WACV 2018",
        "GradCAM of positive gradients, so that several small objects count as one large one does",
        weights=gradcam_plus_plus,
    ),
    "hirescam": Method(
        "Draelos and Carin, 2020",
        "features times gradient at each position, without the mean over positions",
        weights=hirescam,
        pooled="gradcam",
    ),
    "xgradcam": Method(
        "Fu et al., BMVC 2020",
        "GradCAM whose mean over positions is weighted by the features themselves",
        weights=xgradcam,
        pooled="gradcam",
    ),
    "layercam": Method(
        "Jiang et al., IEEE TIP 2021",
        "features times the positive part of the gradient at each position",
        weights=layercam,
    ),
    "eigencam": Method(
        "Muhammad and Yeasin, IJCNN 2020",
        "first principal component of the features; it knows no class",
        weights=eigencam,
        eigen=True,
    ),
    "eigengradcam": Method(
        "grad-cam's, after Eigen-CAM",
        "first principal component of features times gradient",
        weights=hirescam,
        eigen=True,
    ),
}
"""The methods that come out of the pass that classifies."""
