"""A trial that is cut after any epoch ends as if it had not been, and damaged checkpoints cost only their epochs."""

import dataclasses
import json
import shutil

import pytest
import torch
from trial_files import AT_CHANCE, FROZEN, MODELS, TWO_STEPS, assert_equal_weights, course, written

from proxy_attention.errors import CheckpointError
from proxy_attention.records import EpochRecord
from proxy_attention.trial import run_trial
from proxy_attention.trial_store import read_recipes


@pytest.fixture(scope="module")
def uninterrupted(config, small, tmp_path_factory):
    """Run trials once, with a copy of the directory as it lay after every epoch: (records, report, folder, copies)."""
    done = {}

    def run(**fields):
        key = tuple(sorted(fields.items()))
        if key not in done:
            folder = tmp_path_factory.mktemp("whole")
            records, copies = [], []
            for progress in run_trial(config(**fields), small, directory=folder / "trial"):
                if progress.report is None:
                    records.append(progress.record)
                    written(folder / "trial", len(records))
                    copies.append(shutil.copytree(folder / "trial", folder / f"after-{len(records)}"))
            done[key] = records, progress.report, folder / "trial", copies
        return done[key]

    return run


CUTS = [
    *[{"schedule": TWO_STEPS, "model": model} for model in MODELS],
    {"schedule": TWO_STEPS, "substitute": "add", "clear_every_step": False, "compound": True, "subset": 0.5},
    {"schedule": TWO_STEPS, "split": "redrawn", "collect": "online"},
    {"schedule": TWO_STEPS, "augment": "flip-rotate+snapmix", "substitute": "add", "collect": "online"},
    {"schedule": TWO_STEPS, "saliency": "gradient-shap", "mask": "untrained", "smoothing": 1.0, "subset": 0.3},
    {"schedule": TWO_STEPS, "substitute": "add", "repeats": 2, "restart": True, "weight": 0.0, "collect": "online"},
    {"schedule": TWO_STEPS, "choose": "right", "order": "hardest", "subset": 0.5, "threshold": "mean+1sd"},
]


def cut_after_each_epoch(cases, quick):
    """Every case cut after each of six epochs: slow, but for a few cases cut where the first proxies were just made."""
    return [
        pytest.param(case, after, marks=() if case in quick and after == 3 else pytest.mark.slow)
        for case in cases
        for after in range(1, 7)
    ]


def named(value):
    return "-".join(map(str, list(value.values())[1:])) if isinstance(value, dict) else str(value)


@pytest.mark.parametrize(("fields", "after"), cut_after_each_epoch(CUTS, [CUTS[1], CUTS[4]]), ids=named)
def test_a_trial_cut_after_any_epoch_ends_as_if_it_had_not_been(
    config, small, finish, metrics, uninterrupted, tmp_path, fields, after
):
    records, report, whole, copies = uninterrupted(**fields)
    cut = shutil.copytree(copies[after - 1], tmp_path / "cut")
    assert [record.proxy_images > 0 for record in records][2:] == [True] * 4  # alive across the later cuts

    rest, again = finish(config(**fields), small, cut)

    assert [metrics(record) for record in rest] == [metrics(record) for record in records[after:]]
    assert metrics(again) == metrics(report)
    assert_equal_weights(cut, whole)
    told = [EpochRecord(**row) for row in json.loads((cut / "epochs.json").read_text())["epochs"]]
    assert [metrics(record) for record in told] == [metrics(record) for record in records]


WITH_SKIPPED = {
    ".P..s.": {**AT_CHANCE, "schedule": "1,p?,2,p?,1", "subset": 0.6, "subset_decay": 0.5},
    ".s.PPP": {**FROZEN, "schedule": "1,p?,1,p?,p?,p", "patience": 3, "subset": 0.6, "substitute": "add",
               "clear_every_step": False, "compound": True, "mask": "random"},
    ".s.Ps.": {**FROZEN, "schedule": "1,p?,1,p?,p?,1", "patience": 1, "split": "redrawn", "collect": "online",
               "clear_every_step": False},
}  # fmt: skip


@pytest.mark.parametrize(("steps", "after"), cut_after_each_epoch(WITH_SKIPPED, [".s.PPP"]))
def test_a_trial_with_skipped_steps_cut_after_any_epoch_ends_as_if_it_had_not_been(
    config, small, finish, metrics, uninterrupted, tmp_path, steps, after
):
    fields = WITH_SKIPPED[steps]
    records, report, whole, copies = uninterrupted(**fields)
    cut = shutil.copytree(copies[after - 1], tmp_path / "cut")
    assert course(records) == steps

    rest, again = finish(config(**fields), small, cut)

    assert [metrics(record) for record in rest] == [metrics(record) for record in records[after:]]
    assert metrics(again) == metrics(report)
    assert_equal_weights(cut, whole)
    pairs = list(zip(read_recipes(cut), read_recipes(whole), strict=True))
    assert len(pairs) == steps.count("P")
    assert all(torch.equal(one.ids, other.ids) and torch.equal(one.maps, other.maps) for one, other in pairs)


def test_an_abandoned_trial_goes_on_in_its_own_directory(config, small, finish, metrics, uninterrupted, tmp_path):
    fields = {"schedule": TWO_STEPS, "model": "test_efficientnet"}
    _, report, _, _ = uninterrupted(**fields)

    running = run_trial(config(**fields), small, directory=tmp_path)
    for _ in range(4):
        next(running)
    running.close()
    torch.rand(100)
    rest, again = finish(config(**fields), small, tmp_path)

    assert [record.epoch for record in rest] == [4, 5]
    assert metrics(again) == metrics(report)
    assert again.wall_seconds > again.train_seconds  # the seconds before the cut are in it


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b""])
def test_a_truncated_checkpoint_costs_one_epoch_and_nothing_else(
    config, small, finish, metrics, uninterrupted, tmp_path, damage
):
    fields = {"schedule": TWO_STEPS, "model": "test_efficientnet"}
    _, report, whole, copies = uninterrupted(**fields)
    cut = shutil.copytree(copies[3], tmp_path / "cut")
    newest = max((cut / "checkpoints").iterdir())
    newest.write_bytes(damage(newest.read_bytes()))

    rest, again = finish(config(**fields), small, cut)

    assert [record.epoch for record in rest] == [3, 4, 5]
    assert metrics(again) == metrics(report)
    assert_equal_weights(cut, whole)


def test_a_checkpoint_of_another_format_costs_its_epochs_and_nothing_else(
    config, small, finish, metrics, uninterrupted, tmp_path
):
    fields = {"schedule": TWO_STEPS, "model": "test_efficientnet"}
    _, report, _, copies = uninterrupted(**fields)
    cut = shutil.copytree(copies[3], tmp_path / "cut")
    for file in (cut / "checkpoints").iterdir():
        torch.save({**torch.load(file, weights_only=True), "format": 1}, file)

    rest, again = finish(config(**fields), small, cut)

    assert [record.epoch for record in rest] == [0, 1, 2, 3, 4, 5]
    assert metrics(again) == metrics(report)


def test_a_checkpoint_of_another_trial_is_refused(config, small, uninterrupted, tmp_path):
    fields = {"schedule": TWO_STEPS, "model": "test_efficientnet"}
    cut = shutil.copytree(uninterrupted(**fields)[3][2], tmp_path / "cut")

    with pytest.raises(CheckpointError, match="belongs to another trial"):
        next(run_trial(config(**fields, lr=1e-3), small, directory=cut))


def test_a_checkpoint_of_other_images_is_refused(config, small, uninterrupted, tmp_path):
    fields = {"schedule": TWO_STEPS, "model": "test_efficientnet"}
    cut = shutil.copytree(uninterrupted(**fields)[3][2], tmp_path / "cut")

    with pytest.raises(CheckpointError, match="belongs to another trial"):
        next(run_trial(config(**fields), dataclasses.replace(small, digest="other"), directory=cut))


def test_the_newest_two_checkpoints_are_kept_and_none_after_the_end(uninterrupted):
    _, _, whole, copies = uninterrupted(schedule=TWO_STEPS, model="test_efficientnet")

    kept = [sorted(path.name for path in (copy / "checkpoints").iterdir()) for copy in copies]
    assert kept[0] == ["epoch-000001.pt"]
    assert kept[1:] == [[f"epoch-{n - 1:06d}.pt", f"epoch-{n:06d}.pt"] for n in range(2, 7)]
    assert sorted(path.name for path in whole.iterdir()) == [
        "epochs.json", "recipes.safetensors", "report.json", "weights.safetensors",
    ]  # fmt: skip


def test_the_report_on_disk_says_which_trial_it_is_of(config, small, uninterrupted):
    fields = {"schedule": TWO_STEPS, "model": "test_efficientnet"}
    _, report, whole, copies = uninterrupted(**fields)

    told = json.loads((whole / "report.json").read_text())

    assert told["identity"] == config(**fields).digest(data=small.digest, weights=None)
    assert told["test_accuracy"] == report.test_accuracy
    assert not any((copy / "report.json").exists() for copy in copies)
