"""LRP and DeepLIFT: relevance by hand, kept from layer to layer, and differences handed out through max pools."""

import pytest
import torch
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
from saliency_models import batch as images_of
from saliency_models import forget, in_float64, model_of
from saliency_toys import Toy, chain, difference_to_black, one_hot, signed
from torch import nn

from proxy_attention.saliency import relevance

pytestmark = pytest.mark.filterwarnings("ignore:\\s*Setting (forward|backward).*hooks:UserWarning")

COUNT = 2


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    yield
    forget()


def batch(size=32):
    return images_of(size, COUNT)


def test_relevance_by_hand_counts_weights_that_agree_with_the_output_a_quarter_more():
    """Two pixels reach the first layer as 1 and 2, and the score by weights 3 and -1: 3 * 1 - 1 * 2 = 1."""
    module = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.ReLU(), nn.Conv2d(1, 1, (1, 2), bias=False), nn.Flatten())
    module[0].weight.data = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    module[2].weight.data = torch.tensor([3.0, -1.0]).view(1, 1, 1, 2)
    images = torch.tensor([1.0, 2.0]).expand(1, 3, 1, 2)

    found = signed(Toy(module, image_size=2, classes=1), "lrp", images, torch.ones(1, 1))

    assert found.flatten().tolist() == pytest.approx([3.75 / 1.75, -2 / 1.75])


@pytest.mark.parametrize("size", [32, 64])
def test_relevance_is_kept_by_a_network_without_biases(size):
    model, (images, true) = in_float64(model_of("test_resnet", size)), batch(size)
    model._mean = torch.zeros_like(model._mean)
    for module in model.module.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.zero_()
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            module.bias.data.zero_()
    images = images.double()
    score = model(images).gather(1, true[:, None])[:, 0].detach()

    found = signed(model, "lrp", images, one_hot(true, images))

    lost = (found.sum((1, 2)) - score).abs() / found.abs().sum((1, 2))
    assert lost.max() < 1e-9
    plain = signed(model, "input-x-gradient", images, one_hot(true, images))
    assert (found - plain).abs().max() > 0.01 * plain.abs().max()  # gamma does something


def test_deeplift_hands_out_all_of_the_difference_to_black_through_a_pool_behind_a_relu():
    model, (images, true) = chain(), batch(16)
    images = images.double()

    found = signed(model, "deeplift", images, one_hot(true, images)).sum((1, 2))

    torch.testing.assert_close(found, difference_to_black(model, images, true), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("size", [32, 64])
def test_deeplift_hands_out_all_of_the_difference_to_black_even_where_windows_overlap(size):
    model, (images, true) = in_float64(model_of("test_resnet", size)), batch(size)
    pools = [module for module in model.module.modules() if isinstance(module, nn.MaxPool2d)]
    assert [pool.kernel_size > pool.stride for pool in pools] == ([True] if size == 64 else [])
    images = images.double()

    found = signed(model, "deeplift", images, one_hot(true, images)).sum((1, 2))

    torch.testing.assert_close(found, difference_to_black(model, images, true), atol=1e-9, rtol=1e-9)
    assert SUPPORTED_NON_LINEAR[nn.MaxPool2d] is not relevance._pool_differences
