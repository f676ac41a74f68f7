"""What the tests of explanations share: a model of every family, images, and the state that a model is found in."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from proxy_attention.models.build import build
from proxy_attention.models.classifier import Classifier
from proxy_attention.saliency import attributions, gradients, perturbation
from proxy_attention.saliency.interface import SaliencyInput
from proxy_attention.saliency.maps import low_resolution_maps
from proxy_attention.saliency.registry import METHODS

TINY = ("test_resnet", "test_efficientnet", "test_vit")
"""Every method runs on these: convolutions with ReLU, without, and attention."""

FAMILY = (
    "vgg11",
    "test_convnext",
    "densenet121",
    "mobilenetv3_small_050",
    "regnetx_002",
    "deit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "swin_tiny_patch4_window7_224",
)
"""Small models of other families. A few methods run on these in ``make test``, all of them among the slow tests."""

EVERYWHERE = ("gradcam", "layercam", "eigencam")
"""Methods that ``make test`` runs on all of them."""

SIZE = 32
CLASSES = 5
COUNT = 8
SEEDS = tuple(range(100, 100 + COUNT))


@cache
def model_of(name: str, size: int = SIZE) -> Classifier:
    """A model in eval mode at random weights that let a signal through; one weight is frozen, one has a gradient.

    Shared by the tests of a module: read only.
    """
    model = build(name, classes=CLASSES, image_size=size, weights="none", seed=1)
    draws = torch.Generator().manual_seed(7)
    if name.startswith("vgg"):
        _narrow(model.module.pre_logits)
        model.module.head.fc = nn.Linear(model.module.pre_logits.fc2.out_channels, CLASSES)
    for module in model.module.modules():
        if isinstance(module, nn.BatchNorm2d):  # moments as training would leave them: unlike 0 and 1
            module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=draws))
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=draws))
            nn.init.normal_(module.bias, std=0.1, generator=draws)
        elif isinstance(module, nn.Linear):  # as timm starts them, all attention is even
            nn.init.normal_(module.weight, std=1.2 * module.in_features**-0.5, generator=draws)
        if isinstance(getattr(module, "gamma", None), nn.Parameter):  # a block's share of what it adds to: 1e-6
            nn.init.normal_(module.gamma, std=0.5, generator=draws)
    for linear in model.heads:
        nn.init.normal_(linear.weight, std=0.2, generator=draws)
    parameters = list(model.module.parameters())
    parameters[0].requires_grad_(False)
    parameters[-1].grad = torch.ones_like(parameters[-1])
    model.module.eval()
    return model


def _narrow(hidden: nn.Module, width: int = 64) -> None:
    """Make the two hidden layers of a VGG's head narrow: 4,096 wide, they take a hundred times the rest's time."""
    hidden.fc1 = nn.Conv2d(hidden.fc1.in_channels, width, hidden.fc1.kernel_size)
    hidden.fc2 = nn.Conv2d(width, width, 1)


def forget() -> None:
    """Give the memory of all models back."""
    model_of.cache_clear()


@contextmanager
def few_draws() -> Iterator[None]:
    """Methods that average over steps, samples or masks take a few: what they owe each image is owed all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradients, "STEPS", 3)
        patch.setattr(attributions, "SAMPLES", 2)
        patch.setattr(attributions, "DRAWS", 70)
        patch.setattr(perturbation, "RISE_MASKS", 16)
        yield


def batch(size: int = SIZE, count: int = COUNT) -> tuple[torch.Tensor, torch.Tensor]:
    """Images with something to look at, a bright patch at another place of each on noise; and their classes."""
    images = 0.3 * torch.rand(COUNT, 3, size, size, generator=torch.Generator().manual_seed(11))
    for i in range(COUNT):
        y, x = (i * 5 % 7) * size // 8, (i * 3 % 7) * size // 8
        images[i, :, y : y + size // 4, x : x + size // 4] += 0.6
    return images[:count], torch.arange(count) % CLASSES


def explain(model, images, true, *, saliency="gradcam", of="true", predicted=None, eigen=False, seeds=None):
    """The maps of a batch; taken for the class after the true one, unless said."""
    return low_resolution_maps(
        model,
        images,
        predicted=(true + 1) % model.classes if predicted is None else predicted,
        true=true,
        saliency=saliency,
        explain=of,
        eigen_smooth=eigen,
        seeds=seeds,
    )


def admitted(name: str, saliency: str) -> bool:
    """Whether this model can be explained by this method."""
    return METHODS[saliency].lacks(model_of(name)) is None


def state_of(model: Classifier, images: torch.Tensor) -> dict[str, object]:
    """All that an explanation must leave as it found it, by name; tensors as copies."""
    state: dict[str, object] = {
        "images": images.clone(),
        "images' graph": (images.requires_grad, images.grad, images.is_inference()),
        "torch's draws": torch.get_rng_state(),
        "numpy's draws": repr(np.random.get_state()),  # noqa: NPY002
        "python's draws": random.getstate(),
        "graph mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "settings": (torch.get_default_dtype(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()),
    }
    for name, module in model.module.named_modules():
        state[f"{name} itself"] = (id(module), type(module))
        state[f"{name} attributes"] = {key: _comparable(value) for key, value in vars(module).items()}
    for name, tensor in model.module.named_parameters():
        state[f"{name} graph"] = (id(tensor), tensor.requires_grad, len(tensor._backward_hooks or ()))
        state[f"{name} gradient"] = None if tensor.grad is None else tensor.grad.clone()
    for name, tensor in model.module.state_dict().items():
        state[f"{name} values"] = tensor.clone()
    return state


def _comparable(value: object) -> object:
    """A module's attribute without what it holds itself: containers by their keys, tensors and modules by name."""
    if isinstance(value, dict):
        return tuple(value)
    return value if isinstance(value, bool | int | float | str | tuple | None) else type(value)


def changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """The names of what differs between two states."""

    def same(one: object, other: object) -> bool:
        if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
            return torch.equal(one, other)
        return type(one) is type(other) and one == other

    names = before.keys() | after.keys()
    return sorted(name for name in names if not same(before.get(name, "nothing"), after.get(name, "nothing")))


def in_float64(model: Classifier) -> Classifier:
    """A copy that computes in float64: a sum of 1,280 channels that cancel has errors of 1e-5 of its own in float32."""
    exact = copy.deepcopy(model)
    exact.module.double()
    return exact


def as_map(model: Classifier, output: torch.Tensor) -> torch.Tensor:
    """A feature layer's output, or its gradient, as (N, K, h, w), by its shape alone: the model is not asked."""
    height, width = model.grid
    if output.ndim == 3:
        return output[:, -height * width :].unflatten(1, (height, width)).permute(0, 3, 1, 2)
    return output if output.shape[1] == model.channels else output.permute(0, 3, 1, 2)


class Visible(nn.Module):
    """A layer whose output passes through ``seen`` as (N, K, h, w), where an oracle can see it."""

    def __init__(self, layer: nn.Module, model: Classifier) -> None:
        super().__init__()
        self.layer, self.seen, self._grid, self._channels = layer, nn.Identity(), model.grid, model.channels

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        output = self.layer(*args)
        height, width = self._grid
        if output.ndim == 4:
            if output.shape[1] == self._channels:
                return self.seen(output)
            return self.seen(output.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        prefix = output.shape[1] - height * width
        maps = self.seen(output[:, prefix:].unflatten(1, (height, width)).permute(0, 3, 1, 2))
        return torch.cat([output[:, :prefix], maps.flatten(2).transpose(1, 2)], dim=1)


class Whole(nn.Module):
    """A copy of a classifier with its normalisation as the one module that an oracle asks for."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.classifier = copy.deepcopy(model)
        self.module = self.classifier.module
        visible = Visible(self.module.get_submodule(model.feature_layer), model)
        self.module.set_submodule(model.feature_layer, visible)
        self.layer = visible.seen

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(images)


def features_and_gradients(model: Classifier, images: torch.Tensor, true: torch.Tensor):
    """The feature map and the gradient of the true class's score, by an ordinary hook on the whole model."""
    whole, kept = Whole(model), []
    whole.layer.register_forward_hook(lambda module, args, output: kept.append(output))
    with torch.enable_grad():
        score = whole(images).gather(1, true[:, None]).sum()
        (gradients,) = torch.autograd.grad(score, kept[0])
    return kept[0].detach(), gradients


class Toy:
    """A network that takes pixels as they are, with what an explanation asks of a classifier."""

    linear_head = None

    def __init__(self, module, *, image_size, classes, feature_layer="0"):
        self.module, self.image_size, self.classes, self.feature_layer = (
            module.eval(),
            image_size,
            classes,
            feature_layer,
        )

    def __call__(self, images):
        return self.module(images)

    def as_map(self, features):
        return features


def signed(model, saliency, images, coefficients):
    """Compute a method's signed maps."""
    inputs = SaliencyInput(model, images, coefficients, list(range(len(images))))
    return METHODS[saliency].maps(inputs).detach()


def one_hot(labels, like):
    return torch.nn.functional.one_hot(labels, CLASSES).to(like)


def chain():
    """Convolutions, a max pool without overlap and a dense layer, in float64, as captum's LRP can take it."""
    draws = torch.Generator().manual_seed(3)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, CLASSES, 1),
    ).double()  # fmt: skip
    for tensor in module.parameters():
        tensor.data = 0.3 * torch.randn(tensor.shape, generator=draws, dtype=torch.float64)

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = module

        def forward(self, images):
            return self.layers(images).flatten(1)

    return Toy(Chain(), image_size=16, classes=CLASSES, feature_layer="layers.6")
