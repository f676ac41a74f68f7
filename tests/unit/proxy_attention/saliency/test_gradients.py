"""Methods that differentiate: values by hand on a linear model and a ReLU, and what a path hands out."""

import pytest
import torch
from saliency_models import batch as images_of
from saliency_models import few_draws, forget, in_float64, model_of
from saliency_toys import Toy, difference_to_black, linear_model, one_hot, signed
from torch import nn

from proxy_attention.saliency import captum_adapter, gradients
from proxy_attention.saliency.gradients import GRADIENTS
from proxy_attention.saliency.interface import SaliencyInput

pytestmark = pytest.mark.filterwarnings("ignore:\\s*Setting (forward|backward).*hooks:UserWarning")

COUNT = 2
SEEDS = (5, 6)
NETWORKS = ("test_resnet", "test_efficientnet", "test_vit")


@pytest.fixture(scope="module", autouse=True)
def frugal():
    with few_draws():
        yield
    forget()


def batch(size=32):
    return images_of(size, COUNT)


@pytest.fixture
def linear():
    return linear_model()


@pytest.mark.parametrize("saliency", ["input-x-gradient", "integrated-gradients", "deeplift", "lrp"])
def test_on_a_linear_model_a_pixel_gets_its_weight_times_its_value(linear, saliency):
    model, images, weight = linear

    found = signed(model, saliency, images, torch.eye(2))

    torch.testing.assert_close(found, (weight * images).sum(1), atol=1e-6, rtol=0)  # captum rounds the steps' sizes


def test_on_a_linear_model_the_gradient_is_the_weight_and_its_largest_channel_is_shown(linear):
    model, images, weight = linear

    assert torch.equal(signed(model, "saliency", images, torch.eye(2)), weight.abs().amax(1))
    assert torch.equal(
        signed(model, "saliency", images, torch.tensor([[1.0, -1.0]] * 2))[0], (weight[0] - weight[1]).abs().amax(0)
    )


@pytest.mark.parametrize(
    ("saliency", "expected"),
    [("input-x-gradient", 2 + 0 - 1), ("saliency", 2), ("guided-backprop", 2), ("deconvnet", 2 + 3)],
)
def test_each_rule_for_relu_by_hand(saliency, expected):
    """Hidden values 1, -1, 1 reach the score with weights 2, 3, -1."""
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(3, 1, bias=False))
    module[0].weight.data = torch.eye(3)[:, :, None, None]
    module[0].bias.data = torch.tensor([0.0, -2.0, 0.0])
    module[3].weight.data = torch.tensor([[2.0, 3.0, -1.0]])

    found = signed(Toy(module, image_size=1, classes=1), saliency, torch.ones(1, 3, 1, 1), torch.ones(1, 1))

    assert found.tolist() == [[[expected]]]
    assert module[1].inplace


@pytest.mark.parametrize("name", NETWORKS)
def test_integrated_gradients_miss_less_than_a_hundredth_of_what_they_hand_out(name, monkeypatch):
    monkeypatch.setattr(gradients, "STEPS", 32)
    model, (images, true) = model_of(name), batch()
    inputs = SaliencyInput(model, images, one_hot(true, images), SEEDS)

    found = captum_adapter.attribute_in_batches(inputs, GRADIENTS["integrated-gradients"].attribute)

    missed = (found.sum((1, 2, 3)) - difference_to_black(model, images, true)).abs()
    assert (missed < 0.01 * found.abs().sum((1, 2, 3))).all()


def test_conductance_of_a_map_that_a_linear_head_pools_misses_nothing():
    model, (images, true) = in_float64(model_of("test_resnet")), batch()
    images = images.double()

    found = signed(model, "layer-conductance", images, one_hot(true, images)).sum((1, 2))

    torch.testing.assert_close(found, difference_to_black(model, images, true), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("saliency", ["integrated-gradients", "layer-conductance"])
def test_points_of_a_path_are_added_up_in_the_same_portions_whatever_else_is_asked(saliency, monkeypatch):
    """Portions of two points: so few that an image is computed alone, and its map must be the same to the bit."""
    model, (images, true) = model_of("test_resnet"), batch()
    monkeypatch.setattr(gradients, "STEPS", 8)
    monkeypatch.setattr(captum_adapter, "CHUNK_PIXELS", 2 * 32**2)
    monkeypatch.setattr(gradients, "CHUNK_PIXELS", 2 * 32**2)

    together, alone = (signed(model, saliency, some, one_hot(true[: len(some)], some)) for some in (images, images[:1]))

    assert torch.equal(together[:1], alone)
