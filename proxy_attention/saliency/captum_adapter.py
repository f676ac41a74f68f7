"""Adapts a classifier to captum: wraps its score, restores it afterwards, limits the batch; knows no method."""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from proxy_attention.saliency.interface import CHUNK_PIXELS, ExplainedModel, SaliencyInput

NOTICES = (
    "Setting backward hooks on ReLU activations",
    r"\s*Setting forward, backward hooks and attributes on non-linear",
)
"""What captum warns of at every call, and ``prepared_for_captum`` handles: how the messages begin."""


class ScoreModule(nn.Module):
    """A classifier as captum wants it: from images and coefficients to the explained score.

    The coefficients are an argument, because captum repeats arguments as it repeats the images.
    """

    def __init__(self, model: ExplainedModel) -> None:
        super().__init__()
        self.network = model.module  # a child, so that captum finds its layers
        self.classifier = model

    def forward(self, images: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
        """Scores (N,) of images (N, 3, H, W) in [0, 1], under coefficients (N, C) on the logits."""
        return (coefficients * self.classifier(images)).sum(dim=1)


AttributeFunction: TypeAlias = Callable[[ScoreModule, SaliencyInput], torch.Tensor]
"""From a score module and as many images as may be computed at once, to their attributions (N, ..., h, w)."""


@contextmanager
def prepared_for_captum(model: ExplainedModel) -> Iterator[ScoreModule]:
    """Prepare a model for captum: no in-place activations, no gradients of parameters; yield its score as a module.

    Afterwards, or after an exception, every module has the attributes and hooks that it had: captum leaves some behind.
    """
    before = [(module, _attributes(module)) for module in model.module.modules()]
    needing = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
    device = next(model.module.parameters()).device
    try:
        for module, attributes in before:
            if attributes.get("inplace"):
                module.inplace = False  # captum's hooks look at what an activation took in
        for parameter in needing:
            parameter.requires_grad_(False)
        with warnings.catch_warnings(), torch.autocast(device.type, enabled=False), torch.enable_grad():
            for notice in NOTICES:
                warnings.filterwarnings("ignore", message=notice, category=UserWarning)
            yield ScoreModule(model)
    finally:
        for module, attributes in before:
            _put_back(module, attributes)
        for parameter in needing:
            parameter.requires_grad_(True)


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Copy a module's own attributes; of dictionaries, such as hooks, the entries."""
    return {name: value.copy() if isinstance(value, dict) else value for name, value in vars(module).items()}


def _put_back(module: nn.Module, attributes: dict[str, Any]) -> None:
    """Restore what ``_attributes`` copied; dictionaries stay the objects that others may hold."""
    own = vars(module)
    for name in own.keys() - attributes.keys():
        del own[name]
    for name, value in attributes.items():
        if isinstance(value, dict) and isinstance(own.get(name), dict):
            own[name].clear()
            own[name].update(value)
        else:
            own[name] = value


def images_at_once(inputs: SaliencyInput, *, copies: int = 1) -> int:
    """Limit how many images are computed at once, each of them ``copies`` times; at least one."""
    return max(CHUNK_PIXELS // (inputs.images[0, 0].numel() * copies), 1)


def parts(inputs: SaliencyInput, size: int) -> Iterator[SaliencyInput]:
    """Split the inputs into parts of at most ``size`` images, which are leaves that need a gradient."""
    for start in range(0, len(inputs.images), size):
        here = slice(start, start + size)
        yield replace(
            inputs,
            images=inputs.images[here].detach().clone().requires_grad_(),
            coefficients=inputs.coefficients[here],
            seeds=inputs.seeds[here],
        )


def attribute_in_batches(inputs: SaliencyInput, attribute: AttributeFunction) -> torch.Tensor:
    """Attribute in batches of as many images as ``images_at_once`` allows."""
    with prepared_for_captum(inputs.model) as forward:
        return torch.cat([attribute(forward, part).detach() for part in parts(inputs, images_at_once(inputs))])


def attribute_one_by_one(inputs: SaliencyInput, attribute: AttributeFunction) -> torch.Tensor:
    """Attribute each image on its own, under its seed.

    Its changed copies fill a batch, and no rounding depends on other images.
    """
    found = []
    with prepared_for_captum(inputs.model) as forward:
        for part in parts(inputs, 1):
            with seeded(part.seeds[0], inputs.images.device):
                found.append(attribute(forward, part).detach())
    return torch.cat(found)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch on the CPU and on this device, and numpy; restore their random states afterwards."""
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        # ``torch.manual_seed`` would seed every GPU, and only what is forked is put back
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            stack.enter_context(torch.cuda.device(device))
            torch.cuda.manual_seed(seed)
        numpy_state = np.random.get_state()  # noqa: NPY002 - captum's gradient SHAP draws from numpy's global state
        stack.callback(np.random.set_state, numpy_state)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        stack.callback(random.setstate, random.getstate())  # drawn from where scikit-learn is first imported
        yield
