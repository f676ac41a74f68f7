"""Whole trials whose explanations are judged at their end."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from proxy_attention.data.splits import draw_split
from proxy_attention.explanation_metrics import ExplanationMetrics, judge_explanations, judged_ids
from proxy_attention.models.build import build

MEASURES = ("insertion_auc", "deletion_auc", "average_drop", "average_increase", "sparseness")


@pytest.fixture
def ids(small):
    """20 images of the test split."""
    return small.own_test.nonzero().flatten().numpy()[::4]


def judged(model, images, ids, saliency="eigengradcam", precision="fp32", seed=0):
    return judge_explanations(model, images, ids=ids, saliency=saliency, precision=precision, seed=seed)


def values(judgement):
    return [getattr(judgement, name) for name in MEASURES]


def digest_of(directory):
    return (directory / "weights.safetensors").read_bytes()


def test_judging_changes_nothing_else_of_a_trial_bit_for_bit(config, tiny, finish, metrics, tmp_path):
    plain, watched = config(schedule="1,p,1", judge_images=0), config(schedule="1,p,1", judge_images=12)

    records, report = finish(plain, tiny, tmp_path / "plain")
    watched_records, watched_report = finish(watched, tiny, tmp_path / "watched")

    names = [field.name for field in dataclasses.fields(ExplanationMetrics)]
    assert digest_of(tmp_path / "plain") == digest_of(tmp_path / "watched")
    assert [metrics(record) for record in records] == [metrics(record) for record in watched_records]
    assert metrics(report, *names) == metrics(watched_report, *names)
    assert [getattr(report, name) for name in names] == [getattr(ExplanationMetrics(), name) for name in names]
    assert watched_report.judge_seconds > 0


def test_a_trial_reports_the_judgement_of_its_trained_model_on_its_test_images(config, tiny, finish, tmp_path):
    trial = config(schedule="1,p", judge_images=12)
    _, report = finish(trial, tiny, tmp_path)

    model = build(trial.model, classes=10, image_size=32, weights="none", seed=0).to(torch.device("cpu"))
    model.module.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    split = draw_split(tiny.labels.numpy(), tiny.own_test.numpy(), trial)
    expected = judged(model, tiny, judged_ids(split.test, trial), seed=trial.seed)

    assert values(report) == values(expected)
    assert (report.judged_by, report.judged_images, report.pointing_game) == ("eigengradcam", 12, None)
    assert json.loads((tmp_path / "report.json").read_text())["insertion_auc"] == report.insertion_auc


def test_a_trial_that_trains_by_its_judge_reports_no_judgement(config, tiny, finish):
    _, report = finish(config(saliency="eigengradcam"), tiny)

    assert (report.judged_by, report.judged_images, values(report)) == (None, 0, [None] * 5)
