"""Adapts our models to other packages (oracles) that explain them, and chooses the images and classes to compare."""

import copy
from functools import cache

import torch
from saliency_models import CLASSES, COUNT, batch, explain, model_of
from torch import nn

from proxy_attention.models.classifier import Classifier
from proxy_attention.saliency.maps import scale


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
    """Compute the feature map and the gradient of the true class's score, by an ordinary hook on the whole model."""
    whole, kept = Whole(model), []
    whole.layer.register_forward_hook(lambda module, args, output: kept.append(output))
    with torch.enable_grad():
        score = whole(images).gather(1, true[:, None]).sum()
        (gradients,) = torch.autograd.grad(score, kept[0])
    return kept[0].detach(), gradients


@cache
def images_and_classes(name, size, *, saliency="gradcam", count=COUNT):
    """Return images, and for each the class with the strongest map: random weights leave some maps empty. Read only."""
    model, (images, _) = model_of(name, size), batch(size, count=count)
    every = [torch.full((count,), label) for label in range(CLASSES)]
    maps = torch.stack([explain(model, images, label, saliency=saliency) for label in every])
    with torch.no_grad():
        scores = model(images).T  # below 0, AblationCAM shows what speaks against the class
    return images, (maps.amax((2, 3)) * torch.where(scores > 0, 1.0, 1e-3)).argmax(0)


def assert_same_maps(found, expected, *, atol):
    """Check that maps are equal once both are scaled to [0, 1]; random weights leave some of them empty."""
    scaled, flat = scale(found)
    assert (~flat).sum() >= COUNT // 2
    assert (expected[flat] == 0).all()
    low, high = expected.amin((1, 2), keepdim=True), expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(scaled[~flat], ((expected - low) / (high - low))[~flat], atol=atol, rtol=0)
