"""Maps of the chosen images: of an untrained model, smoothed, shared by trials that ask the same."""

import dataclasses

import pytest
import torch

from proxy_attention.models.build import build, untrained
from proxy_attention.proxies.explain import maps_key
from proxy_attention.proxies.masks import UNTRAINED
from proxy_attention.proxies.scoring import clean_scores
from proxy_attention.proxies.step import proxy_step
from proxy_attention.saliency.maps import EXPLAIN, low_resolution_maps


def pixels_of(step):
    return step.training_set.proxies.pixels


def wrong_of(given, count=5):
    wrong = torch.zeros_like(given.wrong)
    wrong[given.wrong.nonzero().flatten()[:count]] = True
    return dataclasses.replace(given, wrong=wrong)


@pytest.fixture
def step_of(small, trained, training_set_of):
    """The proxy step of a trial over five wrong images, by this model or by the trained one."""
    training_set = training_set_of

    def make(trial, *, model=trained, scores=None, step=0):
        images = training_set(trial, small)
        given = wrong_of(clean_scores(trained, images, trial)) if scores is None else scores
        return proxy_step(model, images, given, trial, step=step)

    return make


@pytest.mark.parametrize(("saliency", "explain"), [*(("gradcam", name) for name in EXPLAIN), ("scorecam", "contrast")])
def test_an_untrained_map_is_that_of_random_weights_for_the_same_images_and_classes(
    config, small, step_of, explain, saliency
):
    trial = config(mask=UNTRAINED, explain=explain, saliency=saliency)
    twin = untrained(trial.model, classes=10, image_size=32, weights="none", seed=trial.seed)
    twin.module.eval()

    recipe = step_of(trial).recipe

    found = low_resolution_maps(
        twin,
        small.images[recipe.ids].float() / 255,
        predicted=recipe.predicted,
        true=small.labels[recipe.ids],
        saliency=saliency,
        explain=explain,
    )
    torch.testing.assert_close(recipe.maps, found, atol=1e-6, rtol=1e-5)
    assert found.amax((1, 2)).min() > 0


def test_an_untrained_map_does_not_know_the_trained_weights(config, small, trained, training_set_of, step_of):
    trial = config(mask=UNTRAINED)
    scores = wrong_of(clean_scores(trained, training_set_of(trial, small), trial))
    fresh = build(trial.model, classes=10, image_size=32, weights="none", seed=99)

    by_trained, by_fresh = (step_of(trial, model=model, scores=scores) for model in (trained, fresh))
    of_trained, of_fresh = (step_of(config(), model=m, scores=scores).recipe.maps for m in (trained, fresh))

    assert not torch.equal(of_trained, of_fresh)  # the two do differ where the model itself is asked
    assert torch.equal(by_trained.recipe.maps, by_fresh.recipe.maps)
    assert torch.equal(pixels_of(by_trained), pixels_of(by_fresh))


def test_an_untrained_map_follows_the_seed_and_not_the_step(config, small, trained, training_set_of, step_of):
    scores = wrong_of(clean_scores(trained, training_set_of(config(), small), config(mask=UNTRAINED)))

    def maps(seed, step):
        # the split is drawn from a seed of its own, so that the images are the same
        return step_of(config(mask=UNTRAINED, seed=seed, split_seed=3), scores=scores, step=step).recipe.maps

    assert torch.equal(maps(3, 0), maps(3, 1))
    assert not torch.equal(maps(3, 0), maps(4, 0))


def test_asking_an_untrained_model_leaves_the_trained_one_and_the_global_stream_as_they_were(config, trained, step_of):
    before = {name: value.clone() for name, value in trained.module.state_dict().items()}
    gradients = [None if value.grad is None else value.grad.clone() for value in trained.module.parameters()]
    stream = torch.random.get_rng_state()

    step_of(config(mask=UNTRAINED))

    assert all(torch.equal(value, before[name]) for name, value in trained.module.state_dict().items())
    for value, gradient in zip(trained.module.parameters(), gradients, strict=True):
        assert (value.grad is None) if gradient is None else torch.equal(value.grad, gradient)
    assert not trained.module.training
    assert torch.equal(torch.random.get_rng_state(), stream)


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({"threshold": 0.9, "weight": 0.1, "replacement": "noise", "scope": "batch"}, True),
        ({"smoothing": 2.0, "max_area": 0.1}, True),
        ({"mask": "saliency"}, False),
        ({"saliency": "gradcam++"}, False),
        ({"explain": "true"}, False),
        ({"eigen_smooth": True}, False),
        ({"seed": 4}, False),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_untrained_maps_are_shared_by_trials_that_ask_the_same_and_by_no_other(config, fields, same):
    ids = torch.tensor([1, 5, 7])

    one, other = config(mask=UNTRAINED), config(**{"mask": UNTRAINED, **fields})

    assert (maps_key(one, ids, step=0) == maps_key(other, ids, step=0)) is same


@pytest.mark.parametrize("mask", ["saliency", UNTRAINED])
@pytest.mark.parametrize("saliency", ["gradcam++", "ablationcam"])
def test_a_proxy_uses_the_smoothed_map_if_it_is_asked_for(config, small, trained, step_of, saliency, mask):
    plain, smoothed = (config(saliency=saliency, mask=mask, eigen_smooth=asked) for asked in (False, True))
    twin = untrained(plain.model, classes=10, image_size=32, weights="none", seed=plain.seed)
    twin.module.eval()

    without, by = step_of(plain), step_of(smoothed)

    found = low_resolution_maps(
        twin if mask == UNTRAINED else trained,
        small.images[by.recipe.ids].float() / 255,
        predicted=by.recipe.predicted,
        true=small.labels[by.recipe.ids],
        saliency=saliency,
        explain="predicted",
        eigen_smooth=True,
    )
    torch.testing.assert_close(by.recipe.maps, found, atol=1e-5, rtol=1e-4)
    assert not torch.equal(by.recipe.maps, without.recipe.maps)
    assert not torch.equal(pixels_of(by), pixels_of(without))
