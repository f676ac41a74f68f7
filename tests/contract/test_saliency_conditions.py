"""The contract of every saliency method where memory, modes, precision or the number of classes differ."""

import copy
from functools import cache

import pytest
import torch
from saliency_models import (
    SEEDS,
    SMALLEST,
    admitted,
    batch,
    changed,
    each_method,
    explain,
    few_draws,
    forget,
    model_of,
    slow_unless,
    smallest_for,
    state_of,
)
from torch import nn

from proxy_attention.saliency.maps import scale
from proxy_attention.saliency.registry import METHODS

pytestmark = pytest.mark.filterwarnings("ignore:Setting (forward|backward).*hooks:UserWarning")

PAIRS = [
    slow_unless(model == smallest_for(saliency) and "/" not in saliency, *model, saliency)
    for saliency in METHODS
    for model in (*SMALLEST, ("test_efficientnet", 32))
    if admitted(model[0], saliency, model[1])
]
"""In ``make test`` every method on its smallest model, but for those under noise: they are made of the others."""


@pytest.fixture(scope="module", autouse=True)
def frugal():
    with few_draws():
        yield
    usual_maps.cache_clear()
    forget()


def attribute(model, saliency, images, true):
    return explain(model, images, true, saliency=saliency, of="contrast", seeds=SEEDS[: len(images)])


@cache
def usual_maps(name, size, saliency):
    """An image or two, their classes and their maps under the usual conditions. Read only."""
    model = model_of(name, size)
    images, true = batch(size, count=1 if METHODS[saliency].passes(model, size) > 3 else 2)
    return images, true, attribute(model, saliency, images, true)


@pytest.fixture
def usual(name, size, saliency):
    """A model of its own with an image or two, their classes and their maps."""
    images, true, maps = usual_maps(name, size, saliency)
    return copy.deepcopy(model_of(name, size)), images, true, maps


def test_every_method_is_asked_and_those_not_under_noise_whenever_tests_run():
    assert {pair.values[2] for pair in PAIRS} == set(METHODS)
    assert {pair.values[2] for pair in PAIRS if not pair.marks} == {name for name in METHODS if "/" not in name}


@pytest.mark.parametrize(("name", "size", "saliency"), PAIRS)
def test_how_the_images_lie_in_memory_does_not_matter(saliency, usual):
    model, images, true, maps = usual
    across = images.transpose(2, 3).contiguous().transpose(2, 3)
    strided = torch.stack([images, images], dim=4)[..., 0]

    for lying in (images.contiguous(memory_format=torch.channels_last), across, strided):
        found = attribute(model, saliency, lying, true)
        torch.testing.assert_close(scale(found)[0], scale(maps)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "size", "saliency"), PAIRS)
def test_the_mode_of_graphs_around_does_not_matter(saliency, usual):
    model, images, true, maps = usual

    with torch.no_grad():
        assert torch.equal(attribute(model, saliency, images, true), maps)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        inferred = attribute(model, saliency, images.clone(), true.clone())
        assert torch.is_inference_mode_enabled()

    assert torch.equal(inferred, maps)


@pytest.mark.parametrize(("name", "size", "saliency"), PAIRS)
def test_a_frozen_model_in_training_mode_is_explained_as_in_eval_mode_and_left_as_it_was(saliency, usual):
    model, images, true, maps = usual
    model.module.requires_grad_(False)
    model.module.train()
    next(model.module.children()).eval()
    before = state_of(model, images)

    found = attribute(model, saliency, images, true)

    assert torch.equal(found, maps)
    assert changed(before, state_of(model, images)) == []


@pytest.mark.parametrize(("name", "size", "saliency"), PAIRS)
def test_autocast_around_rounds_the_passes_that_classify_and_no_other(saliency, usual):
    model, images, true, maps = usual

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attribute(model, saliency, images, true)
        assert torch.is_autocast_enabled("cpu")

    assert found.dtype == torch.float32
    assert found.isfinite().all()
    if not METHODS[saliency].one_pass:
        assert torch.equal(found, maps)


@pytest.mark.parametrize(("name", "size", "saliency"), PAIRS)
def test_a_head_that_says_nothing_gives_finite_maps(saliency, usual):
    model, images, true, _ = usual
    for parameter in model.heads[0].parameters():
        nn.init.zeros_(parameter)

    found = attribute(model, saliency, images, true)

    assert found.isfinite().all()
    if METHODS[saliency].weights is not None and saliency != "eigencam":
        assert (found == 0).all()


@pytest.mark.parametrize("saliency", each_method())
def test_two_classes_are_enough(saliency):
    model = copy.deepcopy(model_of(*smallest_for(saliency)))
    images, _ = batch(model.image_size, count=2)
    head = model.heads[0]
    model.classes, head.weight, head.bias = 2, nn.Parameter(head.weight[:2]), nn.Parameter(head.bias[:2])
    assert model(images).shape == (2, 2)

    found = attribute(model, saliency, images, torch.tensor([0, 1]))

    assert found.isfinite().all()


@pytest.mark.parametrize("saliency", each_method())
def test_only_methods_that_draw_follow_the_seed_and_each_image_its_own(saliency):
    """Without a max pool, a deconvnet's map is the same for every image: noise on pixels does not reach it."""
    model = model_of(*smallest_for(saliency))
    images, true = batch(model.image_size, count=1)
    images, true, seeds = images.repeat(3, 1, 1, 1), true.repeat(3), (7, 8, 7)

    found = explain(model, images, true, saliency=saliency, of="contrast", seeds=seeds)
    found += explain(model, images, true + 1, saliency=saliency, of="contrast", predicted=true, seeds=seeds)

    assert found.flatten(1).any(1).all()
    assert torch.equal(found[0], found[1]) != METHODS[saliency].seeded
    assert (scale(found[:1])[0] - scale(found[2:])[0]).abs().max() < 1e-5
