"""Measures of the faithfulness of maps: by hand, and as a trained model is judged by them."""

import pytest
import torch
from saliency_models import maps_of_predictions

from proxy_attention.explanation_metrics import BLUR, judge_explanations
from proxy_attention.proxies.replacement import smooth
from proxy_attention.saliency.faithfulness import (
    PASSES,
    STEPS,
    deletion_auc,
    drop,
    increase,
    insertion_auc,
    places,
    points_inside,
    sparseness,
)

IMAGE = torch.tensor([[0.5, 0.25], [0.125, 0.125]]).expand(1, 3, 2, 2)
"""Four pixels that add up to 1, so that a linear model is as sure of it as a part of it is left."""


def linear(images):
    """The sum of one channel: a confidence that every pixel adds to by its own value."""
    return images[:, 0].sum((1, 2))


def maps_of(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def deleted(maps, steps=4, image=IMAGE):
    whole = linear(image)
    return deletion_auc(linear, image, maps, whole=whole, blank=torch.zeros(1, 3, 1, 1), steps=steps).tolist()


def inserted(maps, steps=4, image=IMAGE):
    whole = linear(image)
    return insertion_auc(linear, image, maps, whole=whole, blurred=torch.zeros_like(image), steps=steps).tolist()


# ---- by hand


def test_pixels_are_ranked_by_their_map_and_equal_ones_by_their_place():
    assert places(maps_of([[0.5, 1.0], [0.5, 0.0]])).tolist() == [[[1, 0], [2, 3]]]
    assert places(torch.zeros(1, 2, 2)).tolist() == [[[0, 1], [2, 3]]]


def test_deletion_and_insertion_of_four_pixels_by_hand():
    best, worst = maps_of([[1.0, 0.9], [0.8, 0.7]]), maps_of([[0.0, 0.1], [0.2, 0.3]])

    # what is left after each deletion: 1, 1/2, 1/4, 1/8, 0; what is there after each insertion: 0, 1/2, 3/4, 7/8, 1
    assert deleted(best) == [(0.5 + 0.5 + 0.25 + 0.125) / 4]
    assert inserted(best) == [(0.5 + 0.75 + 0.875 + 0.5) / 4]
    # the least first: 1, 7/8, 3/4, 1/2, 0 and 0, 1/8, 1/4, 1/2, 1
    assert deleted(worst) == [(0.5 + 0.875 + 0.75 + 0.5) / 4]
    assert inserted(worst) == [(0.125 + 0.25 + 0.5 + 0.5) / 4]


def test_steps_are_equal_parts_of_the_pixels():
    best = maps_of([[1.0, 0.9], [0.8, 0.7]])

    assert deleted(best, steps=1) == [0.5]
    assert deleted(best, steps=2) == [(0.5 + 0.25) / 2]  # 1, 1/4, 0
    # of 4 pixels in 3 parts: after 1 and 3, at a quarter and three quarters of the way: 1, 1/2, 1/8, 0
    assert deleted(best, steps=3) == [pytest.approx(0.25 * 0.75 + 0.5 * 0.3125 + 0.25 * 0.0625)]
    assert deleted(best, steps=8) == deleted(best, steps=4)


def test_what_is_deleted_becomes_the_blank_and_what_is_inserted_replaces_the_blurred_image():
    seen = []

    def keep(images):
        seen.append(images.clone())
        return linear(images)

    grey, maps = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1), maps_of([[1.0, 0.9], [0.8, 0.7]])
    deletion_auc(keep, IMAGE, maps, whole=torch.ones(1), blank=grey, steps=2)
    insertion_auc(keep, IMAGE, maps, whole=torch.ones(1), blurred=IMAGE + 1, steps=2)

    half, none, blurred, other_half = seen
    assert torch.equal(half[..., 0, :], grey[..., 0].expand(1, 3, 2))
    assert torch.equal(half[..., 1, :], IMAGE[..., 1, :])
    assert torch.equal(none, grey.expand_as(IMAGE))
    assert torch.equal(blurred, IMAGE + 1)
    assert torch.equal(other_half, torch.cat([IMAGE[..., :1, :], IMAGE[..., 1:, :] + 1], dim=2))


def test_the_images_of_a_batch_are_measured_each_by_its_own_map():
    maps = maps_of([[1.0, 0.9], [0.8, 0.7]], [[0.0, 0.1], [0.2, 0.3]])

    assert deleted(maps, image=IMAGE.repeat(2, 1, 1, 1)) == deleted(maps[:1]) + deleted(maps[1:])


def test_drop_and_increase_by_hand():
    whole, masked = torch.tensor([0.8, 0.5, 0.5, 0.4]), torch.tensor([0.2, 0.5, 0.75, 0.0])

    assert drop(whole, masked).tolist() == pytest.approx([0.75, 0, 0, 1])
    assert increase(whole, masked).tolist() == [False, False, True, False]


def test_sparseness_is_0_of_equal_pixels_and_all_but_one_part_of_a_single_one():
    maps = maps_of([[1, 1], [1, 1]], [[0, 0], [3, 0]], [[1, 2], [3, 4]], [[0, 0], [0, 0]])

    # of 1, 2, 3, 4: 1 - 2 (1 * 3.5 + 2 * 2.5 + 3 * 1.5 + 4 * 0.5) / (10 * 4)
    assert sparseness(maps).tolist() == pytest.approx([0, 0.75, 0.25, 0])


def test_sparseness_does_not_depend_on_scale_and_place():
    maps = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))

    assert torch.allclose(sparseness(maps), sparseness(7 * maps.flip(1, 2)))


def test_a_map_points_at_the_object_if_its_highest_pixel_lies_on_it():
    maps = maps_of([[0, 1], [0.5, 0]], [[0, 1], [0.5, 0]], [[1, 1], [0, 0]], [[0, 0], [0, 0]])
    regions = torch.tensor([[[0, 1], [0, 0]], [[1, 0], [1, 1]], [[0, 1], [0, 0]], [[1, 1], [1, 1]]]).bool()

    # of two highest the first points; a map without any range points nowhere
    assert points_inside(maps, regions).tolist() == [True, False, False, False]


# ---- against torch-cam


@pytest.fixture
def asked(trained, small):
    return maps_of_predictions(trained, small)


def test_a_model_is_judged_by_these_measures_of_its_maps(trained, small, asked):
    images, maps, whole, confidence = asked
    ids = small.own_test.nonzero().flatten()[::5].numpy()

    found = judge_explanations(trained, small, ids=ids, saliency="eigengradcam", precision="fp32", seed=0)

    masked = confidence(images * maps[:, None])
    blurred = smooth(images, sigma=BLUR * 32)
    expected = {
        "insertion_auc": insertion_auc(confidence, images, maps, whole=whole, blurred=blurred),
        "deletion_auc": deletion_auc(confidence, images, maps, whole=whole, blank=trained.blank),
        "average_drop": drop(whole, masked),
        "average_increase": increase(whole, masked).float(),
        "sparseness": sparseness(maps),
    }
    for name, each in expected.items():
        assert getattr(found, name) == pytest.approx(float(each.mean()), abs=1e-6), name
    assert (found.judged_by, found.judged_images, found.pointing_game) == ("eigengradcam", 16, None)


def test_the_passes_that_are_stated_are_those_that_are_taken(trained, small, monkeypatch):
    counted = []
    plain = type(trained).__call__
    monkeypatch.setattr(
        type(trained), "__call__", lambda self, images: (counted.append(len(images)), plain(self, images))[1]
    )
    ids = small.own_test.nonzero().flatten()[:6].numpy()

    judge_explanations(trained, small, ids=ids, saliency="eigengradcam", precision="fp32", seed=0)

    assert sum(counted) == 6 * (PASSES + 1)  # one for the map
    assert PASSES == 2 * STEPS + 2
