"""Maps of a batch: of the class that is named, from the pass that classifies, upsampled, scaled each on its own."""

import copy

import pytest
import torch
import torch.nn.functional as F
from saliency_models import CLASSES, TINY, batch, changed, explain, forget, model_of, state_of
from torch import nn

from proxy_attention.saliency.maps import EXPLAIN, classify_and_explain, scale, upsample


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    yield
    forget()


def test_what_is_explained_is_said_by_coefficients_of_the_logits():
    predicted, true = torch.tensor([2, 1]), torch.tensor([0, 1])

    found = {name: score(predicted, true, 3).tolist() for name, score in EXPLAIN.items()}

    assert found == {
        "predicted": [[0, 0, 1], [0, 1, 0]],
        "true": [[1, 0, 0], [0, 1, 0]],
        "contrast": [[-1, 0, 1], [0, 0, 0]],
    }


def test_scaling_brings_each_map_on_its_own_to_zero_and_one():
    maps = torch.tensor([[[2.0, 4.0], [3.0, 2.0]], [[0.0, 100.0], [50.0, 25.0]]])

    scaled, flat = scale(maps)

    assert scaled.tolist() == [[[0.0, 1.0], [0.5, 0.0]], [[0.0, 1.0], [0.5, 0.25]]]
    assert flat.tolist() == [False, False]


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e-30, 1e30, float("nan"), float("inf"), float("-inf")])
def test_a_map_without_a_range_becomes_zeros_and_is_told(value):
    lively = torch.tensor([[0.0, 1.0], [0.5, 0.25]])

    scaled, flat = scale(torch.stack([torch.full((2, 2), value), lively]))

    assert flat.tolist() == [True, False]
    assert (scaled[0] == 0).all()
    assert torch.equal(scaled[1], lively)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_map_with_one_value_that_is_no_number_becomes_zeros_and_is_told(value):
    scaled, flat = scale(torch.tensor([[[0.0, 1.0], [0.5, value]]]))

    assert flat.tolist() == [True]
    assert (scaled == 0).all()


def test_rounding_on_a_constant_is_no_range_and_a_faint_map_is():
    rounding = 1 + torch.finfo(torch.float32).eps * torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    faint = torch.tensor([[[0.0, 1e-20], [5e-21, 0.0]]])

    scaled, flat = scale(torch.cat([rounding, faint]))

    assert flat.tolist() == [True, False]
    assert scaled[1].flatten().tolist() == pytest.approx([0.0, 1.0, 0.5, 0.0])


def test_upsampling_is_bilinear_about_pixel_centres():
    maps = torch.tensor([[[0.0, 1.0]] * 2])

    assert upsample(maps, 4)[0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]
    assert torch.equal(upsample(maps, 4), F.interpolate(maps[None], 4, mode="bilinear")[0])


# ---- which class is explained


@pytest.mark.parametrize("name", TINY)
def test_the_pass_that_explains_gives_the_logits_of_an_ordinary_one(name):
    model, (images, true) = model_of(name), batch()

    logits, maps = classify_and_explain(model, images, true=true, saliency="gradcam", explain="predicted")

    with torch.no_grad():
        assert torch.equal(logits, model(images))
    assert torch.equal(maps, explain(model, images, true, of="predicted", predicted=logits.argmax(1)))


def test_a_method_with_passes_of_its_own_is_not_in_the_one_that_classifies():
    images, true = batch()

    with pytest.raises(ValueError, match="scorecam needs passes of its own: see low_resolution_maps"):
        classify_and_explain(model_of("test_resnet"), images, true=true, saliency="scorecam", explain="true")


def test_explaining_the_predicted_and_the_true_class_follow_the_class_they_name():
    model, (images, true) = model_of("test_resnet"), batch()
    other = (true + 1) % CLASSES

    assert torch.equal(
        explain(model, images, true, of="predicted", predicted=other), explain(model, images, other, of="true")
    )
    assert not torch.equal(explain(model, images, true), explain(model, images, other))


@pytest.mark.parametrize("name", TINY)
def test_maps_under_autocast_are_those_of_float32_but_for_the_features_rounding(name):
    model, (images, true) = model_of(name), batch()
    exact = explain(model, images, true)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, rounded = classify_and_explain(model, images, true=true, saliency="gradcam", explain="true")

    assert rounded.dtype == logits.dtype == torch.float32
    assert 0 < (scale(rounded)[0] - scale(exact)[0]).abs().mean() < 0.05


def test_an_error_in_the_model_leaves_no_hook_and_no_mode_behind():
    model, (images, true) = copy.deepcopy(model_of("test_resnet")), batch()
    model.module.fc = nn.Linear(3, 3)  # fails after the feature layer
    before = state_of(model, images)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model.forward_from_features(images)
    assert changed(before, state_of(model, images)) == []

    model.module.train()
    before = state_of(model, images)
    for saliency in ("gradcam", "ablationcam", "scorecam"):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            explain(model, images, true, saliency=saliency)

    assert changed(before, state_of(model, images)) == []
