"""Shared by the tests of explanations: a model of every family, images, and a record of a model's state."""

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
from proxy_attention.models.classifier import Classifier, as_float
from proxy_attention.saliency import attributions, gradients, perturbation
from proxy_attention.saliency.maps import low_resolution_maps, scale, upsample
from proxy_attention.saliency.registry import METHODS

TINY = ("test_resnet", "test_efficientnet", "test_vit")
"""A model of convolutions with ReLU, one of convolutions without ReLU, and one of attention."""

RULES = ("deconvnet", "guided-backprop", "guided-gradcam", "deeplift", "lrp")
"""Methods with a rule for ReLU, which refuse every other activation."""

ROLLOUTS = ("attention-rollout", "gradient-rollout")

REFUSED = {
    ("test_resnet", 32): (*ROLLOUTS, "vargrad/deconvnet"),
    ("test_resnet", 64): ROLLOUTS,
    ("test_efficientnet", 32): (*RULES, *ROLLOUTS),
    ("test_vit", 32): RULES,
    ("test_convnext", 32): (*RULES, *ROLLOUTS),
    ("mobilenetv3_small_050", 32): (*RULES, *ROLLOUTS),
    ("regnetx_002", 32): ("lrp", *ROLLOUTS, "vargrad/deconvnet"),
    ("deit_tiny_distilled_patch16_224", 32): RULES,
    ("densenet121", 32): ("lrp", *ROLLOUTS),
    ("vgg11", 32): ROLLOUTS,
    ("swin_tiny_patch4_window7_224", 32): (*RULES, *ROLLOUTS),
}
"""The methods that must refuse a model, alone and under noise, for a small model of every family and its image size.

At 64 pixels test_resnet keeps the max pool that it loses at 32. The table is written by hand, so that tests are
collected without building a model; a test compares it with the models.
"""

SMALLEST = (("test_resnet", 64), ("test_vit", 32))
"""Every method explains one of these; they are tried in ``make test``, the other families among the slow tests."""

SIZE = 32
CLASSES = 5
COUNT = 8
SEEDS = tuple(range(100, 100 + COUNT))


@cache
def model_of(name: str, size: int = SIZE) -> Classifier:
    """Build a model in eval mode, with random weights that pass a signal on; one is frozen, one has a gradient.

    Shared by the tests of a module: read only.
    """
    model = build(name, classes=CLASSES, image_size=size, weights="none", seed=1)
    draws = torch.Generator().manual_seed(7)
    if name.startswith("vgg"):
        _narrow(model.module.pre_logits)
        model.module.head.fc = nn.Linear(model.module.pre_logits.fc2.out_channels, CLASSES)
    for module in model.module.modules():
        if isinstance(module, nn.BatchNorm2d):  # moments as after training: not 0 and 1
            module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=draws))
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=draws))
            nn.init.normal_(module.bias, std=0.1, generator=draws)
        elif isinstance(module, nn.Linear):  # with timm's initial weights, attention is even
            nn.init.normal_(module.weight, std=1.2 * module.in_features**-0.5, generator=draws)
        if isinstance(getattr(module, "gamma", None), nn.Parameter):  # timm scales a block by 1e-6 at first
            nn.init.normal_(module.gamma, std=0.5, generator=draws)
    for linear in model.heads:
        nn.init.normal_(linear.weight, std=0.2, generator=draws)
    parameters = list(model.module.parameters())
    parameters[0].requires_grad_(False)
    parameters[-1].grad = torch.ones_like(parameters[-1])
    model.module.eval()
    return model


def _narrow(hidden: nn.Module, width: int = 64) -> None:
    """Make the two hidden layers of a VGG's head narrow: 4,096 wide, they take a hundred times as long as the rest."""
    hidden.fc1 = nn.Conv2d(hidden.fc1.in_channels, width, hidden.fc1.kernel_size)
    hidden.fc2 = nn.Conv2d(width, width, 1)


def forget() -> None:
    """Release the memory of all models."""
    model_of.cache_clear()


@contextmanager
def few_draws() -> Iterator[None]:
    """Let methods that average over steps, samples or masks take only a few: they are faster, and no less tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradients, "STEPS", 3)
        patch.setattr(attributions, "SAMPLES", 2)
        patch.setattr(attributions, "DRAWS", 70)
        patch.setattr(perturbation, "RISE_MASKS", 16)
        yield


def batch(size: int = SIZE, count: int = COUNT) -> tuple[torch.Tensor, torch.Tensor]:
    """Make images of noise with a bright patch at a different place in each, and their classes."""
    images = 0.3 * torch.rand(COUNT, 3, size, size, generator=torch.Generator().manual_seed(11))
    for i in range(COUNT):
        y, x = (i * 5 % 7) * size // 8, (i * 3 % 7) * size // 8
        images[i, :, y : y + size // 4, x : x + size // 4] += 0.6
    return images[:count], torch.arange(count) % CLASSES


def explain(model, images, true, *, saliency="gradcam", of="true", predicted=None, eigen=False, seeds=None):
    """Compute the maps of a batch; if not given, the predicted class is the one after the true class."""
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


def admitted(name: str, saliency: str, size: int = SIZE) -> bool:
    """Whether the method explains the model, by the table ``REFUSED``."""
    return not {saliency, saliency.rpartition("/")[2]} & set(REFUSED[name, size])


def smallest_for(saliency: str) -> tuple[str, int]:
    """Name a small model that the method explains, and its image size."""
    return next(model for model in SMALLEST if admitted(model[0], saliency, model[1]))


def slow_unless(quick: bool, *values: object) -> object:
    """Make the parameters of one case of a test; mark the case as slow unless it is quick."""
    return pytest.param(*values, marks=() if quick else pytest.mark.slow)


def each_method() -> list[object]:
    """List every method as a parameter of a test; those under noise are marked slow: they build on the others."""
    return [slow_unless("/" not in saliency, saliency) for saliency in METHODS]


def state_of(model: Classifier, images: torch.Tensor) -> dict[str, object]:
    """Return everything that an explanation must leave unchanged, by name; tensors as copies."""
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
    """Return what can be compared of a module's attribute: a dict's keys, a plain value, else the type."""
    if isinstance(value, dict):
        return tuple(value)
    return value if isinstance(value, bool | int | float | str | tuple | None) else type(value)


def changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """List the names of what differs between two states."""

    def same(one: object, other: object) -> bool:
        if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
            return torch.equal(one, other)
        return type(one) is type(other) and one == other

    names = before.keys() | after.keys()
    return sorted(name for name in names if not same(before.get(name, "nothing"), after.get(name, "nothing")))


def in_float64(model: Classifier) -> Classifier:
    """Copy a model to float64: in float32, a sum of 1,280 channels that cancel has errors of 1e-5 of its own."""
    exact = copy.deepcopy(model)
    exact.module.double()
    return exact


def maps_of_predictions(trained, small):
    """Compute maps of a trained classifier's predictions for 16 test images, and its confidence in the predictions.

    Returns: images, maps, confidence in the whole images, and the confidence in changed images as a function.
    """
    trained.module.eval()
    ids = small.own_test.nonzero().flatten()[::5]
    images = as_float(small.images[ids])
    with torch.no_grad():
        whole, predicted = trained(images).softmax(1).max(1)
    low = low_resolution_maps(
        trained, images, predicted=predicted, true=predicted, saliency="eigengradcam", explain="predicted"
    )

    def confidence(changed):
        with torch.no_grad():
            return trained(changed).softmax(1).gather(1, predicted[:, None])[:, 0]

    return images, scale(upsample(low, 32))[0], whole, confidence
