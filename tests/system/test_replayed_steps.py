"""The proxy steps of a complete trial, taken once more from its recipes."""

import dataclasses

import pytest

from proxy_attention.trial import run_trial
from proxy_attention.trial_state import replay_steps
from proxy_attention.trial_store import read_recipes


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"mask": "other", "collect": "online"},
        {"clear_every_step": False, "compound": True, "replacement": "noise", "subset": 0.5},
        {"split": "redrawn", "scope": "dataset", "replacement": "mean"},
        {"saliency": "gradient-shap", "smoothing": 1.0, "subset": 0.3},
        {"mask": "untrained", "subset_decay": 0.5},
        {"choose": "all", "collect": "online", "subset": 0.4, "threshold": "mean+2sd"},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())) or "defaults",
)
def test_the_recipes_of_a_trial_make_the_same_proxies_again(config, tiny, tmp_path, fields):
    trial = config(**{"schedule": "2,p,1,p,1", "threshold": 0.3, "weight": 0.9, **fields})
    shown = [item.examples for item in run_trial(trial, tiny, directory=tmp_path) if item.examples is not None]

    again = [step.examples for step in replay_steps(trial, tiny, read_recipes(tmp_path))]

    assert len(again) == len(shown) == 2
    for one, two in zip(shown, again, strict=True):
        assert all(getattr(one, part).equal(getattr(two, part)) for part in ("ids", "predicted", "maps", "proxies"))


def test_a_trial_without_proxies_keeps_no_recipe(config, tiny, tmp_path):
    list(run_trial(config(schedule="1"), tiny, directory=tmp_path))

    assert read_recipes(tmp_path) == []


def test_replaying_leaves_the_images_alone(config, tiny, tmp_path):
    trial = config(schedule="1,p", threshold=0.0, weight=1.0)
    list(run_trial(trial, tiny, directory=tmp_path))
    before = dataclasses.replace(tiny, images=tiny.images.clone())

    list(replay_steps(trial, tiny, read_recipes(tmp_path)))

    assert tiny.images.equal(before.images)
