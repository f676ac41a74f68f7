"""Networks so small that their saliency maps are known beforehand, and a method's signed maps of them."""

import torch
from saliency_models import CLASSES
from torch import nn

from proxy_attention.saliency.interface import SaliencyInput
from proxy_attention.saliency.registry import METHODS


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
    """Build a model that captum's LRP can explain: convolutions, a max pool without overlap, a dense layer; float64."""
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


def linear_model():
    """Build a model with two scores that are linear in eight by eight pixels.

    Returns: the model, two images (2, 3, 8, 8), and the weights (2, 3, 8, 8) of the scores.
    """
    draws = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2)).double()
    for tensor in module.parameters():
        tensor.data = torch.randn(tensor.shape, generator=draws, dtype=torch.float64)
    images = torch.rand(2, 3, 8, 8, generator=draws, dtype=torch.float64)
    return Toy(module, image_size=8, classes=2), images, module[1].weight.detach().view(2, 3, 8, 8)


def difference_to_black(model, images, true):
    """Compute the score of each image's true class, minus that of the black image."""
    with torch.no_grad():
        return (model(images) - model(torch.zeros_like(images))).gather(1, true[:, None])[:, 0]
