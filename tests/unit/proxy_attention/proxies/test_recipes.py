"""The recipe of a proxy step gives the same proxies again, bit for bit."""

import dataclasses

import numpy as np
import pytest
import torch
from proxy_steps import only, two_steps
from safetensors.torch import load, save

from proxy_attention.proxies.scoring import clean_scores
from proxy_attention.proxies.step import Recipe, apply_recipe, proxy_step

FOLLOWED = [
    {},
    {"compound": True},
    {"clear_every_step": False},
    {"compound": True, "clear_every_step": False},
    {"mask": "other"},
    {"mask": "random", "substitute": "add"},
    {"scope": "dataset", "replacement": "mean"},
    {"scope": "batch", "replacement": "max"},
    {"replacement": "noise"},
    {"replacement": "noise", "compound": True, "clear_every_step": False, "subset": 0.4},
    {"smoothing": 1.5, "max_area": 0.25, "replacement": "blur"},
    {"explain": "contrast", "saliency": "gradcam++", "order": "hardest", "subset": 0.4},
    {"threshold": "mean+1sd", "mask": "random", "max_area": 0.1},
    {"mask": "region", "compound": True, "replacement": "blur"},
]


def copied(recipe):
    """The recipe as it comes back from a file."""
    parts = load(save({name: getattr(recipe, name) for name in ("ids", "predicted", "maps")}))
    return Recipe(step=recipe.step, **parts)


@pytest.mark.parametrize("fields", FOLLOWED, ids=lambda fields: "-".join(map(str, fields.values())) or "defaults")
def test_following_the_recipes_makes_the_same_proxies_bit_for_bit(config, small, trained, training_set_of, fields):
    trial = config(**{"batch_size": 7, "threshold": 0.3, "weight": 0.7, **fields})
    first = training_set_of(trial, small)
    made = two_steps(trained, first, trial, region=lambda number: np.arange(64).reshape(8, 8) % (3 + number % 5) == 0)
    before = small.images.clone()

    training_set = first
    for step in made:
        again = apply_recipe(copied(step.recipe), training_set, trial)
        training_set = again.training_set
        assert (again.made, again.flat, again.wrong) == (step.made, step.flat, 0)
        for name in ("ids", "true", "predicted", "originals", "maps", "proxies"):
            assert torch.equal(getattr(again.examples, name), getattr(step.examples, name))

    proxies = made[-1].training_set.proxies
    assert torch.equal(training_set.proxies.ids, proxies.ids)
    assert torch.equal(training_set.proxies.pixels, proxies.pixels)
    assert (proxies.pixels != small.images[proxies.ids]).any(3).any(2).any(1).sum() > 10
    assert len(first.proxies) == 0  # what was handed in is not written to
    assert torch.equal(small.images, before)


@pytest.mark.parametrize(("compound", "same"), [(False, True), (True, False)])
def test_the_last_recipe_alone_is_enough_unless_proxies_are_built_on(
    config, small, trained, training_set_of, compound, same
):
    trial = config(compound=compound, threshold=0.3, weight=0.7)
    first = training_set_of(trial, small)
    made = two_steps(trained, first, trial)[-1]

    alone = apply_recipe(made.recipe, first, trial).training_set.proxies

    assert torch.equal(alone.ids, made.training_set.proxies.ids)
    assert torch.equal(alone.pixels, made.training_set.proxies.pixels) is same


def test_the_recipe_of_a_step_without_a_wrong_image_makes_none(config, tiny, trained, training_set_of):
    trial = config(scope="dataset", replacement="mean", mask="other")
    training_set = training_set_of(trial, tiny)
    given = clean_scores(trained, training_set, trial)
    some = proxy_step(trained, training_set, only(given, 1, 2), trial, step=0).training_set
    none = proxy_step(trained, some, only(given), trial, step=1).recipe

    again = apply_recipe(copied(none), some, trial)

    assert none.maps.shape == (0, *trained.grid)
    assert (again.made, again.flat, len(again.training_set.proxies)) == (0, 0, 0)
    assert again.training_set.proxies.pixels.shape == (0, 3, 32, 32)


def test_a_step_shows_the_maps_that_its_scores_came_with(config, small, trained, training_set_of):
    trial = config(subset=0.5)
    training_set = training_set_of(trial, small)
    given = clean_scores(trained, training_set, trial)

    recipe = proxy_step(trained, training_set, given, trial, step=0).recipe
    anew = proxy_step(trained, training_set, dataclasses.replace(given, maps=None), trial, step=0).recipe

    place = torch.searchsorted(given.ids, recipe.ids)
    assert torch.equal(recipe.maps, given.maps[place])
    assert torch.equal(recipe.predicted, given.predicted[place])
    assert torch.equal(anew.ids, recipe.ids)
    torch.testing.assert_close(anew.maps, recipe.maps, atol=1e-6, rtol=1e-4)


def test_a_proxy_of_a_proxy_is_explained_as_it_now_looks(config, small, trained, training_set_of):
    trial = config(compound=True, threshold=0.0, weight=0.9)
    training_set = training_set_of(trial, small)
    given = clean_scores(trained, training_set, trial)
    first, second = (step.recipe for step in two_steps(trained, training_set, trial))

    both = torch.isin(second.ids, first.ids)
    of_originals = given.maps[torch.searchsorted(given.ids, second.ids)]
    assert both.sum() == 10
    assert (second.maps[both] - of_originals[both]).abs().amax((1, 2)).min() > 1e-3
    torch.testing.assert_close(second.maps[~both], of_originals[~both], atol=1e-6, rtol=1e-4)
