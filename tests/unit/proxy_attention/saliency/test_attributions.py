"""Attributions against values by hand, and against what their papers promise."""

import dataclasses
import subprocess
import sys

import pytest
import torch
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
from saliency_models import (
    CLASSES,
    Toy,
    admitted,
    chain,
    changed,
    few_draws,
    forget,
    in_float64,
    model_of,
    one_hot,
    signed,
    state_of,
)
from saliency_models import batch as images_of
from torch import nn

from proxy_attention.errors import ConfigError
from proxy_attention.saliency import attributions, captum_adapter, gradients, relevance
from proxy_attention.saliency.attributions import ATTRIBUTIONS
from proxy_attention.saliency.gradients import GRADIENTS
from proxy_attention.saliency.interface import SaliencyInput
from proxy_attention.saliency.registry import check_method

pytestmark = pytest.mark.filterwarnings("ignore:\\s*Setting (forward|backward).*hooks:UserWarning")

COUNT = 2
SEEDS = (5, 6)
NETWORKS = ("test_resnet", "test_efficientnet", "test_vit")
PAIRS = [(name, saliency) for name in NETWORKS for saliency in ATTRIBUTIONS]


@pytest.fixture(scope="module", autouse=True)
def frugal():
    with few_draws():
        yield
    forget()


def batch(size=32):
    return images_of(size, COUNT)


# ---- values by hand


@pytest.fixture
def linear():
    """Two scores, linear in eight by eight pixels, and two images."""
    draws = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2)).double()
    for tensor in module.parameters():
        tensor.data = torch.randn(tensor.shape, generator=draws, dtype=torch.float64)
    images = torch.rand(2, 3, 8, 8, generator=draws, dtype=torch.float64)
    return Toy(module, image_size=8, classes=2), images, module[1].weight.detach().view(2, 3, 8, 8)


@pytest.mark.parametrize("saliency", ["input-x-gradient", "integrated-gradients", "deeplift", "lrp"])
def test_on_a_linear_model_a_pixel_gets_its_weight_times_its_value(linear, saliency):
    model, images, weight = linear

    found = signed(model, saliency, images, torch.eye(2))

    torch.testing.assert_close(found, (weight * images).sum(1), atol=1e-6, rtol=0)  # captum rounds the steps' sizes


def test_on_a_linear_model_the_gradient_is_the_weight_and_its_largest_channel_is_shown(linear):
    model, images, weight = linear

    assert torch.equal(signed(model, "saliency", images, torch.eye(2)), weight.abs().amax(1))
    assert torch.equal(
        signed(model, "saliency", images, torch.tensor([[1.0, -1.0]] * 2))[0], (weight[0] - weight[1]).abs().amax(0)
    )


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


@pytest.mark.parametrize(
    ("saliency", "expected"),
    [("input-x-gradient", 2 + 0 - 1), ("saliency", 2), ("guided-backprop", 2), ("deconvnet", 2 + 3)],
)
def test_each_rule_for_relu_by_hand(saliency, expected):
    """Hidden values 1, -1, 1 reach the score with weights 2, 3, -1."""
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(3, 1, bias=False))
    module[0].weight.data = torch.eye(3)[:, :, None, None]
    module[0].bias.data = torch.tensor([0.0, -2.0, 0.0])
    module[3].weight.data = torch.tensor([[2.0, 3.0, -1.0]])

    found = signed(Toy(module, image_size=1, classes=1), saliency, torch.ones(1, 3, 1, 1), torch.ones(1, 1))

    assert found.tolist() == [[[expected]]]
    assert module[1].inplace


# ---- relevance and differences


@pytest.mark.parametrize("size", [32, 64])
def test_relevance_is_kept_by_a_network_without_biases(size):
    model, (images, true) = in_float64(model_of("test_resnet", size)), batch(size)
    model._mean = torch.zeros_like(model._mean)
    for module in model.module.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.zero_()
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            module.bias.data.zero_()
    images = images.double()
    score = model(images).gather(1, true[:, None])[:, 0].detach()

    found = signed(model, "lrp", images, one_hot(true, images))

    lost = (found.sum((1, 2)) - score).abs() / found.abs().sum((1, 2))
    assert lost.max() < 1e-9
    plain = signed(model, "input-x-gradient", images, one_hot(true, images))
    assert (found - plain).abs().max() > 0.01 * plain.abs().max()  # gamma does something


def test_deeplift_hands_out_all_of_the_difference_to_black_through_a_pool_behind_a_relu():
    model, (images, true) = chain(), batch(16)
    images = images.double()

    found = signed(model, "deeplift", images, one_hot(true, images)).sum((1, 2))

    torch.testing.assert_close(found, difference(model, images, true), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("size", [32, 64])
def test_deeplift_hands_out_all_of_the_difference_to_black_even_where_windows_overlap(size):
    model, (images, true) = in_float64(model_of("test_resnet", size)), batch(size)
    pools = [module for module in model.module.modules() if isinstance(module, nn.MaxPool2d)]
    assert [pool.kernel_size > pool.stride for pool in pools] == ([True] if size == 64 else [])
    images = images.double()

    found = signed(model, "deeplift", images, one_hot(true, images)).sum((1, 2))

    torch.testing.assert_close(found, difference(model, images, true), atol=1e-9, rtol=1e-9)
    assert SUPPORTED_NON_LINEAR[nn.MaxPool2d] is not relevance._pool_differences


def difference(model, images, true):
    """What the true class's score changes from black."""
    with torch.no_grad():
        return (model(images) - model(torch.zeros_like(images))).gather(1, true[:, None])[:, 0]


@pytest.mark.parametrize("name", NETWORKS)
def test_integrated_gradients_miss_less_than_a_hundredth_of_what_they_hand_out(name, monkeypatch):
    monkeypatch.setattr(gradients, "STEPS", 32)
    model, (images, true) = model_of(name), batch()
    inputs = SaliencyInput(model, images, one_hot(true, images), SEEDS)

    found = captum_adapter.attribute_in_batches(inputs, GRADIENTS["integrated-gradients"].attribute)

    missed = (found.sum((1, 2, 3)) - difference(model, images, true)).abs()
    assert (missed < 0.01 * found.abs().sum((1, 2, 3))).all()


def test_conductance_of_a_map_that_a_linear_head_pools_misses_nothing():
    model, (images, true) = in_float64(model_of("test_resnet")), batch()
    images = images.double()

    found = signed(model, "layer-conductance", images, one_hot(true, images)).sum((1, 2))

    torch.testing.assert_close(found, difference(model, images, true), atol=1e-10, rtol=1e-10)


# ---- what every row owes


@pytest.mark.parametrize(("name", "saliency"), PAIRS)
def test_a_row_answers_and_follows_the_class_that_is_named_or_is_refused_in_one_line(name, saliency):
    model, (images, true) = model_of(name), batch()
    if not admitted(name, saliency):
        with pytest.raises(ConfigError, match=f"got '{saliency}'") as refused:
            check_method(saliency, model, name=name)
        assert "\n" not in str(refused.value)
        return
    size = (32, 32) if not saliency.endswith("layer-conductance") else model.grid

    found = signed(model, saliency, images, one_hot(true, images))
    other = signed(model, saliency, images, one_hot((true + 1) % CLASSES, images))
    same = signed(model, saliency, images, 0 * one_hot(true, images))

    assert found.shape == (COUNT, *size)
    assert found.isfinite().all()
    assert not torch.equal(found, other)
    assert (same == 0).all()


@pytest.mark.parametrize("saliency", ATTRIBUTIONS)
def test_an_error_within_leaves_everything_as_it_was(saliency):
    model, (images, true) = model_of("test_resnet"), batch()

    def fail(module, args):
        raise RuntimeError("no more")

    handle = model.module.fc.register_forward_pre_hook(fail)
    try:
        before = state_of(model, images)
        with pytest.raises(RuntimeError, match="no more"):
            signed(model, saliency, images, one_hot(true, images))
        assert changed(before, state_of(model, images)) == []
    finally:
        handle.remove()


@pytest.mark.parametrize("saliency", [s for s in ATTRIBUTIONS if "/" not in s])
def test_a_row_takes_the_passes_that_it_states_and_no_more_memory_in_small_chunks(saliency, monkeypatch):
    """Images are counted at the first layer; chunks of five images change neither the answer nor its price."""
    model, (images, true) = model_of("test_resnet"), batch()
    whole = signed(model, saliency, images, one_hot(true, images))
    counted, largest = [], []

    def count(module, args, output):
        largest.append(len(output))
        counted.append(len(output))
        if output.requires_grad:
            output.register_hook(lambda gradient: counted.append(len(gradient)))

    monkeypatch.setattr(captum_adapter, "CHUNK_PIXELS", 5 * 32**2)
    monkeypatch.setattr(gradients, "CHUNK_PIXELS", 5 * 32**2)
    handle = model.module.conv1.register_forward_hook(count)
    try:
        found = signed(model, saliency, images, one_hot(true, images))
    finally:
        handle.remove()

    assert sum(counted) == COUNT * ATTRIBUTIONS[saliency].passes(model, 32)
    assert max(largest) <= 5
    if saliency != "gradient-shap":  # its draws come in the chunks' order
        torch.testing.assert_close(found, whole, atol=1e-5 * whole.abs().amax().item(), rtol=1e-4)


@pytest.mark.parametrize("saliency", ["integrated-gradients", "layer-conductance"])
def test_points_of_a_path_are_added_up_in_the_same_portions_whatever_else_is_asked(saliency, monkeypatch):
    """Portions of two points: so few that an image is computed alone, and its map must be the same to the bit."""
    model, (images, true) = model_of("test_resnet"), batch()
    monkeypatch.setattr(gradients, "STEPS", 8)
    monkeypatch.setattr(captum_adapter, "CHUNK_PIXELS", 2 * 32**2)
    monkeypatch.setattr(gradients, "CHUNK_PIXELS", 2 * 32**2)

    together, alone = (signed(model, saliency, some, one_hot(true[: len(some)], some)) for some in (images, images[:1]))

    assert torch.equal(together[:1], alone)


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


def test_a_layer_that_is_used_twice_has_no_rule():
    relu = nn.ReLU()
    module = nn.Sequential(nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 4, 3), relu, nn.Flatten(), nn.Linear(64, 2))
    model = Toy(module, image_size=8, classes=2)

    assert ATTRIBUTIONS["deeplift"].lacks(model) == "no use of each layer but once (ReLU twice)"
    assert ATTRIBUTIONS["guided-backprop"].lacks(model) is None


def test_the_library_can_be_imported_and_asked_what_fits_where_captum_is_missing():
    code = (
        "import sys; sys.modules['captum'] = None\n"
        "from proxy_attention.models.build import build\n"
        "from proxy_attention.saliency.registry import METHODS\n"
        "model = build('test_resnet', classes=2, image_size=32, weights='none', seed=0)\n"
        "print(METHODS['deeplift'].lacks(model), METHODS['lrp'].lacks(model))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout.strip() == "None None", done.stderr
