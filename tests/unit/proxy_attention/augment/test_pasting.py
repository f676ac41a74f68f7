"""Augmentations that paste parts of other images: by hand, and cutmix as timm computes it."""

import pytest
import torch
import torch.nn.functional as F
from mixing_batches import CLASSES, draws_of, images_of, squares, task, timms

from proxy_attention.augment.batch import Batch, mixed_labels
from proxy_attention.augment.fields import Boxes, boxes_of_area
from proxy_attention.augment.pasting import PASTING, paste_box, paste_small, patched


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cutmix_of_the_same_parts_places_and_partners_is_timms_bit_for_bit(monkeypatch, seed):
    images, labels, part, middles, expected, targets = timms("cutmix", monkeypatch, seed)
    partner = torch.arange(8).flip(0)

    boxes = boxes_of_area(middles[:, 0], middles[:, 1], 1 - part, height=32, width=32)

    assert torch.equal(paste_box(images, partner, boxes), expected)
    labelled = mixed_labels(labels, partner, 1 - boxes.share(32, 32), classes=CLASSES)
    assert torch.equal(labelled, targets)


def test_cutmix_pastes_a_box_cut_at_the_border_by_hand():
    draws = torch.tensor([[0.1, 0.75, 0.5, 0.5], [0.2, 0.75, 0.0, 0.99]])  # a quarter; around (2, 2) and around (0, 3)

    out = PASTING["cutmix"].apply(Batch(squares(2), torch.tensor([0, 1])), draws, task())

    assert out.images[0, 0].tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert out.images[1, 0].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert out.mixed[:, :2].tolist() == [[0.75, 0.25], [0.125, 0.875]]


def test_a_small_image_is_the_bilinear_one_of_torch():
    images = images_of(2)
    boxes = Boxes(*(torch.tensor(edge) for edge in ([3, 0], [13, 25], [5, 1], [29, 2])))

    out = paste_small(images, torch.tensor([1, 0]), boxes)

    for image, (high, wide), (top, left) in ((0, (10, 24), (3, 5)), (1, (25, 1), (0, 1))):
        small = F.interpolate(images[1 - image][None], (high, wide), mode="bilinear", align_corners=False)[0]
        expected = images[image].clone()
        expected[:, top : top + high, left : left + wide] = small
        torch.testing.assert_close(out[image], expected, atol=1e-5, rtol=0)


def test_resizemix_puts_the_whole_other_image_within_this_one_by_hand():
    draws = torch.tensor([[0.1, 4 / 7 + 1e-6, 0.99, 0.0], [0.2, 0.0, 0.0, 0.5]])  # sides of 0.5 and of 0.1, at least 1

    out = PASTING["resizemix"].apply(Batch(squares(2), torch.tensor([0, 1])), draws, task())

    assert out.images[0, 0].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert out.images[1, 0].tolist() == [[1, 1, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert out.mixed[:, :2].tolist() == [[0.75, 0.25], [1 / 16, 15 / 16]]


def test_ricap_sets_four_crops_side_by_side_by_hand():
    images = torch.arange(4 * 16, dtype=torch.float32).view(4, 1, 4, 4).expand(4, 3, 4, 4)
    sources = torch.tensor([[0, 1, 2, 3]] * 4)
    point = torch.tensor([3, 0, 4, 2]), torch.tensor([1, 0, 4, 2])
    first = torch.zeros(4, 4)
    last = torch.full((4, 4), 1 - 2.0**-24)

    out, parts = patched(images, sources, point, first, last)

    assert out[0, 0].tolist() == [[3, 17, 18, 19], [7, 21, 22, 23], [11, 25, 26, 27], [35, 49, 50, 51]]
    assert torch.equal(out[1], images[3])
    assert torch.equal(out[2], images[0])
    assert out[3, 0].tolist() == [[2, 3, 18, 19], [6, 7, 22, 23], [34, 35, 50, 51], [38, 39, 54, 55]]
    assert (parts * 16).tolist() == [[3, 9, 1, 3], [0, 0, 0, 16], [16, 0, 0, 0], [4, 4, 4, 4]]


def test_ricap_starts_with_the_images_own_crop():
    row = PASTING["ricap"]
    draws = draws_of(row, 5)
    draws[:, 3:5] = 0.5  # the point is the middle

    out = row.apply(Batch(squares(5, 16) / 8, torch.arange(5)), draws, task())

    assert torch.equal(out.images[:, 0, 0, 0] * 8, torch.arange(5.0))
    assert (out.mixed.diagonal() >= 0.25).all()
