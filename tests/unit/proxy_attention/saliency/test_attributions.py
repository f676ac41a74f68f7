"""Attributions by many passes: values by hand on a linear model, draws from an image's seed, stated costs."""

import dataclasses

import pytest
import torch
from saliency_models import admitted, few_draws, forget, model_of
from saliency_models import batch as images_of
from saliency_toys import chain, linear_model, one_hot, signed

from proxy_attention.saliency import attributions, gradients
from proxy_attention.saliency.attributions import ATTRIBUTIONS
from proxy_attention.saliency.interface import SaliencyInput

pytestmark = pytest.mark.filterwarnings("ignore:\\s*Setting (forward|backward).*hooks:UserWarning")

COUNT = 2
SEEDS = (5, 6)


@pytest.fixture(scope="module", autouse=True)
def frugal():
    with few_draws():
        yield
    forget()


def batch(size=32):
    return images_of(size, COUNT)


@pytest.fixture
def linear():
    return linear_model()


def test_on_a_linear_model_squares_have_the_shapley_values_of_their_pixels(linear, monkeypatch):
    monkeypatch.setattr(attributions, "DRAWS", 256)
    model, images, weight = linear

    found = signed(model, "kernel-shap", images, torch.eye(2))

    torch.testing.assert_close(found, (weight * images).sum(1), atol=0.01, rtol=0)  # float32, with weights of 1e6


def test_on_a_linear_model_an_occluded_pixel_costs_what_its_windows_hold(linear):
    model, images, weight = linear
    value = (weight * images).sum(1)

    found = signed(model, "occlusion", images, torch.eye(2))

    # windows of two by two, one apart: the corner pixel lies under one of them
    torch.testing.assert_close(found[:, 0, 0], value[:, :2, :2].sum((1, 2)).float(), atol=1e-5, rtol=0)


def test_on_a_linear_model_gradients_do_not_vary_under_noise(linear):
    model, images, weight = linear

    assert torch.equal(signed(model, "vargrad", images, torch.eye(2)), torch.zeros(2, 8, 8, dtype=torch.float64))
    torch.testing.assert_close(signed(model, "smoothgrad", images, torch.eye(2)), weight.abs().amax(1))
    torch.testing.assert_close(signed(model, "smoothgrad-squared", images, torch.eye(2)), weight.square().sum(1))


def test_steps_samples_and_draws_are_those_that_the_table_states():
    monkeypatch = pytest.MonkeyPatch()
    for module, name, value in (
        (gradients, "STEPS", 32),
        (attributions, "SAMPLES", 16),
        (attributions, "DRAWS", 256),
    ):
        monkeypatch.setattr(module, name, value)
    try:
        price = {name: row.passes(model_of("test_resnet"), 32) for name, row in ATTRIBUTIONS.items()}
        large = ATTRIBUTIONS["layer-conductance"].passes(model_of("test_resnet"), 512)
    finally:
        monkeypatch.undo()

    stated = {name: row.cost for name, row in ATTRIBUTIONS.items() if row.cost.isdigit()}
    assert len(stated) > 10
    assert {name: str(price[name]) for name in stated} == stated
    assert (price["layer-conductance"], price["occlusion"]) == (33, 50)
    assert price["vargrad/integrated-gradients"] == 16 * 64
    assert large == 33 + 4  # eight points at a time: five chunks, each but the first begins with a point again


def test_an_image_draws_from_its_seed_alone():
    model, (images, true) = model_of("test_efficientnet"), batch()
    inputs = SaliencyInput(model, images, one_hot(true, images), SEEDS)
    turned = dataclasses.replace(
        inputs, images=images.flip(0), coefficients=inputs.coefficients.flip(0), seeds=SEEDS[::-1]
    )
    rows = [name for name, row in ATTRIBUTIONS.items() if row.seeded and row.lacks(model) is None]

    assert len(rows) >= 12
    for name in rows:
        maps = ATTRIBUTIONS[name].maps
        assert torch.equal(maps(inputs), maps(turned).flip(0)), name
        assert not torch.equal(maps(inputs), maps(dataclasses.replace(inputs, seeds=(1, 2)))), name


def test_a_deconvnet_varies_where_a_pool_chooses():
    model, (images, true) = chain(), batch(16)

    assert admitted("test_resnet", "smoothgrad/deconvnet")
    assert not admitted("test_resnet", "vargrad/deconvnet")  # no pool at this size
    assert signed(model, "vargrad/deconvnet", images.double(), one_hot(true, images)).amax() > 0
