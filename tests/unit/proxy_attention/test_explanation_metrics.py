import copy
import dataclasses
import random

import numpy as np
import pytest
import torch

from proxy_attention import evaluation
from proxy_attention.augment.registry import AUGMENTATIONS, augmentation_of
from proxy_attention.config import TrialConfig
from proxy_attention.data.splits import draw_split
from proxy_attention.errors import ConfigError, DataError
from proxy_attention.explanation_metrics import judge_explanations, judge_of, judged_ids, trained_by
from proxy_attention.models.build import build
from proxy_attention.models.classifier import as_float
from proxy_attention.saliency.maps import low_resolution_maps, upsample
from proxy_attention.saliency.registry import METHODS
from proxy_attention.trial import run_trial

MEASURES = ("insertion_auc", "deletion_auc", "average_drop", "average_increase", "sparseness")


@pytest.fixture
def ids(small):
    """20 images of the test split."""
    return small.own_test.nonzero().flatten().numpy()[::4]


def judged(model, images, ids, saliency="eigengradcam", precision="fp32", seed=0):
    return judge_explanations(model, images, ids=ids, saliency=saliency, precision=precision, seed=seed)


def values(judgement):
    return [getattr(judgement, name) for name in MEASURES]


def test_an_augmentation_that_asks_where_to_look_says_by_which_methods():
    assert any(row.saliency_methods for row in AUGMENTATIONS.values())
    for name, row in AUGMENTATIONS.items():
        assert bool(row.saliency_methods) == (row.passes > 0), name
        assert set(row.saliency_methods) <= set(METHODS), name
    joined = augmentation_of("flip-rotate+keepaugment+snapmix")
    assert joined.saliency_methods == ("saliency", "gradcam")
    assert trained_by(TrialConfig(schedule="2", augment="flip-rotate+keepaugment+snapmix")) == {"saliency", "gradcam"}
    assert trained_by(TrialConfig(schedule="2")) == frozenset()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "eigengradcam"),
        ({"judge_images": 0}, None),
        ({"saliency": "eigengradcam"}, None),
        ({"saliency": "gradcam", "eigen_smooth": True}, None),
        ({"saliency": "eigengradcam", "schedule": "2"}, "eigengradcam"),  # which trains by no method
        ({"saliency": "eigengradcam", "mask": "region"}, "eigengradcam"),  # nor does this
        ({"saliency": "smoothgrad/lrp", "judge": "lrp"}, None),
        ({"saliency": "lrp", "judge": "vargrad/lrp"}, None),
        ({"saliency": "lrp", "judge": "gradcam"}, "gradcam"),
        ({"saliency": "saliency", "judge": "smoothgrad"}, None),
        ({"saliency": "vargrad", "judge": "smoothgrad-squared"}, None),
        ({"saliency": "guided-gradcam", "judge": "hirescam"}, None),
        ({"saliency": "layercam", "judge": "gradcam", "augment": "flip-rotate+snapmix"}, None),
        ({"schedule": "2", "judge": "hirescam", "augment": "attentive-cutmix"}, None),
        ({"schedule": "2", "judge": "vargrad", "augment": "puzzlemix"}, None),
        ({"schedule": "2", "judge": "saliency", "augment": "keepaugment"}, None),
        ({"schedule": "2", "judge": "gradcam", "augment": "keepaugment+cutmix"}, "gradcam"),
    ],
)
def test_a_trial_that_trains_by_its_judge_is_not_judged(config, changes, expected):
    assert judge_of(config(**changes)) == expected


def test_trials_of_one_split_are_judged_on_the_same_test_images(config):
    test = np.arange(100, 200)
    one, other, third = (
        judged_ids(test, config(judge_images=20, split_seed=split_seed, seed=seed, saliency=saliency))
        for split_seed, seed, saliency in ((7, 0, "gradcam"), (7, 1, "layercam"), (8, 0, "gradcam"))
    )

    assert one.tolist() == other.tolist() == sorted(set(one.tolist()))
    assert one.tolist() != third.tolist()
    assert len(one) == 20
    assert set(one.tolist()) <= set(test.tolist())


def test_fewer_judged_images_are_a_part_of_more_and_there_are_no_more_than_test_images(config):
    test = np.arange(100, 150)
    few, more, all_of_them = (judged_ids(test, config(judge_images=count)) for count in (5, 20, 1000))

    assert set(few.tolist()) < set(more.tolist()) < set(all_of_them.tolist()) == set(test.tolist())


@pytest.mark.parametrize("size", [1, 7])
def test_how_images_are_cut_into_batches_does_not_change_the_judgement(monkeypatch, trained, small, ids, size):
    whole = judged(trained, small, ids)
    monkeypatch.setattr(evaluation, "eval_batch", lambda image_size: size)

    again = judged(trained, small, ids)

    assert values(again) == pytest.approx(values(whole), abs=1e-4)
    assert all(0 <= value <= 1 for value in values(whole))


def test_draws_of_a_method_follow_from_the_image_and_not_from_its_batch(monkeypatch, trained, small, ids):
    few = ids[:3]
    whole = judged(trained, small, few, "smoothgrad/input-x-gradient")
    monkeypatch.setattr(evaluation, "eval_batch", lambda image_size: 2)

    again = judged(trained, small, few, "smoothgrad/input-x-gradient")
    other = judged(trained, small, few, "smoothgrad/input-x-gradient", seed=1)

    assert values(again) == pytest.approx(values(whole), abs=1e-4)
    assert values(other) != values(whole)


@pytest.mark.parametrize("saliency", ["eigengradcam", "smoothgrad/input-x-gradient"])
def test_judging_leaves_the_model_and_every_random_stream_as_they_were(trained, small, ids, saliency):
    model = copy.deepcopy(trained)
    model.module.eval()

    def state():
        weights = {name: value.clone() for name, value in model.module.state_dict().items()}
        hooks = [len(module._forward_hooks) for module in model.module.modules()]
        grads = [parameter.grad is None for parameter in model.module.parameters()]
        draws = (torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate())  # noqa: NPY002
        return weights, (hooks, grads, draws, torch.is_grad_enabled())

    weights, rest = state()
    judged(model, small, ids[:3], saliency)
    after, rest_after = state()

    assert rest == rest_after
    assert weights.keys() == after.keys()
    assert all(torch.equal(weights[name], after[name]) for name in weights)


def test_images_are_not_written_to(trained, small, ids):
    before = small.images.clone()

    judged(trained, dataclasses.replace(small, region=lambda i: np.ones((32, 32), bool)), ids)

    assert torch.equal(small.images, before)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_transformer_can_be_judged(small, ids, precision):
    model = build("test_vit", classes=10, image_size=32, weights="none", seed=0).to(torch.device("cpu"))

    found = judged(model, small, ids[:4], precision=precision)

    assert all(0 <= value <= 1 for value in values(found))
    assert found.sparseness > 0


@pytest.fixture
def pointing(trained, small, ids):
    """Where the map of the true class is highest, (row, column) an image."""
    images, true = as_float(small.images[ids]), small.labels[ids]
    low = low_resolution_maps(trained, images, predicted=true, true=true, saliency="eigengradcam", explain="predicted")
    highest = upsample(low, 32).flatten(1).argmax(1)
    return {int(i): divmod(int(at), 32) for i, at in zip(ids, highest, strict=True)}


def box_around(row, column, side, margin):
    """A region of this side that holds the pixel (row, column) of 32, and so many pixels around it."""
    region = np.zeros((side, side), bool)
    scale = side // 32
    top, left = max(row - margin, 0) * scale, max(column - margin, 0) * scale
    region[top : (row + margin + 1) * scale, left : (column + margin + 1) * scale] = True
    return region


@pytest.mark.parametrize("side", [32, 64])
def test_the_pointing_game_counts_maps_of_the_true_class_that_point_at_the_object(trained, small, ids, pointing, side):
    hit = set(ids.tolist()[:15])

    def region(i):
        there = box_around(*pointing[i], side, margin=1)
        return there if i in hit else ~there

    found = judged(trained, dataclasses.replace(small, region=region), ids)

    assert found.pointing_game == pytest.approx(15 / 20)
    assert values(found) == values(judged(trained, small, ids))


def test_a_bad_region_ends_a_trial_before_its_training_and_only_judged_images_are_asked(config, tiny, tmp_path):
    trial, asked = config(schedule="2", judge_images=5), []
    split = draw_split(tiny.labels.numpy(), tiny.own_test.numpy(), trial)
    judged_images = judged_ids(split.test, trial).tolist()

    def region(i):
        asked.append(i)
        if len(asked) == 5:
            raise DataError("a bounding box must lie in its image")

    bad = dataclasses.replace(tiny, region=region)
    with pytest.raises(DataError, match="a bounding box must lie in its image"):
        next(run_trial(trial, bad, directory=tmp_path))

    assert asked == judged_images
    assert list(tmp_path.iterdir()) == []  # no epoch has left anything
    next(run_trial(dataclasses.replace(trial, judge_images=0), bad))
    assert len(asked) == 5


def test_images_without_a_region_do_not_take_part(trained, small, ids, pointing):
    known = set(ids.tolist()[::2])

    def region(i):
        return box_around(*pointing[i], 32, margin=1) if i in known else None

    assert judged(trained, dataclasses.replace(small, region=region), ids).pointing_game == 1.0
    assert judged(trained, dataclasses.replace(small, region=lambda i: None), ids).pointing_game is None


def test_a_judge_that_cannot_explain_the_model_is_refused_before_the_training(config, tiny):
    with pytest.raises(ConfigError, match=r"^judge must be a method that can explain test_efficientnet, which has"):
        next(run_trial(config(judge="attention-rollout"), tiny))
