"""Augmentations that look where the model looks: by hand, and what they ask of the model."""

from dataclasses import dataclass

import pytest
import scipy.stats
import torch
import torch.nn.functional as F

from proxy_attention.augment.attentive import (
    ATTENTIVE,
    attentive_cutmix,
    keepaugment,
    most_attended,
    paste_scaled,
    seen_share,
    snap_boxes,
    snapmix,
    spared,
)
from proxy_attention.augment.batch import Batch, Task
from proxy_attention.augment.fields import Boxes

MANY = 4000


@dataclass(frozen=True)
class Given:
    """Answers that are known beforehand, one an image of the batch."""

    maps: torch.Tensor

    def class_maps(self, images, labels):
        return self.maps[: len(images)]

    def gradients(self, images, labels):
        return self.maps[: len(images)]


def task_of(maps, classes=3):
    return Task(torch.ones(classes, dtype=torch.int64), Given(maps))


def draws(columns, count=MANY):
    return torch.rand(count, columns, generator=torch.Generator().manual_seed(7))


def noise(count, height, width):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def colours(*values, side=16):
    """Images of one colour each."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, side, side).clone()


def box(top, bottom, left, right):
    return Boxes(*(torch.tensor([edge]) for edge in (top, bottom, left, right)))


def test_every_row_says_what_it_asks():
    assert {name: row.passes for name, row in ATTENTIVE.items()} == {
        "keepaugment": 2,
        "snapmix": 1,
        "attentive-cutmix": 1,
    }


# ---- keepaugment


def test_of_nine_squares_one_of_the_five_least_important_is_drawn():
    importance = torch.zeros(1, 4, 4)
    importance[0, 0, 0] = 9  # 4 x 4 pixels have nine squares of 2 x 2: with this pixel one, with the next one two ...
    importance[0, 1:, 3] = torch.tensor([4.0, 2.0, 1.0])
    importance[0, 3, :3] = torch.tensor([0.1, 0.2, 0.4])
    sums = {(t, c): float(importance[0, t : t + 2, c : c + 2].sum()) for t in range(3) for c in range(3)}
    least = sorted(sums, key=lambda place: sums[place])[:5]

    found = spared(importance.expand(MANY, -1, -1), draws(1)[:, 0], side=2)
    places = list(zip(found.top.tolist(), found.left.tolist(), strict=True))

    assert len(set(sums.values())) == 7  # three squares show nothing important: 0, all of them drawn
    assert sorted(set(places)) == sorted(least)
    assert all(places.count(place) / MANY == pytest.approx(0.2, abs=0.02) for place in least)
    assert ((found.bottom - found.top == 2) & (found.right - found.left == 2)).all()


def test_where_nothing_is_more_important_every_square_may_be_drawn():
    found = spared(torch.full((MANY, 4, 4), 0.3), draws(1)[:, 0], side=2)

    assert len(set(zip(found.top.tolist(), found.left.tolist(), strict=True))) == 9


def test_a_model_that_has_diverged_gives_a_square_too():
    found = spared(torch.full((2, 4, 4), torch.nan), torch.tensor([0.0, 0.9]), side=2)

    assert found.top.tolist() == [0, 0]


def test_an_important_part_is_spared_and_a_square_of_half_the_side_becomes_the_mean():
    importance = torch.zeros(MANY, 16, 24)
    importance[:, 4:12, 2:10] = 1
    images = noise(1, 16, 24).expand(MANY, -1, -1, -1)
    batch = Batch(images, torch.zeros(MANY, dtype=torch.int64))

    out = keepaugment(batch, draws(1), task_of(importance))
    hidden = (out.images != images).any(1)

    lost = (hidden & (importance > 0)).sum((1, 2))

    def common(low, high):  # of a square of eight pixels at each place and the important part, on one side
        return torch.tensor([max(0, min(low, place + 8, high) - max(low - 8, place)) for place in range(high - 7)])

    overlap = (common(12, 16)[:, None] * common(10, 24)).flatten().sort().values
    least = overlap[overlap <= overlap[90]]  # the 91st of 9 * 17 squares ends 60 percent of them
    assert (hidden.sum((1, 2)) == 64).all()
    assert out.mixed is None
    assert lost.max() == least.max()
    assert lost.float().mean().item() == pytest.approx(least.float().mean().item(), abs=0.3)
    value = images[0].mean((1, 2))
    torch.testing.assert_close(out.images[0, :, hidden[0]], value[:, None].expand(3, 64))


# ---- snapmix


def test_the_share_of_a_map_is_what_lies_in_the_box_of_all_of_it():
    maps = torch.tensor([[[1.0, 2.0], [3.0, 5.0]]])  # less the lowest: 0, 1, 2, 4

    share, flat = seen_share(maps, box(1, 2, 0, 2), height=2, width=2)

    assert share.tolist() == pytest.approx([6 / 7])
    assert flat.tolist() == [False]


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_flat_map_is_named(value):
    share, flat = seen_share(torch.full((1, 3, 3), value), box(1, 20, 0, 20), height=20, width=20)

    assert share.tolist() == [0]
    assert flat.tolist() == [True]


def test_a_whole_map_is_seen_in_the_whole_image_and_none_of_it_in_no_box():
    maps = draws(20, 1).view(1, 4, 5)

    assert seen_share(maps, box(0, 30, 0, 40), height=30, width=40)[0].tolist() == pytest.approx([1])
    assert seen_share(maps, box(3, 3, 0, 40), height=30, width=40)[0].tolist() == [0]


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ((2, 6, 1, 9), (3, 7, 0, 8)),  # of the same size: a copy
        ((2, 12, 1, 9), (3, 7, 5, 8)),
        ((2, 4, 3, 5), (0, 11, 1, 14)),
        ((0, 1, 0, 1), (5, 9, 5, 9)),
        ((0, 4, 0, 4), (5, 6, 7, 8)),
    ],
)
def test_a_box_is_scaled_as_torch_scales_a_cutting(here, there):
    images = noise(2, 12, 16)
    swapped = torch.tensor([1, 0])
    both = [Boxes(*(torch.tensor([edge, edge]) for edge in edges)) for edges in (here, there)]

    out = paste_scaled(images, swapped, *both)

    top, bottom, left, right = here
    cutting = images.flip(0)[:, :, there[0] : there[1], there[2] : there[3]]
    expected = images.clone()
    expected[:, :, top:bottom, left:right] = F.interpolate(
        cutting, size=(bottom - top, right - left), mode="bilinear", align_corners=True
    )
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


def test_labels_are_by_the_share_of_each_map_and_need_not_sum_to_1():
    top = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    maps = torch.stack((top, top.flip(0)))  # one image is seen in its upper half, one in its lower
    batch = Batch(colours(0.25, 0.75), torch.tensor([0, 2]))
    table = draws(7, 2)

    out = snapmix(batch, table, task_of(maps))

    here, there = (snap_boxes(table[:, first : first + 3], height=16, width=16) for first in (1, 4))
    assert torch.equal((out.images != batch.images).any(1), here.inside(16, 16))
    expected = torch.where(here.inside(16, 16)[:, None], batch.images.flip(0), batch.images)
    torch.testing.assert_close(out.images, expected)
    large = F.interpolate(maps[:, None], size=(16, 16), mode="bilinear")[:, 0]
    large = large / large.sum((1, 2), keepdim=True)
    own = 1 - (large * here.inside(16, 16)).sum((1, 2))
    other = (large.flip(0) * there.inside(16, 16)).sum((1, 2))
    torch.testing.assert_close(out.mixed, torch.tensor([[own[0], 0, other[0]], [other[1], 0, own[1]]]))
    assert not torch.allclose(out.mixed.sum(1), torch.ones(2), atol=0.01)


def test_where_maps_are_flat_labels_are_by_area():
    batch = Batch(colours(*([0.25, 0.75] * 50)), torch.tensor([0, 2] * 50))

    out = snapmix(batch, draws(7, 100), task_of(torch.zeros(100, 4, 4)))

    seen = (out.images[:, 0] - 0.25) * 2  # the part of each pixel that is of the second colour
    torch.testing.assert_close(out.mixed[:, 2], seen.mean((1, 2)), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.mixed.sum(1), torch.ones(100))


def test_an_image_that_shows_nothing_of_either_map_is_labelled_by_its_pixels():
    maps = torch.zeros(200, 16, 16)
    maps[:, 8, 8] = 1  # one pixel: it is covered by many boxes, and seen in few
    batch = Batch(colours(*([0.25, 0.75] * 100)), torch.tensor([0, 2] * 100))

    out = snapmix(batch, draws(7, 200), task_of(maps))

    assert out.mixed.sum(1).min() > 0.99
    assert out.mixed.sum(1).max() <= 2


def test_half_of_an_image_is_another_one_on_average_but_for_what_the_border_cuts():
    batch = Batch(colours(0.0, 1.0).repeat(MANY // 2, 1, 1, 1), torch.tensor([0, 2] * (MANY // 2)))

    out = snapmix(batch, draws(7), task_of(torch.zeros(MANY, 2, 2)))

    pasted = 2 * (1 - out.mixed.gather(1, batch.labels[:, None]).mean())  # half of the partners have the same label
    assert 0.25 < pasted < 0.4  # of a half, a box of 0.7 of the side around any place leaves about a third inside


def test_the_areas_of_boxes_are_beta_5_5_distributed():
    sides = snap_boxes(draws(3) * torch.tensor([1, 0, 0]) + torch.tensor([0, 0.5, 0.5]), height=999, width=999)

    area = sides.share(999, 999).sort().values

    quantiles = torch.tensor(scipy.stats.beta(5, 5).ppf([0.05, 0.25, 0.5, 0.75, 0.95]), dtype=torch.float32)
    torch.testing.assert_close(
        torch.quantile(area, torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])), quantiles, atol=0.015, rtol=0
    )


def test_a_box_has_at_least_a_pixel():
    draw = (torch.arange(2**16) * 2.0**-16)[:, None].expand(-1, 3)

    found = snap_boxes(draw, height=3, width=3)

    assert found.share(3, 3).min() > 0.1


# ---- attentive cutmix


def test_the_six_highest_cells_are_pasted_where_they_are():
    maps = torch.zeros(2, 7, 7)
    maps[0, 0, :6] = torch.arange(1.0, 7.0)
    maps[1, 3, 1:7] = 1.0
    batch = Batch(colours(0.25, 0.75, side=28), torch.tensor([0, 2]))

    out = attentive_cutmix(batch, draws(2, 2), task_of(maps))

    expected = batch.images.clone()
    expected[0, :, 12:16, 4:28] = 0.75  # of the second image what is seen in it
    expected[1, :, 0:4, 0:24] = 0.25
    assert torch.equal(out.images, expected)
    part = 6 / 49
    torch.testing.assert_close(out.mixed, torch.tensor([[1 - part, 0, part], [part, 0, 1 - part]]))


@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (4, 3), (7, 7), (16, 16)])
def test_of_any_map_six_cells_are_chosen_and_of_a_flat_one_any(grid):
    found = most_attended(torch.full((MANY, *grid), 0.3), draws(1)[:, 0])

    assert (found.sum((1, 2)) == 6).all()
    torch.testing.assert_close(found.float().mean(0), torch.full((7, 7), 6 / 49), atol=0.03, rtol=0)


@pytest.mark.parametrize("grid", [2, 4, 14, 28])
def test_cells_lie_where_the_map_is_high(grid):
    maps = torch.zeros(1, grid, grid)
    maps[0, grid // 2 :, : grid // 2] = 1  # below on the left

    found = most_attended(maps, torch.tensor([0.5]))[0]

    assert found[4:, :3].sum() == 6


def test_of_images_whose_side_is_no_multiple_of_seven_every_pixel_belongs_to_a_cell():
    maps = torch.rand(2, 7, 7)
    batch = Batch(colours(0.25, 0.75), torch.tensor([0, 2]))

    out = attentive_cutmix(batch, draws(2, 2), task_of(maps))

    cells = most_attended(maps.flip(0), draws(2, 2)[:, 1])
    place = torch.arange(16) * 7 // 16
    assert torch.equal((out.images != batch.images).any(1), cells[:, place][:, :, place])


@pytest.mark.parametrize("name", ["snapmix", "attentive-cutmix"])
def test_a_lone_image_stays_as_it_is(name):
    batch = Batch(noise(1, 16, 16), torch.tensor([1]))
    row = ATTENTIVE[name]

    assert row.apply(batch, draws(row.columns, 1), task_of(torch.rand(1, 4, 4))) is batch
