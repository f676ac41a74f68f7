"""Flips, rotations and crops of images: by hand."""

import math

import pytest
import torch

from proxy_attention.augment.transforms import MAX_DEGREES, flip_rotate

MIRRORED, KEPT, UPRIGHT = 0.0, 0.5, 0.5


def noise(count=3, height=9, width=9):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def draws(flip, turn, count=3):
    return torch.tensor([[flip, turn]] * count)


def plane(height, width):
    """Pixel centres in pixels from the middle: (y, x)."""
    y = torch.arange(height) - (height - 1) / 2
    x = torch.arange(width) - (width - 1) / 2
    return y[:, None].expand(height, width), x[None, :].expand(height, width)


@pytest.mark.parametrize(("height", "width"), [(9, 9), (8, 8), (6, 10)])
def test_neither_mirrored_nor_turned_is_the_image_itself(height, width):
    images = noise(height=height, width=width)

    torch.testing.assert_close(flip_rotate(images, draws(KEPT, UPRIGHT)), images, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(9, 9), (8, 8), (6, 10)])
def test_mirrored_and_not_turned_is_the_mirror_image(height, width):
    images = noise(height=height, width=width)

    torch.testing.assert_close(flip_rotate(images, draws(MIRRORED, UPRIGHT)), images.flip(-1), atol=1e-6, rtol=0)


def test_half_of_the_draws_mirror():
    images = noise(count=2)

    out = flip_rotate(images, torch.tensor([[0.4999, UPRIGHT], [0.5, UPRIGHT]]))

    torch.testing.assert_close(out[0], images[0].flip(-1), atol=1e-6, rtol=0)
    torch.testing.assert_close(out[1], images[1], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("turn", "degrees"), [(0.0, -10.0), (0.25, -5.0), (0.75, 5.0), (1.0, 10.0)])
@pytest.mark.parametrize(("height", "width"), [(21, 21), (15, 25)])
def test_a_slope_is_turned_by_the_drawn_angle_about_the_middle(turn, degrees, height, width):
    y, x = plane(height, width)
    slope = 0.5 + x / 100  # a plane is interpolated exactly, so its rotation is known in every pixel
    angle = math.radians(degrees)
    expected = 0.5 + (math.cos(angle) * x - math.sin(angle) * y) / 100
    inside = (y.abs() < height / 2 - 4) & (x.abs() < width / 2 - 4)

    out = flip_rotate(slope.expand(1, 3, -1, -1), draws(KEPT, turn, 1))[0]

    assert inside.any()
    torch.testing.assert_close(out[:, inside], expected[inside].expand(3, -1), atol=1e-5, rtol=0)


def test_an_image_is_mirrored_after_it_is_turned_or_before_but_always_about_its_middle():
    y, x = plane(21, 21)
    disc = ((y**2 + x**2) < 49).float().expand(4, 3, -1, -1)
    softened = torch.nn.functional.avg_pool2d(disc, 5, stride=1, padding=2)

    out = flip_rotate(softened, torch.tensor([[MIRRORED, 0.0], [MIRRORED, 1.0], [KEPT, 0.1], [KEPT, 0.9]]))

    torch.testing.assert_close(out, softened, atol=0.05, rtol=0)


def test_no_image_is_turned_further_than_ten_degrees():
    assert MAX_DEGREES == 10.0


def test_what_comes_in_from_outside_is_black():
    out = flip_rotate(torch.ones(1, 3, 32, 32), draws(KEPT, 1.0, 1))

    assert out[0, :, 0, 0].tolist() == [0, 0, 0]
    assert out[0, :, 16, 16].tolist() == pytest.approx([1, 1, 1])


def test_every_image_of_a_batch_has_its_own_angle():
    images = noise(count=1).expand(3, -1, -1, -1)

    out = flip_rotate(images, torch.tensor([[KEPT, 0.1], [KEPT, 0.9], [MIRRORED, 0.9]]))

    assert not torch.allclose(out[0], out[1], atol=0.01)
    assert not torch.allclose(out[1], out[2], atol=0.01)
