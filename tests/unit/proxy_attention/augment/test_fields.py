"""Numbers and fields from uniform draws: quantiles, partners, boxes, noise."""

import itertools

import numpy as np
import pytest
import scipy.special
import torch

from proxy_attention.augment.fields import (
    Boxes,
    beta,
    boxes_around,
    boxes_of_area,
    normal_field,
    partner_ring,
    uniform_field,
    whole,
)


def draws_of(count, seed=0):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed))


def test_a_field_is_the_hash_that_another_program_computes():
    def mix(x):
        x = ((x ^ x >> 16) * 0x21F0AAAD) % 2**32
        x = ((x ^ x >> 15) * 0xD35A2D97) % 2**32
        return x ^ x >> 15

    draws = torch.tensor([0.0, 0.7])
    keys = [mix(int(np.float32(value).view(np.uint32))) for value in (0.0, 0.7)]
    expected = [[(mix(mix(n * 0x9E3779B9 % 2**32) ^ key) >> 8) / 2**24 for n in range(1, 7)] for key in keys]

    assert uniform_field(draws, (2, 3)).flatten(1).tolist() == expected


@pytest.mark.parametrize("field", [uniform_field, normal_field])
def test_a_field_of_an_image_is_the_same_in_every_batch(field):
    draws = draws_of(5)

    together = field(draws, (3, 7, 6))

    assert together.shape == (5, 3, 7, 6)
    assert together.dtype == torch.float32
    assert torch.equal(together[3:4], field(draws[3:4], (3, 7, 6)))


def test_fields_are_uniform_and_neither_neighbours_nor_images_are_alike():
    near = torch.arange(64) * 2.0**-24  # the smallest steps that a draw takes
    fields = uniform_field(near, (64, 64))

    counts = torch.histc(fields, bins=64, min=0, max=1)
    expected = fields.numel() / 64
    assert ((counts - expected) ** 2 / expected).sum() < 120  # chi squared of 63, one time in 20,000
    assert fields.min() >= 0
    assert fields.max() < 1
    centred = fields - 0.5
    for other in (centred.roll(1, 0), centred.roll(1, 1), centred.roll(1, 2)):
        assert abs((centred * other).mean() * 12) < 5 / fields.numel() ** 0.5


def test_a_normal_field_has_the_normal_distribution():
    values = normal_field(draws_of(8), (128, 128)).flatten().double()

    probabilities = torch.tensor([0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999], dtype=torch.float64)
    below = torch.stack([(values < scipy.special.ndtri(p)).double().mean() for p in probabilities.tolist()])
    assert values.isfinite().all()
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01
    assert ((below - probabilities).abs() < 5 * (probabilities * (1 - probabilities) / len(values)).sqrt()).all()


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0])
def test_beta_is_the_quantile_at_each_draw(alpha):
    draws = torch.cat((torch.tensor([0.0, 2.0**-24, 0.5, 1 - 2.0**-24]), draws_of(20_000)))

    expected = scipy.special.betaincinv(alpha, alpha, draws.double().numpy())

    np.testing.assert_allclose(beta(draws, alpha).numpy(), expected, rtol=0, atol=1e-6)


def test_a_draw_below_one_names_one_of_the_count():
    assert whole(torch.tensor([0.0, 0.49, 0.5, 1 - 2.0**-24]), 2).tolist() == [0, 0, 1, 1]
    assert whole(torch.tensor([1 - 2.0**-24]), 224).tolist() == [223]


@pytest.mark.parametrize("count", [2, 3, 64])
def test_each_image_has_another_as_its_partner_and_each_is_used_once(count):
    partner = partner_ring(draws_of(count))

    assert sorted(partner.tolist()) == list(range(count))
    assert (partner != torch.arange(count)).all()


def test_a_lone_image_is_its_own_partner_and_equal_draws_still_make_a_ring():
    assert partner_ring(draws_of(1)).tolist() == [0]
    assert sorted(partner_ring(torch.zeros(4)).tolist()) == [0, 1, 2, 3]


def test_every_partner_is_as_likely():
    pairs = torch.stack([partner_ring(row) for row in draws_of(3000 * 3).view(-1, 3)])

    assert abs((pairs == torch.tensor([1, 2, 0])).all(1).float().mean() - 0.5) < 0.05


def test_a_box_is_cut_at_the_border_and_knows_its_pixels():
    middle = torch.tensor([0, 2, 3])
    side = torch.tensor([3, 2, 2])

    boxes = boxes_around(middle, middle + 1, high=side, wide=side + 1, height=4, width=5)

    edges = torch.stack((boxes.top, boxes.bottom, boxes.left, boxes.right), dim=1)
    assert edges.tolist() == [[0, 2, 0, 3], [1, 3, 2, 5], [2, 4, 3, 5]]
    inside = boxes.inside(4, 5)
    assert inside.flatten(1).sum(1).tolist() == [6, 6, 4]
    assert torch.equal(boxes.share(4, 5), inside.float().mean((1, 2)))
    for image, row, column in itertools.product(range(3), range(4), range(5)):
        top, bottom, left, right = edges[image].tolist()
        assert inside[image, row, column] == (top <= row < bottom and left <= column < right)


def test_a_box_of_an_area_has_the_images_shape():
    middle = torch.tensor([4, 4, 4])

    boxes = boxes_of_area(middle, middle * 2, torch.tensor([0.25, 0.0, 1.0]), height=8, width=16)

    assert isinstance(boxes, Boxes)
    assert boxes.share(8, 16).tolist() == [0.25, 0.0, 1.0]
    assert [boxes.top[0].item(), boxes.bottom[0].item(), boxes.left[0].item(), boxes.right[0].item()] == [2, 6, 4, 12]
