"""RISE: its masks, and its map of a model that looks at one place only."""

from types import SimpleNamespace

import pytest
import torch

from proxy_attention.saliency import perturbation
from proxy_attention.saliency.interface import SaliencyInput
from proxy_attention.saliency.perturbation import RISE_KEPT, RISE_MASKS, random_masks, rise

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
