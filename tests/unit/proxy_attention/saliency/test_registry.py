"""The table of saliency methods: who judges, which names a map has, which maps are equal."""

import pytest
import torch
from saliency_models import ROLLOUTS, TINY, batch, explain, forget, model_of

from proxy_attention.errors import ConfigError
from proxy_attention.saliency.attributions import NOISES
from proxy_attention.saliency.registry import JUDGES, METHODS, check_method, judge, related, the_same


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    yield
    forget()


# ---- who judges


@pytest.mark.parametrize(
    ("trained_by", "expected"),
    [
        ([], "eigengradcam"),
        (["gradcam"], "eigengradcam"),
        (["eigengradcam"], "gradcam++"),
        (["eigengradcam", "gradcam++", "layercam"], "hirescam"),
        (["eigengradcam", "gradcam++", "layercam", "gradcam"], "ablationcam"),  # of which two more are the same
        (["eigengradcam", "gradcam++", "layercam", "xgradcam"], "ablationcam"),
        (["smoothgrad/eigengradcam"], "gradcam++"),
        (["guided-gradcam", "eigengradcam", "gradcam++", "layercam"], "ablationcam"),
        (METHODS, None),
    ],
)
def test_the_judge_is_the_first_that_no_training_used_under_any_name(trained_by, expected):
    assert judge(trained_by) == expected
    assert set(JUDGES) <= set(METHODS)


def test_a_method_is_related_to_what_it_averages_and_to_what_it_is_under_a_linear_head():
    assert related("gradcam") == {"gradcam"}
    assert related("hirescam") == {"hirescam", "gradcam"}
    assert related("smoothgrad/lrp") == {"smoothgrad/lrp", "lrp"}
    assert related("layercam", eigen_smooth=True) == {"layercam", "eigengradcam"}


def test_a_method_is_related_to_those_it_is_made_of_though_its_name_does_not_say_so():
    assert len(NOISES) == 3
    for noise in NOISES:
        assert related(noise) == {noise, "saliency"}
        assert related(f"{noise}/lrp") == {f"{noise}/lrp", "lrp"}
    of_two = {"guided-gradcam", "gradcam", "guided-backprop"}
    assert related("guided-gradcam") == of_two
    assert related("vargrad/guided-gradcam") == {"vargrad/guided-gradcam", *of_two}
    assert related("saliency") == {"saliency"}


# ---- which models


def test_a_refusal_names_the_field_the_model_what_it_lacks_and_the_methods_that_can_explain_it():
    with pytest.raises(ConfigError) as refusal:
        check_method("gradient-rollout", model_of("test_resnet"), name="test_resnet", field="judge")

    begin, able = str(refusal.value).split("(others can: ")
    assert begin == (
        "judge must be a method that can explain test_resnet, which has no attention; got 'gradient-rollout' "
    )
    assert able.rstrip(")").split(", ") == sorted(set(METHODS) - {*ROLLOUTS, "vargrad/deconvnet"})


# ---- which maps are equal


@pytest.mark.parametrize("name", TINY)
def test_methods_said_to_be_one_are_equal_to_the_bit_and_no_others_are(name):
    """Formulas and weights; under a linear head on pooled features some are the same by algebra."""
    model, (images, true) = model_of(name), batch()
    rows = [row for row in METHODS if METHODS[row].maps is None and METHODS[row].passes(model, 32) <= 3]
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
