import dataclasses

import pytest

from proxy_attention.errors import ConfigError
from proxy_attention.models.build import build_for
from proxy_attention.saliency.registry import METHODS
from study.planning.model_check import smallest_batch
from study.planning.planner import Planner
from study.planning.search import grid_plan
from study.planning.study_file import parse_study


def test_the_shape_of_each_model_is_noted_for_people(planner, base):
    planner.trial(0, "proxy", base)

    assert planner.models.notes == {("test_resnet", 32, "none", "last"): "map 4x4, small-image stem, output stride 8"}


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"feature_layer": "layer3"}, "map 8x8, small-image stem, output stride 8, map of layer3 as asked"),
        ({"model": "test_mambaout", "image_size": 64}, "map 4x4, as it is, map of stages.2 (the last is 2x2)"),
    ],
)
def test_a_layer_that_is_not_the_last_is_noted(planner, base, changes, note):
    planner.trial(0, "proxy", dataclasses.replace(base, **changes))

    assert list(planner.models.notes.values()) == [note]


def test_each_model_is_built_once_whatever_explains_it(image_folder, study_text, monkeypatch):
    built = []
    monkeypatch.setattr(
        "study.planning.model_check.build_for",
        lambda config, **rest: (built.append(config.model), build_for(config, **rest))[1],
    )
    models = ["model=['test_resnet', 'test_vit']", "saliency=['gradcam', 'layercam', 'eigencam']"]
    study = parse_study(study_text, settings=models)
    planner = Planner.of(study, data_root=image_folder, device="cpu", auto=lambda config: {})

    planned = grid_plan(study, planner)

    assert {trial.config.saliency for trial in planned} == {"gradcam", "layercam", "eigencam"}
    assert sorted(built) == ["resnet18", "test_resnet", "test_vit"]  # the arm takes no model from the search


def test_a_method_that_a_model_cannot_have_is_refused_before_anything_is_trained(planner, base, monkeypatch):
    lacking = dataclasses.replace(METHODS["layercam"], lacks=lambda model: "no attention")
    monkeypatch.setitem(METHODS, "layercam", lacking)

    planner.trial(0, "proxy", base)
    planner.trial(0, "baseline", dataclasses.replace(base, saliency="layercam", schedule="2"))

    with pytest.raises(
        ConfigError, match="saliency must be a method that can explain test_resnet, which has no attention; got 'layer"
    ):
        planner.trial(0, "proxy", dataclasses.replace(base, saliency="layercam"))


def test_smoothing_of_a_map_that_is_no_sum_is_refused_before_anything_is_trained(planner, base):
    with pytest.raises(
        ConfigError, match="eigen_smooth must be false for a map that is no weighted sum; got 'eigencam'"
    ):
        planner.trial(0, "proxy", dataclasses.replace(base, saliency="eigencam", eigen_smooth=True))


def test_methods_that_are_one_for_a_model_are_told_where_they_are_planned(planner, base):
    for saliency in ("xgradcam", "gradcam", "layercam", "hirescam"):
        planner.trial(0, "proxy", dataclasses.replace(base, saliency=saliency))
    for saliency in ("gradcam", "hirescam"):
        planner.trial(0, "proxy", dataclasses.replace(base, saliency=saliency, model="test_vit"))

    assert planner.models.equal_methods == [("test_resnet", ("gradcam", "hirescam", "xgradcam"))]


def test_methods_that_are_planned_alone_are_not_told_to_be_one(planner, base):
    planner.trial(0, "proxy", dataclasses.replace(base, saliency="gradcam"))
    planner.trial(0, "baseline", dataclasses.replace(base, saliency="hirescam", schedule="2"))

    assert planner.models.equal_methods == []


def test_a_method_says_how_many_passes_it_takes_of_the_configs_model(planner, base):
    by_method = {
        name: planner.models.explanation_passes(dataclasses.replace(base, saliency=name))
        for name in ("gradcam", "ablationcam", "scorecam")
    }

    assert by_method == {"gradcam": 1, "ablationcam": 1, "scorecam": 1 + 96}  # of a linear head; of 96 channels
    assert (
        planner.models.explanation_passes(dataclasses.replace(base, saliency="scorecam", schedule="2")) == 1
    )  # which explains nothing


def test_a_model_that_cannot_train_on_a_batch_that_will_occur_is_refused(planner, base):
    pooled = dataclasses.replace(base, model="mobilenetv4_conv_small")  # BatchNorm after the pool: one value an image

    for batch_size in (31, 32, 3):
        planner.trial(0, "proxy", dataclasses.replace(pooled, batch_size=batch_size, substitute="add"))
    planner.trial(0, "proxy", dataclasses.replace(pooled, batch_size=1, freeze_trunk=True))

    with pytest.raises(
        ConfigError,
        match=r"^batch_size must leave mobilenetv4_conv_small batches that it can train on; got 1 for 32 images, whose "
        r"smallest batch is 1: Expected more than 1 value per channel",
    ):
        planner.trial(0, "proxy", dataclasses.replace(pooled, batch_size=1))


@pytest.mark.parametrize(
    ("images", "batch_size", "replaced", "added"), [(32, 32, 32, 2), (33, 32, 33, 2), (40, 32, 8, 2), (3, 32, 3, 3)]
)
def test_the_smallest_batch_is_known_also_where_proxies_are_added(base, images, batch_size, replaced, added):
    config = dataclasses.replace(base, batch_size=batch_size)

    assert smallest_batch(config, images) == replaced
    assert smallest_batch(dataclasses.replace(config, substitute="add"), images) == added
    assert smallest_batch(dataclasses.replace(config, substitute="add", schedule="2"), images) == replaced
    assert smallest_batch(dataclasses.replace(config, substitute="add", repeats=20), images) <= added
