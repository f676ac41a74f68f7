"""Masks of controls, the partners of images, and which pixels change."""

import numpy as np
import pytest
import torch

from proxy_attention.config import REGION
from proxy_attention.proxies.masks import MASKS, UNTRAINED, changed_pixels, invert, partners, shift


def maps(count=4, height=5, width=5):
    return torch.rand(count, height, width, generator=torch.Generator().manual_seed(2))


def draws(count=4):
    return torch.rand(count, 1, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", MASKS)
def test_every_mask_keeps_the_values_of_each_map_and_their_area(name):
    given = maps()
    before = given.clone()

    out = MASKS[name](given, draws())

    assert out.shape == given.shape
    assert torch.equal(out.flatten(1).sort(1).values, given.flatten(1).sort(1).values)
    assert torch.equal(given, before)
    for threshold in (0.0, 0.3, 0.9, 1.0, "mean+1sd", "mean+2sd"):
        areas = [changed_pixels(m, threshold=threshold, max_area=1.0).sum((1, 2)) for m in (given, out)]
        assert torch.equal(*areas)


@pytest.mark.parametrize("name", MASKS)
def test_every_mask_treats_each_map_on_its_own(name):
    given, table = maps(), draws()

    alone = torch.cat([MASKS[name](given[i : i + 1], table[i : i + 1]) for i in range(4)])

    assert torch.equal(MASKS[name](given, table), alone)


@pytest.mark.parametrize("name", MASKS)
def test_every_mask_takes_no_map_at_all(name):
    assert MASKS[name](maps(0), draws(0)).shape == (0, 5, 5)


@pytest.mark.parametrize("name", ["saliency", "other", UNTRAINED, REGION])
def test_a_mask_that_is_the_map_leaves_it_as_it_is(name):
    assert torch.equal(MASKS[name](maps(), draws()), maps())


def test_every_mask_is_known_to_these_tests():
    assert set(MASKS) == {"saliency", "random", "other", "inverse", UNTRAINED, REGION}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("value", [0.0, 0.25])
def test_a_map_without_a_range_stays_what_it_is_under_every_mask(name, value):
    given = torch.full((4, 5, 5), value)

    assert torch.equal(MASKS[name](given, draws()), given)


@pytest.mark.parametrize("name", MASKS)
def test_every_mask_takes_a_map_of_one_pixel(name):
    assert MASKS[name](torch.tensor([[[0.7]]]), torch.tensor([[0.9]])).tolist() == [[[pytest.approx(0.7)]]]


@pytest.mark.parametrize(("height", "width"), [(2, 3), (5, 5)])
def test_random_shifts_by_every_offset_but_none(height, width):
    size = height * width
    given = torch.arange(size, dtype=torch.float32).view(1, height, width).expand(size * 50, -1, -1)
    table = (torch.arange(size * 50) / (size * 50))[:, None]

    out = shift(given, table)

    first = out[:, 0, 0].unique().tolist()  # the value that comes to the corner names the offset
    assert first == list(range(1, size))


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-24])
def test_random_has_no_zero_offset_at_the_ends_of_the_draw(draw):
    given = torch.arange(4096.0 * 4).view(1, 128, 128)

    assert (shift(given, torch.tensor([[draw]])) != given).all()


def test_random_moves_rows_and_columns_round_the_edge():
    given = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])

    out = shift(given, torch.tensor([[0.7]]))  # offset 1 + 3 of 5: one row down, one column right

    assert out.tolist() == [[[6.0, 4.0, 5.0], [3.0, 1.0, 2.0]]]


def test_inverse_gives_the_least_salient_pixel_the_highest_value():
    given = torch.tensor([[[0.1, 0.9], [0.4, 0.0]]])

    assert torch.equal(invert(given, draws(1)), torch.tensor([[[0.4, 0.0], [0.1, 0.9]]]))


def test_inverse_breaks_ties_in_the_order_of_the_image():
    given = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]])

    # ranks: bottom left 0, then the two halves from left to right, then bottom right
    assert torch.equal(invert(given, draws(1)), torch.tensor([[[0.5, 0.5], [1.0, 0.0]]]))


@pytest.mark.parametrize("count", [2, 3, 7, 100])
def test_every_image_gets_the_map_of_another_each_used_once(count):
    found = partners(count, torch.rand(count, generator=torch.Generator().manual_seed(count)))

    assert (found != torch.arange(count)).all()
    assert found.sort().values.tolist() == list(range(count))


def test_the_ring_hands_each_image_the_map_of_the_one_before_it():
    # by priority the ring is 1, 2, 0: image 2 gets the map of 1, image 0 of 2, and image 1 of 0
    assert partners(3, torch.tensor([0.3, 0.1, 0.2])).tolist() == [2, 0, 1]


def test_equal_priorities_still_give_each_image_another():
    assert (partners(5, torch.zeros(5)) != torch.arange(5)).all()


def test_other_priorities_are_another_ring():
    one, other = (partners(50, torch.rand(50, generator=torch.Generator().manual_seed(s))) for s in (0, 1))

    assert not torch.equal(one, other)


def test_a_lone_image_is_its_own_partner():
    assert partners(1, torch.zeros(1)).tolist() == [0]


def test_pixels_at_the_threshold_are_changed():
    given = torch.tensor([[[0.0, 0.5], [0.49, 1.0]]])

    assert changed_pixels(given, threshold=0.5, max_area=1.0).tolist() == [[[False, True], [False, True]]]


def test_pixels_above_the_mean_and_so_many_standard_deviations_of_the_positive_values_are_changed():
    # positive are 0.1 four times, 0.2 and 0.6: their mean is 0.2, their (population's) standard deviation 0.1826
    given = torch.tensor([[[0.0, 0.1, 0.1], [0.1, 0.6, 0.1], [0.0, 0.2, 0.0]]])
    above = [[False, False, False], [False, True, False], [False, False, False]]

    assert changed_pixels(given, threshold="mean+2sd", max_area=1.0)[0].tolist() == above
    assert not changed_pixels(given, threshold="mean+3sd", max_area=1.0).any()  # 0.7477


def test_the_pixels_that_masktune_blackens_are_those_above_the_threshold_in_its_own_files():
    """Its files compute with numpy: nanmean and nanstd (of the population) over values above zero, and ``>``."""
    given = maps(20, 16, 16).square() * (maps(20, 16, 16) > 0.3)
    positive = np.where(given.double().numpy() > 0, given.double().numpy(), np.nan)
    level = np.nanmean(positive, axis=(1, 2)) + 2 * np.nanstd(positive, axis=(1, 2))

    changed = changed_pixels(given, threshold="mean+2sd", max_area=1.0)

    np.testing.assert_array_equal(changed.numpy(), given.double().numpy() > level[:, None, None])
    assert 0 < changed.sum() < 0.2 * changed.numel()


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_of_a_map_whose_positive_values_are_the_same_none_is_above_their_mean(value):
    given = torch.zeros(2, 9, 9)
    given[:, 2:5, 3:7] = value

    assert not changed_pixels(given, threshold="mean+1sd", max_area=1.0).any()


def test_a_threshold_in_words_is_of_each_map_on_its_own():
    given = maps(6, 12, 12)
    given[::2] /= 10

    together = changed_pixels(given, threshold="mean+1sd", max_area=1.0)

    assert torch.equal(
        together, torch.cat([changed_pixels(g[None], threshold="mean+1sd", max_area=1.0) for g in given])
    )
    assert together.sum((1, 2)).min() > 0


def test_a_threshold_of_zero_changes_every_pixel():
    assert changed_pixels(maps(), threshold=0.0, max_area=1.0).all()


@pytest.mark.parametrize(
    ("max_area", "pixels"), [(0.0, 0), (0.01, 0), (0.04, 1), (0.079, 1), (0.28, 7), (0.5, 12), (0.999, 24), (1.0, 25)]
)
def test_at_most_the_allowed_part_of_the_image_is_changed(max_area, pixels):
    changed = changed_pixels(maps(), threshold=0.0, max_area=max_area)

    assert changed.sum((1, 2)).tolist() == [pixels] * 4


def test_of_too_many_pixels_the_highest_are_changed():
    given = torch.tensor([[[0.6, 0.9], [0.7, 0.8]]])

    assert changed_pixels(given, threshold=0.5, max_area=0.5).tolist() == [[[False, True], [False, True]]]


def test_of_equal_pixels_the_first_are_changed():
    changed = changed_pixels(torch.ones(1, 2, 2), threshold=0.5, max_area=0.75)

    assert changed.tolist() == [[[True, True], [True, False]]]


def test_the_allowed_area_is_no_reason_to_change_a_pixel_below_the_threshold():
    given = torch.tensor([[[0.6, 0.1], [0.2, 0.3]]])

    assert changed_pixels(given, threshold=0.5, max_area=0.75).sum() == 1
