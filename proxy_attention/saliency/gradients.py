"""The methods that differentiate, by captum and by our own LRP; knows no training set.

Pixels are in [0, 1], before the normalisation, which is inside the model: so the baseline, where a method has one, is
the black image (0).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from proxy_attention.saliency.captum_adapter import AttributeFunction, ScoreModule, images_at_once, parts
from proxy_attention.saliency.interface import CHUNK_PIXELS, ExplainedModel, SaliencyInput
from proxy_attention.saliency.layer_support import lacks_relu_alone, lacks_rules
from proxy_attention.saliency.relevance import exact_differences, lacks_relevance, relevance

STEPS = 32
"""Steps from black to the image: what integrated gradients then miss of the score is under 1% of what they hand out."""


def _gradient(forward: ScoreModule, part: SaliencyInput) -> torch.Tensor:
    """Differentiate the score by the pixels.

    Source: Simonyan et al., Deep Inside Convolutional Networks, 2013, equation 4, before the absolute value.
    """
    from captum.attr import Saliency

    found: torch.Tensor = Saliency(forward).attribute(
        part.images, abs=False, additional_forward_args=(part.coefficients,)
    )
    return found


def _input_x_gradient(forward: ScoreModule, part: SaliencyInput) -> torch.Tensor:
    """Multiply the gradient by the pixels.

    Source: Shrikumar et al., Not Just a Black Box, 2016.
    """
    from captum.attr import InputXGradient

    found: torch.Tensor = InputXGradient(forward).attribute(part.images, additional_forward_args=(part.coefficients,))
    return found


def _integrated_gradients(forward: ScoreModule, part: SaliencyInput) -> torch.Tensor:
    """Average the gradient on the way from the black image, at Gauss-Legendre points, and multiply by the pixels.

    As many points at once for one image as for several: in which portions they are added up is no matter of the batch.

    Source: Sundararajan et al., Axiomatic Attribution for Deep Networks, ICML 2017, equation 1.
    """
    from captum.attr import IntegratedGradients

    points = min(images_at_once(part), STEPS)
    found = [
        IntegratedGradients(forward)
        .attribute(
            piece.images,
            0.0,
            additional_forward_args=(piece.coefficients,),
            n_steps=STEPS,
            internal_batch_size=points * len(piece.images),
        )
        .detach()
        for piece in parts(part, images_at_once(part, copies=points))
    ]
    return torch.cat(found)


def _deconvnet(forward: ScoreModule, part: SaliencyInput) -> torch.Tensor:
    """Differentiate with each ReLU passing back the positive part, whatever it saw.

    Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014.
    """
    from captum.attr import Deconvolution

    found: torch.Tensor = Deconvolution(forward).attribute(part.images, additional_forward_args=(part.coefficients,))
    return found


def _guided_backprop(forward: ScoreModule, part: SaliencyInput) -> torch.Tensor:
    """Differentiate with each ReLU passing back the positive part where it was active.

    Source: Springenberg et al., Striving for Simplicity, ICLR workshops 2015.
    """
    from captum.attr import GuidedBackprop

    found: torch.Tensor = GuidedBackprop(forward).attribute(part.images, additional_forward_args=(part.coefficients,))
    return found


def _guided_gradcam(forward: ScoreModule, part: SaliencyInput) -> torch.Tensor:
    """Multiply guided backpropagation by GradCAM's positive part, bilinearly upsampled.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, section 3.
    """
    from captum.attr import GuidedGradCam

    found: torch.Tensor = GuidedGradCam(forward, _feature_layer(part)).attribute(
        part.images, additional_forward_args=(part.coefficients,), interpolate_mode="bilinear"
    )
    return found


def _deeplift(forward: ScoreModule, part: SaliencyInput) -> torch.Tensor:
    """Share out the difference to the black image by the rescale rule.

    Source: Shrikumar et al., Learning Important Features Through Propagating Activation Differences, ICML 2017.
    """
    from captum.attr import DeepLift

    with exact_differences(forward.network):
        halves = [
            DeepLift(forward).attribute(half.images, 0.0, additional_forward_args=(half.coefficients,)).detach()
            for half in parts(part, images_at_once(part, copies=2))
        ]
    return torch.cat(halves)


def _layer_conductance(forward: ScoreModule, part: SaliencyInput) -> torch.Tensor:
    """Attribute the change of the score from the black image to the last feature map, as (N, K, h, w).

    On a path with its ends, so that a map that all of the score passes loses none of it.

    Source: Dhamdhere et al., How Important Is a Neuron?, ICLR 2019, equation 2.
    """
    from captum.attr import LayerConductance

    points = _points_in_flight(part.images.shape[-1])
    found = [
        (
            LayerConductance(forward, _feature_layer(part)).attribute(
                piece.images,
                0.0,
                additional_forward_args=(piece.coefficients,),
                n_steps=STEPS,
                method="riemann_trapezoid",
                internal_batch_size=points * len(piece.images),
            )
        ).detach()
        for piece in parts(part, images_at_once(part, copies=points))
    ]
    return part.model.as_map(torch.cat(found))


def _points_in_flight(image_size: int) -> int:
    """Choose how many points of the path are computed at once: all, or as many as memory holds, two at least."""
    return min(max(CHUNK_PIXELS // image_size**2, 2), STEPS + 1)


def _passes_of_conductance(model: ExplainedModel, image_size: int) -> int:
    """Count every point once, and again where a chunk begins; the backward pass ends at the feature map."""
    return STEPS + -(-STEPS // (_points_in_flight(image_size) - 1))


def _feature_layer(part: SaliencyInput) -> nn.Module:
    layer: nn.Module = part.model.module.get_submodule(part.model.feature_layer)
    return layer


def _summed(found: torch.Tensor) -> torch.Tensor:
    """(N, K, h, w) to (N, h, w)."""
    return found.sum(dim=1)


def _strongest(found: torch.Tensor) -> torch.Tensor:
    """Take the largest absolute value over channels, (N, K, h, w) to (N, h, w)."""
    return found.abs().amax(dim=1)


def _two(model: ExplainedModel, image_size: int) -> int:
    return 2


@dataclass(frozen=True)
class Gradient:
    """A method that differentiates, from which its own row and its rows under noise are made.

    Attributes:
        source, what, cost, passes, lacks: as a row has them.
        attribute: computes the attributions.
        joined: how channels become one.
    """

    source: str
    what: str
    attribute: AttributeFunction
    cost: str = "2"
    passes: Callable[[ExplainedModel, int], int] = _two
    lacks: Callable[[ExplainedModel], str | None] = lambda model: None
    joined: Callable[[torch.Tensor], torch.Tensor] = _summed


def _feature_map(model: ExplainedModel, image_size: int) -> int:
    """GradCAM's forward pass, whose backward pass ends at the feature map, and guided backpropagation's two."""
    return 3


def _lacks_differences(model: ExplainedModel) -> str | None:
    """Say which layer DeepLIFT has no rule for; None if none. Sigmoid and tanh are gates here, and not admitted."""
    return lacks_rules(model, (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Softplus, nn.MaxPool2d))


GRADIENTS: dict[str, Gradient] = {
    "saliency": Gradient(
        "Simonyan et al., 2013",
        "size of the gradient at each pixel, the largest over its channels",
        _gradient,
        joined=_strongest,
    ),
    "input-x-gradient": Gradient("Shrikumar et al., 2016", "gradient times pixel", _input_x_gradient),
    "integrated-gradients": Gradient(
        "Sundararajan et al., ICML 2017",
        "gradient averaged on the way from black to the image, times pixel",
        _integrated_gradients,
        cost=f"{2 * STEPS}",
        passes=lambda model, image_size: 2 * STEPS,
    ),
    "deconvnet": Gradient(
        "Zeiler and Fergus, ECCV 2014",
        "gradient of which each ReLU lets only the positive part through, whatever it saw",
        _deconvnet,
        lacks=lacks_relu_alone,
    ),
    "guided-backprop": Gradient(
        "Springenberg et al., 2015",
        "gradient of which each ReLU lets only the positive part through, where it was active",
        _guided_backprop,
        lacks=lacks_relu_alone,
    ),
    "guided-gradcam": Gradient(
        "Selvaraju et al., ICCV 2017",
        "guided backpropagation times GradCAM",
        _guided_gradcam,
        cost="3",
        passes=_feature_map,
        lacks=lacks_relu_alone,
    ),
    "deeplift": Gradient(
        "Shrikumar et al., ICML 2017",
        "each pixel's part in the difference to the black image, by the rescale rule",
        _deeplift,
        cost="4",
        passes=lambda model, image_size: 4,
        lacks=_lacks_differences,
    ),
    "lrp": Gradient(
        "Bach et al., 2015; Montavon et al., 2019",
        "relevance handed down layer by layer, gamma rule between the first and the dense layers",
        relevance,
        cost="3",
        passes=lambda model, image_size: 3,
        lacks=lacks_relevance,
    ),
    "layer-conductance": Gradient(
        "Dhamdhere et al., ICLR 2019",
        "what the last feature map contributes on the way from black to the image",
        _layer_conductance,
        cost=f"{STEPS + 1}, a few more for images above 250 pixels",
        passes=_passes_of_conductance,
    ),
}
"""The methods that captum calls gradient methods, and LRP. Gradient SHAP, which captum
calls so, too, draws noise already: it is no method to put noise under."""
