"""Controls in a proxy step: other masks change as many pixels, at other places."""

import itertools

import torch
from proxy_steps import only

from proxy_attention.proxies.masks import MASKS, changed_pixels
from proxy_attention.proxies.scoring import clean_scores
from proxy_attention.proxies.step import proxy_step


def test_a_control_changes_as_many_pixels_as_the_map_itself(config, small, trained, training_set_of):
    areas = {}
    for mask in ("saliency", "random", "inverse"):
        trial = config(mask=mask, threshold=0.4)
        training_set = training_set_of(trial, small)
        shown = proxy_step(trained, training_set, clean_scores(trained, training_set, trial), trial, step=0).examples
        areas[mask] = changed_pixels(shown.maps, threshold=0.4, max_area=1.0).sum((1, 2)).tolist()

    assert areas["random"] == areas["saliency"] == areas["inverse"]
    assert min(areas["saliency"]) > 0


def test_controls_differ_from_the_map_and_from_each_other(config, small, trained, training_set_of):
    shown = {}
    for mask in MASKS:
        trial = config(mask=mask)
        training_set = training_set_of(trial, small)
        given = clean_scores(trained, training_set, trial)
        shown[mask] = proxy_step(trained, training_set, given, trial, step=0).examples.maps

    for one, other in itertools.combinations(MASKS, 2):
        assert (shown[one] != shown[other]).flatten(1).any(1).all()


def test_a_random_shift_follows_the_step(config, small, trained, training_set_of):
    trial = config(mask="random")
    training_set = training_set_of(trial, small)
    given = clean_scores(trained, training_set, trial)

    first, second = (proxy_step(trained, training_set, given, trial, step=step).examples.maps for step in (0, 1))

    assert not torch.equal(first, second)


def test_the_map_of_another_image_cannot_be_had_of_a_lone_one(config, tiny, trained, training_set_of):
    trial = config(mask="other", weight=1.0)
    training_set = training_set_of(trial, tiny)
    given = only(clean_scores(trained, training_set, trial), 4)

    step = proxy_step(trained, training_set, given, trial, step=0)

    assert (step.made, step.flat) == (1, 1)
    assert torch.equal(step.training_set.proxies.pixels, tiny.images[given.ids[[4]]])
