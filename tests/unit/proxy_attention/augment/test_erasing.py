"""Augmentations that erase parts of an image: places, sizes and values."""

import pytest
import torch
from torchvision.transforms.v2 import functional

from proxy_attention.augment.batch import Batch
from proxy_attention.augment.erasing import (
    ERASE_ATTEMPTS,
    ERASING,
    cutout,
    grid_mask,
    hide_and_seek,
    random_colours,
    random_erasing,
)
from proxy_attention.augment.fields import uniform_field

MANY = 4000
FITS, TOO_LONG = (0.25, 0.2), (0.999, 0.999)  # a box of about a tenth of the image; one that is higher than it


def noise(count=3, height=9, width=9):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def table(columns, count=MANY):
    return torch.rand(count, columns, generator=torch.Generator().manual_seed(7))


def ramp(height=4, width=4):
    """One image that counts its pixels: its mean is a half, and stands in no pixel."""
    values = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width) / (height * width - 1)
    return values.expand(1, 3, -1, -1).clone()


def changed(change, images, draws):
    """Which pixels another value stands in, (B, H, W) bool."""
    return (change(images, draws) != images).any(dim=1)


def erasing(*boxes, apply=0.0, row=0.0, column=0.0, fill=0.5):
    """Draws of one image: the first boxes as given, all others too long."""
    tried = [*boxes, *[TOO_LONG] * (ERASE_ATTEMPTS - len(boxes))]
    return torch.tensor([[apply, row, column, fill, *sum(tried, ())]])


# ---- random erasing


def test_a_box_is_erased_as_torchvision_erases_it():
    images = noise(1, 20, 20)
    # area 0.02 + 0.38 * 0.25 of 400 = 46 pixels, ratio 0.3 + 3.0333 * 0.2 = 0.9067: 6 rows and 7 columns
    draws = erasing(FITS, row=0.5, column=0.999)

    out = random_erasing(images, draws)

    value = random_colours(draws[:, 3], height=20, width=20)[0, :, 7:13, 13:20]
    assert torch.equal(out, functional.erase(images, i=7, j=13, h=6, w=7, v=value))


def test_what_fills_an_erased_box_is_any_of_256_values_in_each_channel_on_its_own():
    filled = random_colours(torch.tensor([0.5, 0.25]), height=200, width=300)
    flat = filled.flatten(2)

    assert torch.equal(filled, (filled * 255).round() / 255)
    for channel in range(3):
        counts = torch.bincount((flat[0, channel] * 255).round().long(), minlength=256)
        assert counts.float().std() == pytest.approx((60000 / 256) ** 0.5, rel=0.2)  # as of chance, not less or more
    every = torch.corrcoef(flat.flatten(0, 1)) - torch.eye(6)
    assert every.abs().max() < 0.015  # one in the root of 60,000 is 0.004


def test_the_first_box_that_fits_is_taken():
    images = noise(1, 20, 20)

    direct = random_erasing(images, erasing(FITS))
    after_two = random_erasing(images, erasing(TOO_LONG, TOO_LONG, FITS))

    assert not torch.equal(direct, images)
    assert torch.equal(after_two, direct)


def test_nothing_is_erased_if_no_box_fits_or_the_draw_is_high():
    images = noise(1, 20, 20)

    assert torch.equal(random_erasing(images, erasing()), images)
    assert torch.equal(random_erasing(images, erasing(FITS, apply=0.5)), images)
    assert not torch.equal(random_erasing(images, erasing(FITS, apply=0.4999)), images)


@pytest.mark.parametrize(("height", "width"), [(24, 24), (16, 32)])
def test_half_of_the_images_lose_2_to_40_percent(height, width):
    draws = table(ERASING["random-erasing"].columns)

    part = changed(random_erasing, torch.full((MANY, 3, height, width), 0.5), draws).float().mean((1, 2))
    erased = part[part > 0]

    assert len(erased) / MANY == pytest.approx(0.5, abs=0.02)
    assert erased.min() > 0.01  # sides are rounded to whole pixels
    assert erased.max() < 0.43
    if height == width:
        assert erased.mean() == pytest.approx(0.205, abs=0.01)  # the middle of both, less what did not fit


# ---- cutout


def test_a_square_of_half_the_side_becomes_the_mean():
    out = cutout(ramp(), torch.tensor([[0.5, 0.25]]))  # around row 2 and column 1

    expected = ramp()
    expected[:, :, 1:3, 0:2] = 0.5
    torch.testing.assert_close(out, expected)


def test_a_square_is_cut_at_the_border():
    corner = changed(cutout, ramp(), torch.tensor([[0.0, 0.999]]))[0]  # around row 0 and column 3

    assert corner.nonzero().tolist() == [[0, 2], [0, 3]]


def test_of_a_flat_image_half_of_the_shorter_side_is_cut_out():
    hidden = changed(cutout, noise(1, 16, 40), torch.tensor([[0.5, 0.5]]))[0]

    assert hidden.any(1).sum() == 8
    assert hidden.any(0).sum() == 8


def test_squares_lie_everywhere_and_cover_what_the_border_leaves_of_them():
    hidden = changed(cutout, noise(1, 32, 32).expand(MANY, -1, -1, -1), table(2)).float()

    # of 16 rows around row r lie in the image: 16, less 8 - r above or r - 24 below; on average 14.03 of 32
    rows = sum(min(r + 8, 32) - max(r - 8, 0) for r in range(32)) / 32
    assert hidden.mean() == pytest.approx((rows / 32) ** 2, abs=0.005)
    assert hidden.mean(0).min() > 0.05


# ---- hide-and-seek


def test_patches_are_hidden_whole_and_filled_with_the_mean():
    images = ramp(56, 56)
    draws = torch.tensor([[0.9, 0.3]])  # patches of 56 of 224 pixels: a quarter of the side

    out = hide_and_seek(images, draws)

    expected = (uniform_field(draws[:, 1], (14, 14))[0, :4, :4] < 0.5).repeat_interleave(14, 0)
    expected = expected.repeat_interleave(14, 1)
    assert 0 < expected.sum() < 56 * 56
    assert torch.equal((out != images).any(1)[0], expected)
    torch.testing.assert_close(out[0, :, expected], torch.full_like(out[0, :, expected], 0.5))


@pytest.mark.parametrize(("draw", "edges"), [(0.2, 14), (0.4, 7), (0.6, 6), (0.8, 4)])
def test_patches_keep_their_size_relative_to_the_image(draw, edges):
    draws = torch.stack((torch.full((200,), draw), table(1, 200)[:, 0]), dim=1)

    hidden = changed(hide_and_seek, noise(1, 112, 112).expand(200, -1, -1, -1), draws)

    # a border between patches shows in some image as a row that differs from the one above
    assert (hidden[:, 1:] != hidden[:, :-1]).any(2).any(0).sum() == edges - 1


def test_one_image_of_five_is_left_whole_and_of_the_others_half_is_hidden():
    hidden = changed(hide_and_seek, noise(1, 16, 24).expand(MANY, -1, -1, -1), table(2)).float().mean((1, 2))

    assert (hidden == 0).float().mean() == pytest.approx(0.2, abs=0.02)
    assert hidden.mean() == pytest.approx(0.8 * 0.5, abs=0.01)


# ---- grid mask

APPLIED, UPRIGHT = 0.0, 0.0


def test_squares_of_an_upright_grid_are_hidden_at_their_place():
    images = ramp(28, 28)
    # periods from 12 to 27: the first; 12 * 0.6 = 7 rows and columns are kept, 5 are not
    draws = torch.tensor([[APPLIED, 0.0, 0.0, 0.0, UPRIGHT], [APPLIED, 0.0, 0.5, 0.0, UPRIGHT]])

    out = grid_mask(images.expand(2, -1, -1, -1), draws)
    hidden = (out != images).any(1)

    columns = [7, 8, 9, 10, 11, 19, 20, 21, 22, 23]
    assert hidden[0].any(0).nonzero().flatten().tolist() == columns
    assert hidden[0].any(1).nonzero().flatten().tolist() == columns
    assert hidden[0].sum() == len(columns) ** 2
    assert hidden[1].any(0).nonzero().flatten().tolist() == columns
    assert hidden[1].any(1).nonzero().flatten().tolist() == [1, 2, 3, 4, 5, 13, 14, 15, 16, 17, 25, 26, 27]
    torch.testing.assert_close(out[0, :, hidden[0]], torch.full((3, 100), 0.5))


def test_a_grid_turned_by_a_right_angle_is_the_grid_turned():
    images = noise(1, 28, 28)
    draws = torch.tensor([[APPLIED, 0.3, 0.4, 0.7, UPRIGHT], [APPLIED, 0.3, 0.4, 0.7, 0.25]])

    upright, turned = changed(grid_mask, images.expand(2, -1, -1, -1), draws)

    assert upright.any()
    assert torch.equal(turned, upright.rot90(1)) or torch.equal(turned, upright.rot90(-1))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 32)])
def test_four_images_of_five_lose_a_sixth_on_average(height, width):
    draws = table(5)

    hidden = changed(grid_mask, noise(1, height, width).expand(MANY, -1, -1, -1), draws).float().mean((1, 2))

    applied = draws[:, 0] < 0.8
    assert applied.float().mean() == pytest.approx(0.8, abs=0.02)
    assert (hidden[~applied] == 0).all()
    # each place of a grid is as likely: what is hidden is (1 - kept / period) squared, kept in whole pixels
    least, most = round(min(height, width) * 96 / 224), min(height, width)
    expected = [(1 - int(d * 0.6 + 0.5) / d) ** 2 for d in range(least, most)]
    assert hidden[applied].mean() == pytest.approx(sum(expected) / len(expected), abs=0.01)


# ---- all of them


@pytest.mark.parametrize("name", ERASING)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 40)])
def test_an_image_does_not_change_with_its_batch(name, height, width):
    row = ERASING[name]
    images, draws, labels = noise(8, height, width), table(row.columns, 8), torch.zeros(8, dtype=torch.int64)

    together = row.apply(Batch(images, labels), draws, None).images
    apart = torch.cat(
        [row.apply(Batch(images[i : i + 1], labels[i : i + 1]), draws[i : i + 1], None).images for i in range(8)]
    )

    assert torch.equal(together, apart)
