"""A proxy step: as many proxies as images are wrong, made as the configuration says, kept or cleared."""

import dataclasses

import numpy as np
import pytest
import torch
from proxy_steps import only

from proxy_attention.data.training_set import SUBSTITUTES
from proxy_attention.proxies import step as step_module
from proxy_attention.proxies.masks import MASKS
from proxy_attention.proxies.replacement import REPLACEMENTS, SCOPES
from proxy_attention.proxies.scoring import CHOOSE, COLLECT, ORDERS, clean_scores
from proxy_attention.proxies.step import EXAMPLES, proxy_step
from proxy_attention.saliency.maps import EXPLAIN, low_resolution_maps, scale, upsample
from proxy_attention.saliency.registry import METHODS

OPTIONS = {
    "saliency": tuple(name for name, method in METHODS.items() if method.one_pass or name in ("scorecam", "saliency")),
    "explain": tuple(EXPLAIN),
    "mask": tuple(MASKS),
    "replacement": tuple(REPLACEMENTS),
    "scope": SCOPES,
    "collect": COLLECT,
    "order": tuple(ORDERS),
    "substitute": SUBSTITUTES,
    "clear_every_step": (True, False),
    "compound": (True, False),
    "smoothing": (0.0, 1.5),
    "max_area": (0.0, 0.25, 1.0),
}


SETTINGS = [(field, value) for field, values in OPTIONS.items() for value in values]


@pytest.mark.parametrize(("field", "value"), SETTINGS)
def test_a_step_makes_as_many_proxies_as_images_are_wrong_under_every_setting(
    config, tiny, trained, training_set_of, field, value
):
    trial = config(**{field: value})
    training_set = training_set_of(trial, tiny)
    scores = clean_scores(trained, training_set, trial)
    for wrong in (0, 1, 2):
        given = only(scores, *range(3, 3 + wrong))

        step = proxy_step(trained, training_set, given, trial, step=0)

        assert (step.wrong, step.made) == (wrong, wrong)
        assert step.training_set.proxies.ids.tolist() == given.ids[3 : 3 + wrong].tolist()
        assert step.training_set.proxies.pixels.shape == (wrong, 3, 32, 32)
        assert step.training_set.proxies.pixels.dtype == torch.uint8
        assert step.examples.maps.shape == (wrong, 32, 32)
        assert step.examples.originals.shape == step.examples.proxies.shape == (wrong, 3, 32, 32)
        assert step.seconds > 0


@pytest.mark.parametrize("whom", CHOOSE)
def test_a_step_makes_proxies_of_whom_it_chooses_and_counts_the_wrong_ones(
    config, tiny, trained, training_set_of, whom
):
    trial = config(choose=whom)
    training_set = training_set_of(trial, tiny)
    given = only(clean_scores(trained, training_set, trial), 1, 2, 5)
    count = len(training_set)

    step = proxy_step(trained, training_set, given, trial, step=0)

    expected = {"wrong": 3, "right": count - 3, "all": count, "random": 3}[whom]
    assert (step.wrong, step.made, len(step.training_set.proxies)) == (3, expected, expected)


def test_the_images_that_are_shown_are_named_with_their_class_and_with_what_misled(
    config, small, trained, training_set_of
):
    trial = config()
    training_set = training_set_of(trial, small)
    given = clean_scores(trained, training_set, trial)

    shown = proxy_step(trained, training_set, given, trial, step=0).examples

    first = given.wrong.nonzero().flatten()[:EXAMPLES]
    assert torch.equal(shown.ids, given.ids[first])
    assert torch.equal(shown.true, small.labels[shown.ids])
    assert torch.equal(shown.predicted, given.predicted[first])
    assert (shown.true != shown.predicted).all()


def test_a_proxy_is_its_original_turned_down_by_its_map(config, small, trained, training_set_of):
    trial = config(threshold=0.4, weight=0.8, batch_size=7)
    training_set = training_set_of(trial, small)
    given = clean_scores(trained, training_set, trial)

    proxies = proxy_step(trained, training_set, given, trial, step=0).training_set.proxies

    wrong = given.wrong
    originals = small.images[given.ids[wrong]].float() / 255
    low = low_resolution_maps(
        trained,
        originals,
        predicted=given.predicted[wrong],
        true=small.labels[given.ids[wrong]],
        saliency="gradcam",
        explain="predicted",
    )
    maps = scale(upsample(low, 32))[0]
    expected = torch.where((maps >= 0.4)[:, None], (1 - 0.8 * maps[:, None]) * originals, originals) * 255
    assert torch.equal(proxies.ids, given.ids[wrong])
    assert (proxies.pixels.float() - expected).abs().max() < 0.51
    assert (proxies.pixels != small.images[proxies.ids]).any(3).any(2).any(1).all()


@pytest.mark.parametrize("max_area", [0.0, 0.1, 0.5])
def test_no_more_of_an_image_is_changed_than_allowed(config, small, trained, training_set_of, max_area):
    trial = config(threshold=0.0, max_area=max_area, replacement="white", weight=1.0)
    training_set = training_set_of(trial, small)

    made = proxy_step(trained, training_set, clean_scores(trained, training_set, trial), trial, step=0)

    proxies = made.training_set.proxies
    changed = (proxies.pixels != small.images[proxies.ids]).any(1).sum((1, 2))
    assert made.made > 10
    assert changed.max() <= int(max_area * 1024)
    assert (changed.max() > 0) == (max_area > 0)


def test_flat_maps_are_counted_and_change_nothing(config, tiny, trained, training_set_of):
    """The contrast of a class with itself is nothing: of three images, two that are right after all."""
    trial = config(explain="contrast", weight=1.0)
    training_set = training_set_of(trial, tiny)
    found = clean_scores(trained, training_set, trial)
    right, wrong = (~found.wrong).nonzero().flatten().tolist()[:2], found.wrong.nonzero().flatten().tolist()[:1]
    given = only(found, *right, *wrong)

    step = proxy_step(trained, training_set, given, trial, step=0)

    unchanged = (step.training_set.proxies.pixels == tiny.images[step.training_set.proxies.ids]).flatten(1).all(1)
    assert (step.made, step.flat) == (3, 2)
    assert torch.equal(step.training_set.proxies.ids[unchanged], found.ids[right])


def test_an_image_of_which_no_place_is_known_or_all_of_it_is_left_as_it_is_and_counted(
    config, tiny, trained, training_set_of
):
    trial = config(mask="region", weight=1.0, replacement="white")
    training_set = training_set_of(trial, tiny)
    given = only(clean_scores(trained, training_set, trial), 1, 2, 5)
    one, two, three = given.ids[[1, 2, 5]].tolist()
    places = {one: None, two: np.ones((4, 4), dtype=bool), three: np.eye(32, dtype=bool)}

    step = proxy_step(trained, training_set, given, trial, step=0, region=places.get)

    pixels, originals = step.training_set.proxies.pixels, tiny.images[[one, two, three]]
    inside = torch.eye(32, dtype=torch.bool)
    assert (step.made, step.flat) == (3, 2)
    assert torch.equal(pixels[:2], originals[:2])
    assert (pixels[2][:, inside] == 255).all()
    assert torch.equal(pixels[2][:, ~inside], originals[2][:, ~inside])


def test_a_step_that_replaces_known_places_explains_nothing(config, tiny, trained, training_set_of, monkeypatch):
    trial = config(mask="region", saliency="scorecam")
    training_set = training_set_of(trial, tiny)
    given = clean_scores(trained, training_set, trial)
    monkeypatch.setattr(step_module, "explain", None)  # calling it would raise

    made = proxy_step(trained, training_set, given, trial, step=0, region=lambda number: np.eye(4, dtype=bool))

    assert given.maps is None
    assert made.recipe.maps.shape == (made.made, 32, 32)


@pytest.mark.parametrize(("compound", "generations"), [(False, 1), (True, 2)])
def test_compound_proxies_start_from_the_proxies_before(config, tiny, trained, training_set_of, compound, generations):
    trial = config(compound=compound, replacement="black", weight=0.5, threshold=0.0)
    training_set = training_set_of(trial, tiny)
    given = only(clean_scores(trained, training_set, trial), 0, 1, 2)
    for step in range(2):
        training_set = proxy_step(trained, training_set, given, trial, step=step).training_set

    expected = tiny.images[given.ids[:3]].float()
    for _ in range(generations):
        expected = (expected / 2).round()
    assert (training_set.proxies.pixels.float() - expected).abs().max() <= 1


@pytest.mark.parametrize(("clear", "kept"), [(True, [5, 6]), (False, [1, 2, 5, 6])])
def test_earlier_proxies_are_cleared_or_kept(config, tiny, trained, training_set_of, clear, kept):
    trial = config(clear_every_step=clear)
    training_set = training_set_of(trial, tiny)
    given = clean_scores(trained, training_set, trial)

    training_set = proxy_step(trained, training_set, only(given, 1, 2, 5), trial, step=0).training_set
    first = training_set.proxies
    trial = dataclasses.replace(trial, weight=0.9)
    training_set = proxy_step(trained, training_set, only(given, 5, 6), trial, step=1).training_set

    assert training_set.proxies.ids.tolist() == given.ids[kept].tolist()
    if not clear:
        assert torch.equal(training_set.proxies.pixels[:2], first.pixels[:2])  # not chosen again: as they were
    assert not torch.equal(training_set.proxies.pixels[-2], first.pixels[2])  # chosen again: the newer


def test_a_step_that_finds_nothing_wrong_clears_earlier_proxies_too(config, tiny, trained, training_set_of):
    trial = config()
    training_set = training_set_of(trial, tiny)
    given = clean_scores(trained, training_set, trial)
    training_set = proxy_step(trained, training_set, only(given, 1, 2), trial, step=0).training_set

    assert len(proxy_step(trained, training_set, only(given), trial, step=1).training_set.proxies) == 0


def test_examples_are_the_first_eight_proxies_of_the_step(config, small, trained, training_set_of):
    trial = config(batch_size=3)
    training_set = training_set_of(trial, small)

    step = proxy_step(trained, training_set, clean_scores(trained, training_set, trial), trial, step=0)

    proxies = step.training_set.proxies
    assert torch.equal(step.examples.ids, proxies.ids[:8])
    assert torch.equal(step.examples.originals, small.images[proxies.ids[:8]])
    assert torch.equal(step.examples.proxies, proxies.pixels[:8])
    assert step.examples.maps.shape == (8, 32, 32)


def test_the_scope_of_a_data_set_is_its_training_images_only(config, small, trained, training_set_of):
    trial = config(replacement="mean", scope="dataset", weight=1.0, threshold=0.0)
    training_set = training_set_of(trial, small)

    step = proxy_step(trained, training_set, clean_scores(trained, training_set, trial), trial, step=0)

    mean = small.images[training_set.train].float().mean((0, 2, 3)).round()
    assert step.training_set.proxies.pixels[0, :, 0, 0].tolist() == mean.tolist()


def test_a_step_changes_no_weight_and_leaves_no_gradient(config, tiny, trained, training_set_of):
    trial = config()
    training_set = training_set_of(trial, tiny)
    before = {name: value.clone() for name, value in trained.module.state_dict().items()}

    proxy_step(trained, training_set, clean_scores(trained, training_set, trial), trial, step=0)

    assert all(torch.equal(value, before[name]) for name, value in trained.module.state_dict().items())
    assert not trained.module.training
