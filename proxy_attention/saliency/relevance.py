"""Rules that captum has not, or has in part: relevance through any ReLU network, differences through any max pool.

Knows no model. captum's LRP takes an addition in a forward function for none and refuses an Identity; its DeepLIFT
loses what two windows of a pool share, or a pool right behind a ReLU, and looks at the first image of a batch where a
difference vanishes. What is here agrees with captum wherever captum is right.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from proxy_attention.saliency.captum_adapter import ScoreModule
from proxy_attention.saliency.interface import ExplainedModel, SaliencyInput
from proxy_attention.saliency.layer_support import lacks_relu_alone, lacks_rules, names

GAMMA = 0.25
"""How much more a supporting weight counts: captum's default, and Montavon's choice for lower layers."""


def lacks_relevance(model: ExplainedModel) -> str | None:
    """Say what relevance cannot be followed through; None if it can be followed.

    Rules are for ReLU, max pools, plain convolutions, and normalisations that do nothing else.
    """
    if (lacking := lacks_relu_alone(model) or lacks_rules(model, (nn.ReLU, nn.MaxPool2d))) is not None:
        return lacking
    norms = [module for module in model.module.modules() if isinstance(module, nn.BatchNorm2d)]
    convolutions = [module for module in model.module.modules() if isinstance(module, nn.Conv2d)]
    others: list[nn.Module] = [norm for norm in norms if list(norm.children())]
    others += [convolution for convolution in convolutions if type(convolution) is not nn.Conv2d]
    return f"no layers with a rule alone (but {names(others)})" if others else None


def relevance(forward: ScoreModule, part: SaliencyInput) -> torch.Tensor:
    """LRP: gamma in every convolution but the first, epsilon (of 0) in the first and in dense layers.

    A layer's relevance is its activation times a gradient, in which a convolution's weights that agree with the sign
    of its output count ``1 + gamma`` times; a normalisation behind it is taken into its weights first. So what flows
    through additions, pools and the normalisation of pixels is shared in proportion, and only biases keep some.

    Returns: (N, 3, H, W).
    Source: Bach et al., PLOS ONE 2015; the composite and the form as a gradient are of Montavon et al., Layer-Wise
        Relevance Propagation: An Overview, 2019, sections 10.2 and 10.3.
    """
    grown, normalised = _convolutions(forward, part)
    seen: dict[nn.Module, torch.Tensor] = {}

    def of_convolution(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
        if module in normalised.values():
            seen[module] = args[0]
            return None
        return _grown(output, args[0], module, module.weight)

    def of_normalisation(module: Any, args: object, output: torch.Tensor) -> torch.Tensor:
        convolution = normalised[module]
        scale = (module.running_var + module.eps).rsqrt()
        if module.weight is not None:
            scale = scale * module.weight
        return _grown(output, seen.pop(convolution), convolution, convolution.weight * scale[:, None, None, None])

    handles = [module.register_forward_hook(of_convolution) for module in grown]
    handles += [module.register_forward_hook(of_normalisation) for module in normalised]
    try:
        score = forward(part.images, part.coefficients).sum()
    finally:
        for handle in handles:
            handle.remove()
    return part.images * torch.autograd.grad(score, part.images)[0]


def _grown(output: torch.Tensor, inputs: torch.Tensor, convolution: Any, weight: torch.Tensor) -> torch.Tensor:
    """Return the same output, with the gradient of one whose agreeing weights have grown."""
    supporting = convolution._conv_forward(inputs, weight.clamp(min=0), None)
    opposing = convolution._conv_forward(inputs, weight.clamp(max=0), None)
    larger = output + GAMMA * torch.where(output > 0, supporting, opposing)
    share = torch.where(larger != 0, output / torch.where(larger != 0, larger, 1.0), 1.0)
    return larger * share.detach()


def _convolutions(forward: ScoreModule, part: SaliencyInput) -> tuple[list[nn.Module], dict[nn.Module, nn.Module]]:
    """All convolutions but the first that is called; and those that a normalisation follows at once, by it."""
    called: list[nn.Module] = []
    normalised: dict[nn.Module, nn.Module] = {}
    last: list[Any] = [None, None]

    def of_convolution(module: nn.Module, args: object, output: torch.Tensor) -> None:
        called.append(module)
        last[:] = module, output

    def of_normalisation(module: nn.Module, args: tuple[torch.Tensor, ...], output: object) -> None:
        if args[0] is last[1]:
            normalised[module] = last[0]

    layers = list(forward.network.modules())
    handles = [layer.register_forward_hook(of_convolution) for layer in layers if isinstance(layer, nn.Conv2d)]
    handles += [layer.register_forward_hook(of_normalisation) for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    try:
        with torch.no_grad():
            forward(part.images, part.coefficients)
    finally:
        for handle in handles:
            handle.remove()
    later = called[1:]
    return later, {norm: convolution for norm, convolution in normalised.items() if convolution in later}


@contextmanager
def exact_differences(network: nn.Module) -> Iterator[None]:
    """captum's DeepLIFT, with ``_pool_differences`` for max pools and a tensor between any two layers, for a while.

    What a layer hands back is a hook's on its input. Where that tensor is the output of another layer with a rule, such
    as a ReLU before a pool, captum would hand the latter what came before that hook.
    """
    from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR

    theirs = SUPPORTED_NON_LINEAR[nn.MaxPool2d]
    layers = [layer for layer in network.modules() if type(layer) in SUPPORTED_NON_LINEAR]
    handles = [layer.register_forward_pre_hook(lambda layer, args: (args[0].clone(),)) for layer in layers]
    SUPPORTED_NON_LINEAR[nn.MaxPool2d] = _pool_differences
    try:
        yield
    finally:
        SUPPORTED_NON_LINEAR[nn.MaxPool2d] = theirs
        for handle in handles:
            handle.remove()


def _pool_differences(
    module: Any,
    inputs: torch.Tensor,
    outputs: torch.Tensor,
    grad_input: torch.Tensor,
    grad_output: torch.Tensor,
    eps: float = 1e-10,
) -> torch.Tensor:
    """Multipliers of a max pool's inputs: what a window gained goes to its largest pixel, what it lost to its former.

    As captum's rule; but windows that share a pixel add up, and where nothing changed each image has its own gradient.

    Args:
        inputs, outputs: (2N, ...), the images' and then the baselines'.
    """
    (image, baseline), (top, former) = inputs.chunk(2), outputs.chunk(2)
    change = torch.cat(2 * [image - baseline])
    either = torch.maximum(top, former)
    gained = torch.cat([either - former, top - either])
    window = module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode
    indices = F.max_pool2d(inputs, *window, return_indices=True)[1]
    flat = torch.zeros_like(inputs).flatten(2)
    flows = flat.scatter_add(2, indices.flatten(2), (grad_output * gained).flatten(2)).view_as(inputs)
    of_images, of_baselines = flows.chunk(2)
    total = torch.cat(2 * [of_images + of_baselines])
    changed = change.abs() >= eps
    return torch.where(changed, total / torch.where(changed, change, 1.0), grad_input)
