"""Attributions of pixels, and of the last feature map, by captum; knows no training set.

Pixels are in [0, 1], before the normalisation, which is inside the model: so the baseline, where a method has one, is
the black image (0).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from proxy_attention.saliency.captum_adapter import (
    ScoreModule,
    attribute_in_batches,
    attribute_one_by_one,
    images_at_once,
)
from proxy_attention.saliency.gradients import GRADIENTS, Gradient
from proxy_attention.saliency.interface import ExplainedModel, Method, SaliencyInput

SAMPLES = 16
"""Noisy copies of an image: the average's own noise is a quarter of one gradient's."""

NOISE = 0.15
"""Standard deviation of the noise on pixels in [0, 1]: SmoothGrad's authors recommend 10% to 20% of the range."""

WINDOW = 4
"""Windows that fit side by side: an occluded square is as small as a cell of the coarsest map (4x4)."""

SQUARES = 8
"""Superpixels on a side, a regular grid: twice as fine as the coarsest map."""

DRAWS = 256
"""Samples of squares for a surrogate: four for each of its unknowns, the squares' weights."""

WIDTH = 0.25
"""Kernel width of LIME in cosine distance: the authors' for images."""


def _gradient_shap(forward: ScoreModule, part: SaliencyInput) -> torch.Tensor:
    """Gradients of noisy copies of an image at random points on the way from black, times the way.

    Source: Lundberg and Lee, NeurIPS 2017; Erion et al., Expected Gradients, 2019.
    """
    from captum.attr import GradientShap

    total = torch.zeros_like(part.images)
    for count in _counts(SAMPLES, images_at_once(part)):
        total += count * (
            GradientShap(forward).attribute(
                part.images,
                torch.zeros_like(part.images),
                n_samples=count,
                stdevs=NOISE,
                additional_forward_args=(part.coefficients,),
            )
        )
    return total / SAMPLES


def _occlusion(forward: ScoreModule, part: SaliencyInput) -> torch.Tensor:
    """Measure what the score loses where a black window covers a pixel, averaged over the windows that do.

    Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2.
    """
    from captum.attr import Occlusion

    channels, window, stride = 3, *_window(part.images.shape[-1])
    found: torch.Tensor = Occlusion(forward).attribute(
        part.images,
        (channels, window, window),
        (channels, stride, stride),
        0.0,
        additional_forward_args=(part.coefficients,),
        perturbations_per_eval=images_at_once(part),
    )
    return found[:, :1]  # a window covers all channels: each has the same value


def _window(image_size: int) -> tuple[int, int]:
    """Choose a window's side and stride: a pixel lies under two of them in each direction."""
    side = max(image_size // WINDOW, 1)
    return side, max(side // 2, 1)


def _passes_of_occlusion(model: ExplainedModel, image_size: int) -> int:
    window, stride = _window(image_size)
    return 1 + (-(-(image_size - window) // stride) + 1) ** 2


def _lime(forward: ScoreModule, part: SaliencyInput) -> torch.Tensor:
    """Weights of a ridge regression of the score on which squares are not black, samples like the image counting more.

    As the authors do it for images. captum's own choice, the lasso, would give no map at all for small scores.

    Source: Ribeiro et al., Why Should I Trust You?, KDD 2016, equation 1 and algorithm 1.
    """
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime
    from captum.attr._core.lime import get_exp_kernel_similarity_function

    lime = Lime(
        forward,
        interpretable_model=SkLearnRidge(alpha=1.0),
        similarity_func=get_exp_kernel_similarity_function("cosine", kernel_width=WIDTH),
    )
    return _by_squares(lime.attribute, part)


def _kernel_shap(forward: ScoreModule, part: SaliencyInput) -> torch.Tensor:
    """Shapley values of squares that are black or not, by the regression whose weights are Shapley's kernel.

    Source: Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, NeurIPS 2017, theorem 2.
    """
    from captum.attr import KernelShap

    return _by_squares(KernelShap(forward).attribute, part)


def _by_squares(attribute: Callable[..., torch.Tensor], part: SaliencyInput) -> torch.Tensor:
    """Estimate the weight of each pixel's square, (1, 1, H, W), by a regression on ``DRAWS`` samples."""
    height, width = part.images.shape[2:]
    row, column = (torch.arange(length) * SQUARES // length for length in (height, width))
    square = row[:, None] * SQUARES + column
    weights = attribute(
        part.images,
        baselines=0.0,
        feature_mask=square[None, None].to(part.images.device),
        n_samples=DRAWS,
        perturbations_per_eval=images_at_once(part),
        return_input_shape=False,
        additional_forward_args=(part.coefficients,),
    )
    return weights.to(part.images).flatten()[square.to(part.images.device)][None, None]


def _counts(total: int, at_once: int) -> list[int]:
    """Split ``total`` into counts of at most ``at_once``."""
    return [min(at_once, total - done) for done in range(0, total, at_once)]


Noise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From the mean of attributions under noise, and the mean of their squares, to what is shown of them."""

NOISES: dict[str, tuple[str, str, Noise]] = {
    "smoothgrad": ("Smilkov et al., 2017", "averaged over noisy copies of the image", lambda mean, square: mean),
    "smoothgrad-squared": (
        "Hooker et al., NeurIPS 2019",
        "squared and averaged over noisy copies of the image",
        lambda mean, square: square,
    ),
    "vargrad": (
        "Adebayo et al., 2018",
        "variance over noisy copies of the image",
        lambda mean, square: (square - mean.square()).clamp(min=0),
    ),
}
"""The noise tunnel's kinds: source, what is shown, and how it follows from two means."""


def under_noise(forward: ScoreModule, part: SaliencyInput, gradient: Gradient, shown: Noise) -> torch.Tensor:
    """Run a method on noisy copies of one image, with the draws of captum's noise tunnel.

    captum's own tunnel takes captum's methods alone, and our LRP is none of them.

    Returns: (1, K, h, w).
    """
    total, squares = torch.zeros(2, 1, 1, 1, 1, dtype=torch.float64, device=part.images.device)
    for count in _counts(SAMPLES, images_at_once(part)):
        shape = (count, *part.images.shape[1:])
        noise = torch.normal(0.0, torch.full(shape, NOISE, device=part.images.device))
        noisy = replace(
            part,
            images=(part.images.detach() + noise).requires_grad_(),
            coefficients=part.coefficients.expand(count, -1),
            seeds=list(part.seeds) * count,
        )
        found = gradient.attribute(forward, noisy).detach().double()
        total, squares = total + found.sum(0, keepdim=True), squares + found.square().sum(0, keepdim=True)
    return shown(total / SAMPLES, squares / SAMPLES).to(part.images.dtype)


def _row(gradient: Gradient) -> Method:
    return Method(
        gradient.source,
        gradient.what,
        cost=gradient.cost,
        maps=lambda inputs: gradient.joined(attribute_in_batches(inputs, gradient.attribute)),
        passes=gradient.passes,
        lacks=gradient.lacks,
    )


def _noisy_row(name: str, noise: str) -> Method:
    """Make a row under noise: raw attributions are averaged; of squares and variances, all >= 0, channels add."""
    gradient, (source, what, shown) = GRADIENTS[name], NOISES[noise]

    def maps(inputs: SaliencyInput) -> torch.Tensor:
        found = attribute_one_by_one(inputs, lambda forward, part: under_noise(forward, part, gradient, shown))
        return gradient.joined(found) if noise == "smoothgrad" else found.sum(dim=1)

    return Method(
        source,
        f"{name}, {what}",
        cost=f"{SAMPLES} x ({gradient.cost})",
        maps=maps,
        passes=lambda model, image_size: SAMPLES * gradient.passes(model, image_size),
        lacks=_lacks_choices if (name, noise) == ("deconvnet", "vargrad") else gradient.lacks,
        seeded=True,
    )


def _lacks_choices(model: ExplainedModel) -> str | None:
    """Say what keeps a deconvnet's map from varying: only a max pool passes on something of the image."""
    pools = any(isinstance(module, nn.MaxPool2d) for module in model.module.modules())
    return GRADIENTS["deconvnet"].lacks(model) or (None if pools else "no max pool")


ATTRIBUTIONS: dict[str, Method] = {
    **{name: _row(gradient) for name, gradient in GRADIENTS.items()},
    "gradient-shap": Method(
        "Lundberg and Lee, NeurIPS 2017",
        "gradient at random points between black and noisy copies of the image, times the way",
        cost=f"{2 * SAMPLES}",
        maps=lambda inputs: attribute_one_by_one(inputs, _gradient_shap).sum(dim=1),
        passes=lambda model, image_size: 2 * SAMPLES,
        seeded=True,
    ),
    "occlusion": Method(
        "Zeiler and Fergus, ECCV 2014",
        "what the score loses where a black window covers a pixel",
        cost="50 where 8 divides the side of the image",
        maps=lambda inputs: attribute_one_by_one(inputs, _occlusion).sum(dim=1),
        passes=_passes_of_occlusion,
    ),
    "lime": Method(
        "Ribeiro et al., KDD 2016",
        "weights of squares in a linear model of the score near the image",
        cost=f"{DRAWS}",
        maps=lambda inputs: attribute_one_by_one(inputs, _lime).sum(dim=1),
        passes=lambda model, image_size: DRAWS,
        seeded=True,
    ),
    "kernel-shap": Method(
        "Lundberg and Lee, NeurIPS 2017",
        "Shapley values of squares",
        cost=f"{DRAWS}",
        maps=lambda inputs: attribute_one_by_one(inputs, _kernel_shap).sum(dim=1),
        passes=lambda model, image_size: DRAWS,
        seeded=True,
    ),
    **{
        noise if name == "saliency" else f"{noise}/{name}": _noisy_row(name, noise)
        for name in GRADIENTS
        for noise in NOISES
    },
}
"""The methods that are captum's."""
