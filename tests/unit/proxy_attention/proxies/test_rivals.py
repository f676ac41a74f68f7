"""MaskTune, JTT and A/A as settings of a proxy step, on cases small enough to be made by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from proxy_steps import scores

from proxy_attention.data.training_set import Proxies, TrainingSet
from proxy_attention.proxies.step import Recipe, apply_recipe, proxy_step

MASKTUNE = {"choose": "all", "threshold": "mean+2sd", "replacement": "black", "weight": 1.0}
JTT = {"collect": "online", "weight": 0.0, "substitute": "add", "repeats": 3, "restart": True}
EVERY_VALUE = torch.arange(256, dtype=torch.uint8)


def training_set(images, **fields):
    return TrainingSet(
        images,
        torch.arange(len(images)) % 2,
        train=np.arange(len(images)),
        proxies=Proxies.none(images),
        **{"substitute": "replace", **fields},
    )


def recipe(*maps):
    found = torch.stack(maps)
    return Recipe(step=0, ids=torch.arange(len(maps)), predicted=torch.zeros(len(maps), dtype=torch.int64), maps=found)


def map_of(values):
    """A map of 16 x 16 with these values at these places, and zero elsewhere."""
    found = torch.zeros(16, 16)
    for (row, column), value in values.items():
        found[row, column] = value
    return found


def test_masktune_blackens_what_is_above_the_mean_and_two_standard_deviations_of_the_positive_values(config):
    """Positive are eight times 0.25 and 1: mean 1/3, sd 0.236, so the 1 is above 0.805. Of 0.5 and 1 none is: 1.25."""
    eight = {(2, column): 0.25 for column in range(8)}
    images = torch.full((3, 3, 16, 16), 200, dtype=torch.uint8)
    maps = (map_of({**eight, (5, 6): 1.0}), map_of({(3, 3): 0.5, (5, 6): 1.0}), map_of({}))

    step = apply_recipe(recipe(*maps), training_set(images), config(**MASKTUNE, image_size=16))

    expected = images.clone()
    expected[0, :, 5, 6] = 0
    assert torch.equal(step.training_set.proxies.pixels, expected)
    assert (step.made, step.flat) == (3, 1)
    assert torch.equal(images, torch.full_like(images, 200))


def test_masktune_masks_a_map_of_the_features_size_as_its_own_files_do(config):
    """Scaled to [0, 1], enlarged bilinearly and scaled again; then numpy's mean and sd of what is above zero."""
    given = torch.rand(4, 5, 5, generator=torch.Generator().manual_seed(1)).square()
    images = torch.randint(1, 256, (4, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))

    step = apply_recipe(recipe(*given), training_set(images), config(**MASKTUNE, image_size=20))

    heat = step.examples.maps.numpy()
    positive = np.where(heat > 0, heat, np.nan)
    level = np.nanmean(positive, axis=(1, 2)) + 2 * np.nanstd(positive, axis=(1, 2))
    masks = np.where(heat > level[:, None, None], 0, 1)[:, None]
    assert 0 < (masks == 0).mean() < 0.2
    np.testing.assert_array_equal(step.training_set.proxies.pixels.numpy(), images.numpy() * masks)


def test_jtt_trains_on_all_images_and_on_those_that_were_wrong_as_often_as_it_repeats_them(config, trained):
    """The order of its own files: the training set, then the list of wrong ones so many times over."""
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    trial = config(**JTT)
    wrong = scores([False, True, False, True, True, False], ids=torch.arange(6))

    step = proxy_step(trained, training_set(images, substitute="add", repeats=3), wrong, trial, step=0)

    given = step.training_set
    assert given.slot_ids.tolist() == [0, 1, 2, 3, 4, 5] + [1, 3, 4] * 3
    pixels, labels = given.slots(torch.arange(len(given)))
    assert torch.equal(pixels, images[given.slot_ids])
    assert labels.tolist() == [0, 1, 0, 1, 0, 1] + [1, 1, 0] * 3


def test_the_control_of_jtt_repeats_as_many_images_whichever_they_are(config, trained):
    images = torch.zeros(60, 3, 32, 32, dtype=torch.uint8)
    wrong = scores([True] * 12 + [False] * 48, ids=torch.arange(60))
    given = training_set(images, substitute="add", repeats=3)

    taken = {
        whom: proxy_step(trained, given, wrong, config(**JTT, choose=whom), step=0).training_set.slot_ids[60:]
        for whom in ("wrong", "random")
    }

    assert len(taken["wrong"]) == len(taken["random"]) == 36
    assert taken["wrong"].tolist() == list(range(12)) * 3
    assert (taken["random"] >= 12).sum() > 12


@pytest.mark.parametrize("level", [1.0, 0.7, 0.3])
def test_a_weight_of_one_step_of_255_changes_no_pixel_by_more_than_one_step(config, level):
    """A/A: an arm that differs in next to nothing, whose share of differences must be the nominal one."""
    image = EVERY_VALUE.view(1, 1, 16, 16).expand(2, 3, 16, 16).contiguous()
    wide = torch.full((16, 16), level)
    wide[0, 0], wide[0, 1] = 1.0, 0.0
    given = recipe(wide, map_of({(15, 15): 1.0, (0, 0): 0.2}))
    trial = config(weight=1 / 255, threshold=0.3, image_size=16)

    made, stronger = (
        apply_recipe(given, training_set(image), each) for each in (trial, dataclasses.replace(trial, weight=2 / 255))
    )

    change = image.int() - made.training_set.proxies.pixels.int()
    shown = made.examples.maps[:, None]
    expected = ((shown * image >= 127.5) & (shown >= 0.3)).int()  # half a step and more rounds to one
    assert change.unique().tolist() == [0, 1]
    assert torch.equal(change, expected.expand_as(change))
    assert (image.int() - stronger.training_set.proxies.pixels.int()).max() == 2
