"""PuzzleMix: masks of least energy, and blocks that are moved."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from proxy_attention.augment.puzzle import (
    LOCALLY,
    PRIOR,
    SMOOTHNESS,
    Energy,
    energy_of,
    enlarged,
    least,
    moved,
    origins,
    pooled_saliency,
)

IMAGES = 40


def smooth(channels, side, size, seed):
    """Images with large structures."""
    small = torch.rand(IMAGES, channels, side, side, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(small, size, mode="bilinear")


def puzzles(size, blocks):
    """Two batches of images, and how salient their blocks are."""
    salient = [pooled_saliency(smooth(1, 5, size, seed)[:, 0] ** 3, blocks) for seed in (2, 3)]
    return smooth(3, 6, size, 0), smooth(3, 6, size, 1), *salient


def grids(blocks, values):
    """Every mask, (masks, 1, n, n)."""
    return torch.tensor(list(itertools.product(values, repeat=blocks**2))).view(-1, 1, blocks, blocks)


def parts():
    return torch.linspace(0, 1, IMAGES)


@pytest.mark.parametrize("size", [12, 24])  # colours averaged over 4 pixels: one and two such squares on each edge
def test_the_energy_of_a_mask_is_that_of_the_paper(size):
    images, others, salient, other_salient = puzzles(size, 3)
    smoothness = SMOOTHNESS / 3 / 16
    masks = grids(3, (0.0, 1.0))
    expected = (masks * other_salient + (1 - masks) * salient).sum((2, 3))
    area = torch.where(masks == 1, parts()[:, None, None] ** 2, (1 - parts()[:, None, None]) ** 2)
    expected = expected - PRIOR / 9 * (area + 1e-8).log().sum((2, 3))
    pools = [F.avg_pool2d(image, 4) for image in (others, images)]
    times, last = size // 12, size // 4
    for edge, place, turned in itertools.product((1, 2), range(last), (False, True)):
        for first, second in itertools.product((0, 1), repeat=2):
            one, other = (pool.transpose(2, 3) if turned else pool for pool in (pools[first], pools[second]))
            jump = (one[:, :, edge * times - 1, place] - other[:, :, edge * times, place]).abs().mean(1) / times
            z = masks.transpose(2, 3) if turned else masks
            above, below = z[:, :, edge - 1, place // times], z[:, :, edge, place // times]
            expected = expected + smoothness * LOCALLY * jump * ((above == first) & (below == second))
            expected = expected + smoothness / times * (above != below) * (first == second == 0)

    found = energy_of(images, others, salient, other_salient, parts()).of(masks.expand(-1, IMAGES, -1, -1))

    torch.testing.assert_close(found - found[:1], expected - expected[:1], atol=1e-5, rtol=0)  # but for a constant


def test_the_mask_found_is_almost_always_the_one_of_least_energy():
    energy = energy_of(*puzzles(48, 3), parts())
    masks = grids(3, (0.0, 0.5, 1.0)).expand(-1, IMAGES, -1, -1)  # each there is

    found = energy.of(least(energy))
    lowest = energy.of(masks).amin(0)

    assert (found >= lowest - 1e-6).all()
    assert (found < lowest + 1e-6).sum() >= IMAGES - 2


def test_without_weight_between_blocks_each_takes_its_own_best_level():
    level = torch.rand(IMAGES, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    energy = Energy(level, torch.full((IMAGES, 3, 4), 1e-9), torch.full((IMAGES, 4, 3), 1e-9))

    assert torch.equal(least(energy), level.argmin(1) / 2)


def test_with_much_weight_between_blocks_all_take_the_level_that_is_best_together():
    level = torch.rand(IMAGES, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    energy = Energy(level, torch.full((IMAGES, 3, 4), 1e3), torch.full((IMAGES, 4, 3), 1e3))

    assert torch.equal(least(energy), (level.sum((2, 3)).argmin(1) / 2)[:, None, None].expand(-1, 4, 4))


def test_a_mask_takes_the_part_that_was_drawn_where_nothing_is_salient():
    flat = torch.full((3, 4, 4), 1 / 16)
    grey = torch.full((3, 3, 16, 16), 0.5)

    mask = least(energy_of(grey, grey, flat, flat, torch.tensor([0.1, 0.5, 0.9])))

    assert mask.mean((1, 2)).tolist() == [0.0, 0.5, 1.0]


def test_saliency_is_pooled_to_a_sum_of_one_and_none_stays_none():
    saliency = torch.zeros(2, 16, 16)
    saliency[0, :8, :8] = 3.0
    saliency[0, 8:, 8:] = 1.0

    assert pooled_saliency(saliency, 2).tolist() == [[[0.75, 0.0], [0.0, 0.25]], [[0.0, 0.0], [0.0, 0.0]]]


def test_a_salient_block_moves_to_where_it_is_seen_and_what_was_there_makes_room():
    salient = torch.zeros(2, 3, 3)
    salient[0, 0, 0] = 1.0
    salient[1, 0, 0], salient[1, 2, 2] = 0.1, 0.9  # too little for a step, which costs 0.2; and seen where it is
    shown = torch.zeros(2, 3, 3)
    shown[0, 0, 1] = shown[1, 0, 1] = shown[1, 2, 2] = 1.0

    found = origins(salient, shown)

    assert found[0].tolist() == [1, 0, 2, 3, 4, 5, 6, 7, 8]
    assert found[1].tolist() == list(range(9))


def test_of_two_blocks_that_want_one_place_the_more_salient_gets_it():
    salient = torch.zeros(1, 3, 3)
    salient[0, 0, 0], salient[0, 0, 2] = 0.4, 0.6
    shown = torch.zeros(1, 3, 3)
    shown[0, 0, 1] = 0.5  # half seen is seen

    assert origins(salient, shown)[0, 1] == 2


@pytest.mark.parametrize("blocks", [2, 4, 8, 16])
def test_moving_shows_more_saliency_and_hardly_ever_a_block_twice(blocks):
    salient = pooled_saliency(smooth(1, 5, 32, 0)[:, 0] ** 3, blocks)
    shown = (smooth(1, 4, blocks, 1)[:, 0] > 0.6).float()

    found = origins(salient, shown)

    seen = (salient.flatten(1).gather(1, found) * shown.flatten(1)).sum(1)
    assert (seen >= (salient * shown).sum((1, 2)) - 1e-6).all()
    distinct = torch.stack([row.unique().numel() / row.new_tensor(blocks**2) for row in found])
    assert distinct.mean() > 0.95


def test_blocks_are_moved_whole_by_hand():
    image = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3, 4, 4)

    out = moved(image, torch.tensor([[3, 0, 1, 1]]), 2)

    assert out[0, 2].tolist() == [[10, 11, 0, 1], [14, 15, 4, 5], [2, 3, 2, 3], [6, 7, 6, 7]]


@pytest.mark.parametrize("blocks", [2, 4, 8, 16])
@pytest.mark.parametrize("shape", [(16, 16), (17, 30), (33, 31)])
def test_at_any_size_unmoved_blocks_make_the_image_and_masks_cover_it(blocks, shape):
    image = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(2, blocks, blocks, generator=torch.Generator().manual_seed(1))
    shuffled = torch.rand(2, blocks**2, generator=torch.Generator().manual_seed(2)).argsort(1)

    assert torch.equal(moved(image, torch.arange(blocks**2).expand(2, -1), blocks), image)
    assert moved(image, shuffled, blocks).shape == image.shape
    assert torch.equal(enlarged(mask, *shape), F.interpolate(mask[:, None], shape, mode="nearest")[:, 0])
