"""The contract of every saliency method, on a model of every family."""

import copy
from dataclasses import dataclass

import pytest
import torch
from saliency_models import (
    CLASSES,
    REFUSED,
    SEEDS,
    SMALLEST,
    admitted,
    batch,
    changed,
    each_method,
    explain,
    few_draws,
    forget,
    in_float64,
    model_of,
    slow_unless,
    smallest_for,
    state_of,
)

from proxy_attention.errors import ConfigError
from proxy_attention.saliency.maps import EXPLAIN, scale
from proxy_attention.saliency.registry import METHODS, check_method

pytestmark = pytest.mark.filterwarnings("ignore:Setting (forward|backward).*hooks:UserWarning")

CLASS_FREE = ("eigencam", "attention-rollout")
"""Methods that do not know the class that is explained."""


MODELS = [slow_unless(model in SMALLEST, *model) for model in REFUSED]
OPTIONS = [("contrast", False), *((of, False) for of in EXPLAIN if of != "contrast"), ("contrast", True)]
"""Which score is explained, and whether the map is smoothed."""

NARROW = ("test_resnet", "test_efficientnet", "test_vit", "test_convnext", "mobilenetv3_small_050")
"""Methods with a pass a channel are tried on these: on the others they take half a minute."""


def cases():
    """Every method on every family; the options in turn, so that each meets every method and every family.

    On the smallest model of a method, the contrast of two classes in any case.
    """
    for number, (name, size) in enumerate(REFUSED):
        for place, (saliency, method) in enumerate(METHODS.items()):
            if not admitted(name, saliency, size) or (method.weigh and name not in NARROW):
                continue
            options = OPTIONS if method.can_eigen_smooth else OPTIONS[:-1]
            smallest = (name, size) == smallest_for(saliency)
            quick = smallest or ((name, size) in SMALLEST and method.one_pass)
            for option in dict.fromkeys([options[(number + place) % len(options)], *OPTIONS[: int(smallest)]]):
                yield slow_unless(quick, name, size, saliency, *option)


CASES = list(cases())


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    yield
    forget()


# ---- the table


def test_every_method_is_tried_on_a_small_model_whenever_tests_run():
    tried = {case.values[2] for case in CASES if not case.marks}

    assert tried == set(METHODS)
    assert len(METHODS) > 50
    assert {case.values[:2] for case in CASES} == set(REFUSED)


@pytest.mark.parametrize("saliency", METHODS)
def test_a_row_has_one_way_to_its_map_a_source_and_a_cost(saliency):
    method = METHODS[saliency]
    ways = (method.weights, method.weigh, method.maps)

    assert sum(way is not None for way in ways) == 1
    assert method.source
    assert method.cost
    assert not method.pooled or METHODS[method.pooled].weights is not None


@pytest.mark.parametrize(("name", "size"), MODELS)
def test_a_model_is_refused_in_one_line_by_the_methods_whose_layers_it_lacks_and_by_no_other(name, size):
    model = model_of(name, size)

    for saliency, method in METHODS.items():
        if admitted(name, saliency, size):
            check_method(saliency, model, name=name)
            continue
        with pytest.raises(ConfigError) as refusal:
            check_method(saliency, model, name=name)
        lacking = method.lacks(model)
        law = f"saliency must be a method that can explain {name}, which has {lacking}; got {saliency!r} ("
        assert str(refusal.value).startswith(law)
        assert "gradcam, " in str(refusal.value)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("saliency", METHODS)
def test_a_map_that_is_no_weighted_sum_cannot_be_smoothed(saliency):
    model = model_of(*smallest_for(saliency))
    if METHODS[saliency].can_eigen_smooth:
        check_method(saliency, model, name="it", eigen_smooth=True)
        return

    law = f"eigen_smooth must be false for a map that is no weighted sum; got {saliency!r} "
    with pytest.raises(ConfigError, match=law) as refusal:
        check_method(saliency, model, name="it", eigen_smooth=True)
    assert "gradcam, " in str(refusal.value)


# ---- the maps


@dataclass(frozen=True)
class Outcome:
    """Maps (N, h, w) of one batch by one method: at once, at once again, one by one; of two classes against each other.

    ``rounding`` is the largest difference between a scaled map alone and one among others, where it is above 1e-5,
    in float64: what is left of it is no rounding.
    """

    together: torch.Tensor
    again: torch.Tensor
    alone: torch.Tensor
    contrast: torch.Tensor
    exchanged: torch.Tensor
    changed: list[str]
    rounding: float


def outcome_of(model, saliency, of, eigen):
    images, true = batch(model.image_size, count=2)
    every, each = [slice(0, len(images))], [slice(i, i + 1) for i in range(len(images))]

    def run(model, parts, images, true=true, **more):
        named = {"saliency": saliency, "of": of, "eigen": eigen, **more}
        return torch.cat([explain(model, images[part], true[part], seeds=SEEDS[part], **named) for part in parts])

    before = state_of(model, images)
    together = run(model, every, images)
    after = changed(before, state_of(model, images))
    again, alone = run(model, every, images), run(model, each, images)
    contrast = together if of == "contrast" else run(model, every, images, of="contrast")
    exchanged = run(model, every, images, of="contrast", true=(true + 1) % CLASSES, predicted=true)
    rounding = 0.0
    if difference(together, alone) > 1e-5:
        exact = in_float64(model)
        rounding = difference(run(exact, every, images.double()), run(exact, each, images.double()))
    return Outcome(together, again, alone, contrast, exchanged, after, rounding)


def difference(some, others):
    return float((scale(some)[0] - scale(others)[0]).abs().max())


def assert_shape_and_range(found, model, saliency):
    sizes = [model.grid] if METHODS[saliency].maps is None else [model.grid, (model.image_size,) * 2]
    assert found.shape[1:] in sizes
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert found.isfinite().all()
    assert found.min() >= 0


def assert_half_of_the_images_have_a_map_of_their_own(found):
    """Of random weights, some say that nothing speaks for the class rather than for the other."""
    (one, flat), (other, also_flat) = scale(found.contrast), scale(found.exchanged)
    scaled = torch.stack([one, other]).flatten(2)
    assert (flat & also_flat).float().mean() <= 0.5
    assert scaled.any(0).any(0).sum() > 1  # not one place for all
    assert scaled.std(dim=1).max() > 0.01  # an image has a map of its own


@pytest.mark.parametrize(("name", "size", "saliency", "of", "eigen"), CASES)
def test_a_map_is_finite_and_an_images_own_the_same_again_and_explaining_leaves_no_trace(
    name, size, saliency, of, eigen
):
    """One behaviour after the other on the same maps, which are what the test costs.

    Where much cancels, or a ReLU is about to turn, a map alone and among others differ in float32, in float64 not.
    """
    model = model_of(name, size)
    with few_draws():
        found = outcome_of(model, saliency, of, eigen)

    assert_shape_and_range(found.together, model, saliency)
    assert_half_of_the_images_have_a_map_of_their_own(found)
    assert difference(found.together, found.alone) < 0.05
    assert found.rounding < 1e-9
    assert torch.equal(found.together, found.again)
    assert found.changed == []


@pytest.mark.parametrize("saliency", each_method())
def test_a_map_follows_the_class_that_is_named_and_a_class_has_no_contrast_with_itself(saliency):
    """Two methods know no class; EigenCAM only its sign. ScoreCAM sees all channels alike where all scores are zero."""
    model = model_of(*smallest_for(saliency))
    images, true = batch(model.image_size, count=2)

    with few_draws():
        one, other = (explain(model, images, cls, saliency=saliency, seeds=SEEDS[:2]) for cls in (true, true + 1))
        same = explain(model, images, true, saliency=saliency, of="contrast", predicted=true, seeds=SEEDS[:2])

    assert torch.equal(one, other) == (saliency == "attention-rollout")
    assert scale(same)[1].all() == (saliency not in ("scorecam", *CLASS_FREE))


def test_what_an_explanation_must_leave_is_noticed_when_it_changes():
    model, (images, _) = copy.deepcopy(model_of("test_vit")), batch()
    before = state_of(model, images)
    assert changed(before, state_of(model, images)) == []

    block = model.module.blocks[0]
    block.attn.fused_attn = not block.attn.fused_attn
    block.mlp.fc1.register_forward_hook(lambda *args: None)
    block.norm1.training = True
    block.mlp.fc2.weight.data[0, 0] += 1
    block.mlp.fc2.bias.requires_grad_(False)
    torch.rand(1)

    assert changed(before, state_of(model, images)) == [
        "blocks.0.attn attributes",
        "blocks.0.mlp.fc1 attributes",
        "blocks.0.mlp.fc2.bias graph",
        "blocks.0.mlp.fc2.weight values",
        "blocks.0.norm1 attributes",
        "torch's draws",
    ]
