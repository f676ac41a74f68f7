"""The contract of every method of explanation, on a model of every family."""

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from saliency_models import (
    CLASSES,
    EVERYWHERE,
    FAMILY,
    SEEDS,
    TINY,
    admitted,
    batch,
    changed,
    explain,
    few_draws,
    forget,
    in_float64,
    model_of,
    state_of,
)
from torch import nn

from proxy_attention.errors import ConfigError
from proxy_attention.saliency.maps import EXPLAIN, classify_and_explain, low_resolution_maps, scale
from proxy_attention.saliency.registry import METHODS, check_method, the_same

pytestmark = pytest.mark.filterwarnings("ignore:Setting (forward|backward).*hooks:UserWarning")

DEAR = 3
"""Passes an image above which a method is asked for one explanation of two images, not for all three of eight."""

IN_FULL = "test_efficientnet"
"""The quickest model: on it, the passes of all steps, samples and masks are counted. Else, methods take a few."""

ALSO = {"vargrad/deconvnet": "vgg11"}
"""A row that no tiny model admits, and who does: a max pool survives in it at this size."""

ALWAYS = ("test_resnet", "test_vit")
"""On these every method runs whenever tests run; on the third tiny model a few, and all with the families."""

PAIRS = [
    pytest.param(
        name,
        saliency,
        marks=() if name in ALWAYS or saliency in EVERYWHERE or ALSO.get(saliency) == name else pytest.mark.slow,
    )
    for name in (*TINY, *FAMILY)
    for saliency in METHODS
]
ON_TINY = [
    pytest.param(name, saliency, marks=() if name in ALWAYS or saliency in EVERYWHERE else pytest.mark.slow)
    for name in TINY
    for saliency in METHODS
]


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    yield
    outcome.cache_clear()
    forget()


@dataclass(frozen=True)
class Outcome:
    """Maps (N, h, w) of one batch by one method: at once, at once again, one by one, of the classes exchanged.

    ``rounding`` is the largest difference between a scaled map alone and one among others, where it is above 1e-5,
    in float64: what is left of it is no rounding.
    """

    together: torch.Tensor
    again: torch.Tensor
    alone: torch.Tensor
    exchanged: torch.Tensor
    changed: list[str]
    rounding: float


@cache
def outcome(name, saliency, of, eigen):
    with few_draws():
        return outcome_of(name, saliency, of, eigen)


def outcome_of(name, saliency, of, eigen):
    model = model_of(name)
    images, true = batch(count=count_of(name, saliency))
    every, each = [slice(0, len(images))], [slice(i, i + 1) for i in range(len(images))]

    def run(model, parts, images, true=true, **more):
        named = {"saliency": saliency, "of": of, "eigen": eigen, **more}
        return torch.cat([explain(model, images[part], true[part], seeds=SEEDS[part], **named) for part in parts])

    before = state_of(model, images)
    together = run(model, every, images)
    after = changed(before, state_of(model, images))
    again, alone = run(model, every, images), run(model, each, images)
    exchanged = run(model, every, images, true=(true + 1) % CLASSES, predicted=true)
    rounding = 0.0
    if difference(together, alone) > 1e-5:
        exact = in_float64(model)
        rounding = difference(run(exact, every, images.double()), run(exact, each, images.double()))
    return Outcome(together, again, alone, exchanged, after, rounding)


def difference(some, others):
    return float((scale(some)[0] - scale(others)[0]).abs().max())


def count_of(name, saliency):
    return 2 if dear(name, saliency) else 8


def dear(name, saliency):
    with few_draws():
        return METHODS[saliency].passes(model_of(name), 32) > DEAR


def outcomes(name, saliency):
    """Every outcome of a pair, by what is explained; none of a pair that ``check_method`` refuses."""
    if not admitted(name, saliency):
        pytest.skip(f"{name} has {METHODS[saliency].lacks(model_of(name))}")
    asked = [(of, False) for of in (("contrast",) if dear(name, saliency) else EXPLAIN)]
    if METHODS[saliency].can_eigen_smooth:
        asked.append(("contrast", True))
    return {(of, eigen): outcome(name, saliency, of, eigen) for of, eigen in asked}


@pytest.mark.parametrize(("name", "saliency"), PAIRS, scope="module")
def test_maps_are_of_the_feature_maps_size_or_the_images_finite_and_not_negative(name, saliency):
    for found in outcomes(name, saliency).values():
        sizes = [model_of(name).grid] if METHODS[saliency].maps is None else [model_of(name).grid, (32, 32)]
        assert len(found.together) == count_of(name, saliency)
        assert found.together.shape[1:] in sizes
        assert found.together.dtype == torch.float32
        assert not found.together.requires_grad
        assert found.together.isfinite().all()
        assert found.together.min() >= 0


@pytest.mark.parametrize(("name", "saliency"), PAIRS, scope="module")
def test_half_of_the_images_at_least_have_a_map_for_one_class_or_for_the_other(name, saliency):
    """Of random weights, some say that nothing speaks for the class rather than for the other."""
    found = outcomes(name, saliency)

    for contrast in (found[which] for which in found if which[0] == "contrast"):
        flat = scale(contrast.together)[1] & scale(contrast.exchanged)[1]
        assert flat.float().mean() <= 0.5
        scaled = torch.stack([scale(contrast.together)[0], scale(contrast.exchanged)[0]]).flatten(2)
        assert scaled.any(0).any(0).sum() > 1  # not one place for all
        assert scaled.std(dim=1).max() > 0.01  # an image has a map of its own


@pytest.mark.parametrize(("name", "saliency"), PAIRS, scope="module")
def test_a_map_does_not_depend_on_the_other_images_of_its_batch(name, saliency):
    """But for rounding: where much cancels, or a ReLU is about to turn, float32 differs by more, float64 not."""
    for found in outcomes(name, saliency).values():
        assert difference(found.together, found.alone) < 0.05
        assert found.rounding < 1e-9


@pytest.mark.parametrize(("name", "saliency"), PAIRS, scope="module")
def test_the_same_question_has_the_same_answer_to_the_bit(name, saliency):
    for found in outcomes(name, saliency).values():
        assert torch.equal(found.together, found.again)


@pytest.mark.parametrize(("name", "saliency"), PAIRS, scope="module")
def test_explaining_leaves_everything_as_it_was(name, saliency):
    for found in outcomes(name, saliency).values():
        assert found.changed == []


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


@pytest.mark.parametrize(("name", "saliency"), PAIRS, scope="module")
def test_a_model_that_a_method_cannot_explain_is_refused_in_one_line(name, saliency):
    model = model_of(name)
    lacking = METHODS[saliency].lacks(model)
    if lacking is None:
        check_method(saliency, model, name=name)
        return

    with pytest.raises(ConfigError) as refusal:
        check_method(saliency, model, name=name)

    law = f"saliency must be a method that can explain {name}, which has {lacking}; got {saliency!r} ("
    assert str(refusal.value).startswith(law)
    assert "gradcam, " in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("saliency", METHODS)
def test_every_method_explains_a_model_whenever_tests_run(saliency):
    assert admitted(a_model_for(saliency), saliency)


def a_model_for(saliency):
    """A small model that the method can explain."""
    return next((name for name in TINY if admitted(name, saliency)), ALSO.get(saliency))


@pytest.mark.parametrize("saliency", METHODS)
def test_a_map_that_is_no_weighted_sum_cannot_be_smoothed(saliency):
    model = model_of(a_model_for(saliency))
    if METHODS[saliency].can_eigen_smooth:
        check_method(saliency, model, name="it", eigen_smooth=True)
        return

    law = f"eigen_smooth must be false for a map that is no weighted sum; got {saliency!r} "
    with pytest.raises(ConfigError, match=law) as refusal:
        check_method(saliency, model, name="it", eigen_smooth=True)
    assert "gradcam, " in str(refusal.value)


@pytest.mark.parametrize("saliency", METHODS)
def test_a_row_says_what_it_is(saliency):
    method = METHODS[saliency]
    says = {"one_pass": method.weights, "weigh": method.weigh, "maps": method.maps}

    assert sum(value is not None for value in says.values()) == 1
    assert method.source
    assert method.cost
    assert not method.pooled or METHODS[method.pooled].weights is not None


# ---- questions put otherwise


def attribute(model, saliency, images, true):
    with few_draws():
        return explain(model, images, true, saliency=saliency, of="contrast", seeds=SEEDS[: len(images)])


def of_tiny(name, saliency):
    """A model of its own, an image or two, their classes and their maps."""
    if not admitted(name, saliency):
        pytest.skip(f"{name} has {METHODS[saliency].lacks(model_of(name))}")
    images, true = batch(count=1 if dear(name, saliency) else 2)
    model = model_of(name)
    return copy.deepcopy(model), images, true, attribute(model, saliency, images, true)


@pytest.mark.parametrize(("name", "saliency"), ON_TINY)
def test_how_the_images_lie_in_memory_does_not_matter(name, saliency):
    model, images, true, maps = of_tiny(name, saliency)
    across = images.transpose(2, 3).contiguous().transpose(2, 3)
    strided = torch.stack([images, images], dim=4)[..., 0]

    for lying in (images.contiguous(memory_format=torch.channels_last), across, strided):
        found = attribute(model, saliency, lying, true)
        torch.testing.assert_close(scale(found)[0], scale(maps)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "saliency"), ON_TINY)
def test_the_mode_of_graphs_around_does_not_matter(name, saliency):
    model, images, true, maps = of_tiny(name, saliency)

    with torch.no_grad():
        assert torch.equal(attribute(model, saliency, images, true), maps)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        inferred = attribute(model, saliency, images.clone(), true.clone())
        assert torch.is_inference_mode_enabled()

    assert torch.equal(inferred, maps)


@pytest.mark.parametrize(("name", "saliency"), ON_TINY)
def test_a_model_in_training_mode_is_explained_as_in_eval_mode_and_left_as_it_was(name, saliency):
    model, images, true, maps = of_tiny(name, saliency)
    model.module.train()
    next(model.module.children()).eval()
    before = state_of(model, images)

    found = attribute(model, saliency, images, true)

    assert torch.equal(found, maps)
    assert changed(before, state_of(model, images)) == []


@pytest.mark.parametrize(("name", "saliency"), ON_TINY)
def test_frozen_weights_do_not_matter(name, saliency):
    model, images, true, maps = of_tiny(name, saliency)
    model.module.requires_grad_(False)

    assert torch.equal(attribute(model, saliency, images, true), maps)


@pytest.mark.parametrize(("name", "saliency"), ON_TINY)
def test_autocast_around_rounds_the_passes_that_classify_and_no_other(name, saliency):
    model, images, true, maps = of_tiny(name, saliency)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attribute(model, saliency, images, true)
        assert torch.is_autocast_enabled("cpu")

    assert found.dtype == torch.float32
    assert found.isfinite().all()
    if not METHODS[saliency].one_pass:
        assert torch.equal(found, maps)


@pytest.mark.parametrize("name", TINY)
def test_maps_under_autocast_are_those_of_float32_but_for_the_features_rounding(name):
    model, (images, true) = model_of(name), batch()
    exact = explain(model, images, true)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, rounded = classify_and_explain(model, images, true=true, saliency="gradcam", explain="true")

    assert rounded.dtype == logits.dtype == torch.float32
    assert 0 < (scale(rounded)[0] - scale(exact)[0]).abs().mean() < 0.05


@pytest.mark.parametrize("saliency", METHODS)
def test_only_methods_that_draw_follow_the_seed_and_each_image_its_own(saliency):
    # without a max pool, a deconvnet's answer is the same for every image: noise on pixels does not reach it
    name = "vgg11" if saliency.endswith("deconvnet") else a_model_for(saliency)
    images, true = batch(count=1)
    images, true, seeds = images.repeat(3, 1, 1, 1), true.repeat(3), (7, 8, 7)

    with few_draws():
        found = explain(model_of(name), images, true, saliency=saliency, of="contrast", seeds=seeds)
        found += explain(
            model_of(name), images, true + 1, saliency=saliency, of="contrast", predicted=true, seeds=seeds
        )

    assert found.flatten(1).any(1).all()
    assert torch.equal(found[0], found[1]) != METHODS[saliency].seeded
    assert difference(found[:1], found[2:]) < 1e-5


@pytest.mark.parametrize("saliency", METHODS)
def test_two_classes_are_enough(saliency):
    model, (images, _) = copy.deepcopy(model_of(a_model_for(saliency))), batch(count=2)
    head = model.heads[0]
    with torch.no_grad():
        head.weight[2:] = 0
    model.classes, head.weight, head.bias = 2, nn.Parameter(head.weight[:2]), nn.Parameter(head.bias[:2])
    assert model(images).shape == (2, 2)

    found = attribute(model, saliency, images, torch.tensor([0, 1]))

    assert found.isfinite().all()


@pytest.mark.parametrize(("name", "saliency"), ON_TINY)
def test_a_head_that_says_nothing_gives_no_number_that_is_none(name, saliency):
    model, images, true, _ = of_tiny(name, saliency)
    for parameter in model.heads[0].parameters():
        nn.init.zeros_(parameter)

    found = attribute(model, saliency, images, true)

    assert found.isfinite().all()
    if METHODS[saliency].weights is not None and saliency != "eigencam":
        assert (found == 0).all()


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
@pytest.mark.parametrize("saliency", [name for name in METHODS if METHODS[name].one_pass and name != "eigencam"])
def test_contrast_of_a_class_with_itself_has_no_map(name, saliency):
    model, (images, true) = model_of(name), batch()

    found = low_resolution_maps(model, images, predicted=true, true=true, saliency=saliency, explain="contrast")

    assert scale(found)[1].all()


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


# ---- which are one and the same


@pytest.mark.parametrize("name", TINY)
def test_methods_said_to_be_one_are_equal_to_the_bit_and_no_others_are(name):
    """Formulas and weights; under a linear head on pooled features some are the same by algebra."""
    model, (images, true) = model_of(name), batch()
    rows = [row for row in METHODS if METHODS[row].maps is None and not dear(name, row)]
    found = {row: explain(model, images, true, saliency=row) for row in rows}

    equal = {(a, b) for a in rows for b in rows if a < b and torch.equal(found[a], found[b])}

    groups = the_same(rows, model)
    assert equal == {(a, b) for group in groups for a in group for b in group if a < b}
    assert bool(groups) == (model.linear_head is not None)


def test_methods_are_the_same_only_under_a_linear_head_on_pooled_features():
    asked = ["xgradcam", "layercam", "gradcam", "hirescam", "gradcam"]

    assert the_same(asked, model_of("test_resnet")) == [("xgradcam", "gradcam", "hirescam")]
    assert the_same(["layercam", "gradcam"], model_of("test_resnet")) == []
    assert the_same(asked, model_of("test_vit")) == []
    assert the_same(["xgradcam", "hirescam"], model_of("test_resnet")) == [("xgradcam", "hirescam")]


# ---- what they cost


class Passes:
    """Counts images that pass the first layer that sees pixels, and those whose gradients come back to the first block.

    That is nearly all the way: a method asks for the gradient of pixels, or of the first attention.
    """

    def __init__(self, model) -> None:
        self.images = 0
        first = next(module for module in model.module.modules() if isinstance(module, nn.Conv2d))
        assert first.in_channels == 3
        back = model.module.blocks[0] if hasattr(model.module, "patch_embed") else first
        self.handles = [first.register_forward_hook(self._count), back.register_forward_hook(self._watch)]

    def _count(self, module, args, output) -> None:
        self.images += len(args[0])

    def _watch(self, module, args, output) -> None:
        if output.requires_grad:
            output.register_hook(self._count_back)

    def _count_back(self, gradient) -> None:
        self.images += len(gradient)

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()


@pytest.mark.parametrize("name", [*TINY, "resnet18"])
@pytest.mark.parametrize("saliency", METHODS)
def test_a_method_takes_the_passes_that_it_says(name, saliency):
    model = model_of(name, 64 if name == "resnet18" else 32)
    if METHODS[saliency].lacks(model) is not None:
        pytest.skip(f"{name} has {METHODS[saliency].lacks(model)}")
    with nullcontext() if name == IN_FULL else few_draws():
        expected = METHODS[saliency].passes(model, model.image_size)
        if name == "resnet18" and expected > 80:
            pytest.skip("seen on a tiny model")
        images, true = batch(model.image_size, count=1 if name == IN_FULL else 2)
        counter = Passes(model)
        try:
            explain(model, images, true, saliency=saliency, seeds=SEEDS[: len(images)])
        finally:
            counter.close()

    assert counter.images == len(images) * expected
