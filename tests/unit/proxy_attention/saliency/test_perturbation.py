"""AblationCAM and ScoreCAM by hand, on networks of a line; RISE on a model that looks at one place only."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from proxy_attention.saliency import perturbation
from proxy_attention.saliency.interface import SaliencyInput
from proxy_attention.saliency.perturbation import RISE_KEPT, RISE_MASKS, ablationcam, random_masks, rise, scorecam

IMAGES = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]], [[0.0, 0.0], [4.0, 0.0]]]])
"""Channels whose means are 1, 2 and 1."""


class Network(nn.Module):
    """Its feature map is the image; its two logits are what is said of the channels' means."""

    def __init__(self, head) -> None:
        super().__init__()
        self.features, self.head = nn.Identity(), head

    def forward(self, images):
        return self.head(self.features(images).mean((2, 3)))


class Toy:
    """What an explanation needs of a classifier."""

    feature_layer, grid, channels, classes = "features", (2, 2), 3, 2

    def __init__(self, head) -> None:
        self.module, self.linear_head = Network(head), head if isinstance(head, nn.Linear) else None

    def __call__(self, images):
        return self.module(images)

    def forward_with_features(self, images):
        return images.clone(), self(images)

    def as_map(self, features):
        return features

    def with_zeroed(self, features, channel):
        zeroed = features.clone()
        zeroed[torch.arange(len(features)), channel] = 0
        return zeroed


class Product(nn.Module):
    """The first logit is the product of the first two means, the second the third."""

    def forward(self, means):
        return torch.stack([means[:, 0] * means[:, 1], means[:, 2]], dim=1)


def linear(bias):
    head = nn.Linear(3, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.0, 1.0]]))
        head.bias.copy_(torch.tensor([bias, 0.0]))
    return head


def inputs_of(model, coefficients, images=IMAGES):
    return SaliencyInput(model, images, torch.tensor(coefficients).expand(len(images), 2), [0] * len(images))


def weights_of(method, *args):
    features, weights = method(inputs_of(*args))
    assert torch.equal(features, IMAGES)
    return weights[0, :, 0, 0].tolist()


def test_ablation_under_a_linear_head_is_each_channels_part_of_the_score():
    # score 1 + 4 - 1 + 4 = 8, of which the channels hold 1, 4 and -1
    assert weights_of(ablationcam, Toy(linear(4.0)), [1.0, 0.0]) == [1 / 8, 4 / 8, -1 / 8]


def test_ablation_under_any_other_head_is_what_the_score_loses():
    # score 2; it is lost without the first or the second channel, and does not know the third
    assert weights_of(ablationcam, Toy(Product()), [1.0, 0.0]) == [1.0, 1.0, 0.0]
    # contrast 2 - 1: without a channel -1, -1 and 2
    assert weights_of(ablationcam, Toy(Product()), [1.0, -1.0]) == [2.0, 2.0, -1.0]


def test_ablation_by_passes_is_ablation_by_the_heads_weights():
    by_weights, by_passes = Toy(linear(4.0)), Toy(linear(4.0))
    by_passes.linear_head = None

    for coefficients in ([1.0, 0.0], [0.0, 1.0], [1.0, -1.0]):
        found = weights_of(ablationcam, by_passes, coefficients)
        assert found == pytest.approx(weights_of(ablationcam, by_weights, coefficients))


@pytest.mark.parametrize("head", [linear(-4.0), Product()])
def test_a_score_of_zero_has_no_parts(head):
    coefficients = [1.0, 0.0] if isinstance(head, nn.Linear) else [1.0, -2.0]

    assert weights_of(ablationcam, Toy(head), coefficients) == [0.0, 0.0, 0.0]


def test_a_score_below_zero_is_lost_by_what_speaks_against_it():
    # score 1 + 4 - 1 - 8 = -4
    assert weights_of(ablationcam, Toy(linear(-8.0)), [1.0, 0.0]) == [-1 / 4, -1, 1 / 4]


def test_scorecam_weighs_a_channel_by_the_score_of_the_image_behind_it():
    # masks: (1/3, 1, 0, 0); none, as the channel is flat; (0, 0, 1, 0)
    # means behind the first (10/12, 2 * 4/12, 0), behind the third (0, 1/2, 1): products 20/36, 0 and 0
    expected = torch.tensor([20 / 36, 0.0, 0.0]).softmax(0).tolist()

    assert weights_of(scorecam, Toy(Product()), [1.0, 0.0]) == pytest.approx(expected)


def test_scorecam_takes_a_linear_heads_bias_for_nothing():
    assert weights_of(scorecam, Toy(linear(0.0)), [1.0, 0.0]) == pytest.approx(
        weights_of(scorecam, Toy(linear(50.0)), [1.0, 0.0])
    )


@pytest.mark.parametrize("factor", [1e-20, 1e20])
def test_scorecams_masks_do_not_depend_on_the_unit_of_the_features(factor):
    model = Toy(Product())
    model.forward_with_features = lambda images: (images * factor, model(images))

    found = scorecam(inputs_of(model, [1.0, 0.0]))[1][0, :, 0, 0].tolist()

    assert found == pytest.approx(weights_of(scorecam, Toy(Product()), [1.0, 0.0]))


def test_a_constant_channel_shows_nothing_whatever_upsampling_makes_of_it():
    model = Toy(Product())
    images = torch.rand(1, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    features = torch.rand(1, 200, 1, 1, generator=torch.Generator().manual_seed(1)).expand(1, 200, 3, 3)
    model.forward_with_features, model.channels = lambda images: (features, model(images)), 200

    weights = scorecam(inputs_of(model, [1.0, 0.0], images))[1]

    assert torch.equal(weights, torch.full_like(weights, 1 / 200))


@pytest.mark.parametrize("method", [ablationcam, scorecam])
def test_channels_in_chunks_are_the_channels_at_once(method, monkeypatch):
    images = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    inputs = inputs_of(Toy(Product()), [1.0, -1.0], images)
    expected = method(inputs)[1]

    monkeypatch.setattr(perturbation, "CHUNK_PIXELS", 1)

    assert torch.equal(method(inputs)[1], expected)


@pytest.mark.parametrize("method", [ablationcam, scorecam])
@pytest.mark.parametrize("head", [linear(1.0), Product()])
def test_no_image_has_no_weights(method, head):
    features, weights = method(inputs_of(Toy(head), [1.0, 0.0], IMAGES[:0]))

    assert features.shape == (0, 3, 2, 2)
    assert weights.shape == (0, 3, 1, 1)


# ---- RISE

SIZE = 32


def masks_of(seed, size=SIZE):
    return torch.cat(list(random_masks(torch.Generator().manual_seed(seed), size)))


class Looker:
    """Sure of class 0 as far as the pixels of one square are bright."""

    module = SimpleNamespace()
    square = (slice(20, 26), slice(4, 10))

    def __call__(self, images):
        light = images[:, 0][:, *self.square].mean((1, 2))
        return torch.stack([8 * light, 4 * torch.ones_like(light)], dim=1)


def rise_maps(seeds=(5,), sign=1.0):
    images = torch.ones(len(seeds), 3, SIZE, SIZE)
    coefficients = sign * torch.tensor([[1.0, 0.0]] * len(seeds))
    return rise(SaliencyInput(Looker(), images, coefficients, seeds))


def test_masks_keep_half_of_every_pixel_on_average_and_differ_by_their_generator():
    masks = masks_of(0)

    assert masks.shape == (RISE_MASKS, SIZE, SIZE)
    assert 0 <= masks.min() < masks.max() <= 1
    assert masks.mean((1, 2)).std() > 0.02
    torch.testing.assert_close(masks.mean(0), torch.full((SIZE, SIZE), RISE_KEPT), atol=0.1, rtol=0)
    assert torch.equal(masks, masks_of(0))
    assert not torch.equal(masks, masks_of(1))


@pytest.mark.parametrize("size", [16, 17, 32, 50])
def test_masks_fit_any_size(size):
    assert masks_of(0, size).shape == (RISE_MASKS, size, size)


def test_no_more_masks_are_there_at_once_than_may_be_in_flight_and_they_are_the_same(monkeypatch):
    expected = masks_of(0)
    monkeypatch.setattr(perturbation, "CHUNK_PIXELS", 5 * SIZE**2)

    parts = list(random_masks(torch.Generator().manual_seed(0), SIZE))

    assert max(map(len, parts)) == 5
    assert torch.equal(torch.cat(parts), expected)


def test_the_map_is_the_mean_of_the_masks_weighted_by_how_sure_the_model_is():
    masks = masks_of(5)
    sure = Looker()(masks[:, None].expand(-1, 3, -1, -1)).softmax(1)[:, 0]

    expected = (sure[:, None, None] * masks).mean(0) / RISE_KEPT

    torch.testing.assert_close(rise_maps()[0], expected)


def test_the_map_is_highest_where_the_model_looks():
    found = rise_maps()[0]

    assert found[Looker.square].mean() > found.mean() + 2 * found.std()


def test_an_image_is_seen_through_the_masks_of_its_own_seed():
    together, alone = rise_maps((5, 6, 5)), rise_maps((6,))

    assert torch.equal(together[0], together[2])
    assert not torch.equal(together[0], together[1])
    torch.testing.assert_close(together[1], alone[0])


def test_the_opposite_score_gives_the_opposite_map():
    torch.testing.assert_close(rise_maps(sign=-1.0), -rise_maps())
