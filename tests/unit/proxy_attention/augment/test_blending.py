"""Augmentations that blend images: by hand, and mixup as timm computes it."""

import pytest
import scipy.stats
import torch
from mixing_batches import CLASSES, draws_of, images_of, squares, task, timms

from proxy_attention.augment import blending
from proxy_attention.augment.batch import Batch, mixed_labels
from proxy_attention.augment.blending import BLENDING, blend, cow_mask

BLENDS = ["mixup", "remix", "samplepairing", "smoothmix"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mixup_of_the_same_parts_and_partners_is_timms_bit_for_bit(monkeypatch, seed):
    images, labels, part, _, expected, targets = timms("mixup", monkeypatch, seed)
    partner = torch.arange(8).flip(0)

    assert torch.equal(blend(images, partner, part), expected)
    assert torch.equal(mixed_labels(labels, partner, part, classes=CLASSES), targets)


@pytest.mark.parametrize("name", BLENDS)
def test_equal_images_stay_themselves_when_they_are_blended(name):
    row = BLENDING[name]
    same = images_of(1).expand(6, -1, -1, -1)

    out = row.apply(Batch(same, torch.arange(6) % CLASSES), draws_of(row, 6), task())

    torch.testing.assert_close(out.images, same, atol=1e-6, rtol=0)


def test_mixup_blends_image_and_label_by_hand():
    draws = torch.tensor([[0.1, 0.25], [0.2, 1 - 0.125]])  # two images: each is the other's partner

    out = BLENDING["mixup"].apply(Batch(squares(2), torch.tensor([1, 4])), draws, task())

    assert out.images[:, 0, 0, 0].tolist() == [0.75, 0.875]
    assert out.mixed.tolist() == [[0, 0.25, 0, 0, 0.75], [0, 0.125, 0, 0, 0.875]]
    assert out.labels.tolist() == [1, 4]


def test_samplepairing_averages_or_leaves_alone_and_keeps_the_label_whole():
    draws = torch.tensor([[0.1, 0.79], [0.2, 0.81]])

    out = BLENDING["samplepairing"].apply(Batch(squares(2), torch.tensor([0, 1])), draws, task())

    assert out.images[:, 0, 0, 0].tolist() == [0.5, 1.0]
    assert out.mixed is None


def test_smoothmix_is_a_spot_around_its_middle_by_hand():
    draws = torch.tensor([[0.1, 0.0, 0.5, 0.5], [0.2, 1.0, 0.5, 0.5]])

    out = BLENDING["smoothmix"].apply(Batch(squares(2), torch.tensor([0, 1])), draws, task())

    away = torch.tensor([-1.5, -0.5, 0.5, 1.5])
    spots = [torch.exp(-(away[:, None] ** 2 + away**2) / (2 * deviation**2)) for deviation in (1.0, 2.0)]
    torch.testing.assert_close(out.images[0, 0], spots[0])
    torch.testing.assert_close(out.images[1, 0], 1 - spots[1])
    torch.testing.assert_close(out.mixed[:, 1], torch.stack((spots[0].mean(), 1 - spots[1].mean())))


def test_a_cow_mask_is_smoothed_noise_below_a_level_by_hand():
    noise = torch.tensor([[[4.0, -1, 0, 0], [0, 0, 0, 2], [1, 0, 0, 0], [0, -3, 0, 0]]])

    mask = cow_mask(noise, torch.tensor([0.7]), torch.tensor([0.3]))

    kernel = torch.exp(-0.5 * ((torch.arange(4)[:, None] - torch.arange(4)) / 0.7) ** 2)
    smooth = torch.einsum("yr,xc,rc->yx", kernel, kernel, noise[0])
    level = smooth.mean() + smooth.std(correction=0) * scipy.stats.norm.ppf(0.3)
    assert torch.equal(mask[0], (smooth <= level).float())
    assert 0 < mask.mean() < 1


def test_cow_masks_have_the_area_they_were_given_on_average_and_are_smooth():
    noise = torch.randn(400, 32, 32, generator=torch.Generator().manual_seed(0))

    fine = cow_mask(noise, torch.full((400,), 2.0), torch.full((400,), 0.3))
    coarse = cow_mask(noise, torch.full((400,), 8.0), torch.full((400,), 0.3))

    assert abs(fine.mean() - 0.3) < 0.01
    edges = [(mask[:, 1:] != mask[:, :-1]).float().mean() for mask in (fine, coarse)]
    assert edges[1] < edges[0] / 2 < 0.1


def test_remix_gives_the_rare_class_the_whole_label_in_each_of_the_three_cases():
    part = torch.tensor([0.4, 0.6, 0.4, 0.6, 0.4, 0.5])
    count = torch.tensor([30, 30, 10, 10, 29, 30])
    other = torch.tensor([10, 10, 30, 30, 10, 10])

    found = blending.rebalanced(part, count, other)

    torch.testing.assert_close(found, torch.tensor([0.0, 0.6, 0.4, 1.0, 0.4, 0.5]))


def test_remix_blends_as_mixup_and_labels_by_the_counts_of_the_classes():
    draws = torch.tensor([[0.1, 0.25], [0.2, 0.875]])
    given = Batch(squares(2), torch.tensor([0, 1]))

    out = BLENDING["remix"].apply(given, draws, task((90, 30, 1, 1, 1)))

    assert torch.equal(out.images, BLENDING["mixup"].apply(given, draws, task()).images)
    assert out.mixed[:, :2].tolist() == [[0, 1], [0, 1]]
    assert torch.equal(
        BLENDING["remix"].apply(given, draws, task()).mixed, BLENDING["mixup"].apply(given, draws, task()).mixed
    )
