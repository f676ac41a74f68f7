import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from proxy_attention.errors import ConfigError
from proxy_attention.trial import run_trial
from proxy_attention.trial_state import replay_steps
from proxy_attention.trial_store import read_recipes
from study.analyse import main
from study.reporting.export import export_proxies
from study.run_folder import RunFolder


def proxied(run):
    """The complete trials of a run that made proxies."""
    return [trial for trial in RunFolder(run).read_plan().trials if trial.config.has_proxies]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"mask": "other", "collect": "online"},
        {"clear_every_step": False, "compound": True, "replacement": "noise", "subset": 0.5},
        {"split": "redrawn", "scope": "dataset", "replacement": "mean"},
        {"saliency": "gradient-shap", "smoothing": 1.0, "subset": 0.3},
        {"mask": "untrained", "subset_decay": 0.5},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())) or "defaults",
)
def test_what_a_trial_kept_makes_the_same_proxies_again(config, small, tmp_path, fields):
    trial = config(schedule="2,p,1,p,1", threshold=0.3, weight=0.9, **fields)
    shown = [item.examples for item in run_trial(trial, small, directory=tmp_path) if item.examples is not None]

    again = [step.examples for step in replay_steps(trial, small, read_recipes(tmp_path))]

    assert len(again) == len(shown) == 2
    for one, two in zip(shown, again, strict=True):
        assert all(getattr(one, part).equal(getattr(two, part)) for part in ("ids", "predicted", "maps", "proxies"))


def test_a_trial_without_proxies_kept_none(config, small, tmp_path):
    list(run_trial(config(schedule="1"), small, directory=tmp_path))

    assert read_recipes(tmp_path) == []


def test_every_proxy_becomes_a_file_and_a_row_of_the_manifest(finished_run, tmp_path):
    trial = proxied(finished_run)[0]

    count = export_proxies(finished_run, [trial.trial_id], tmp_path / "out")

    told = json.loads((tmp_path / "out" / trial.trial_id / "manifest.json").read_text())
    report = json.loads((RunFolder(finished_run).trial(trial.trial_id).report_file).read_text())
    files = sorted((tmp_path / "out").rglob("*.png"))
    assert count == len(files) == len(told["proxies"]) == report["proxy_images"] > 0
    assert [tmp_path / "out" / trial.trial_id / row["file"] for row in told["proxies"]] == files
    assert all(row["true"] != row["predicted"] for row in told["proxies"])
    size = trial.config.image_size
    assert {np.asarray(Image.open(file)).shape for file in files} == {(size, size, 3)}


def test_the_command_line_exports_what_a_query_picks(finished_run, tmp_path, capsys):
    ids = [trial.trial_id for trial in proxied(finished_run) if trial.config.seed == 0]

    code = main([str(finished_run), "--query", "seed == 0", "--export-proxies", str(tmp_path / "out")])

    assert code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(ids)
    assert "proxies below" in capsys.readouterr().out


def test_a_folder_that_holds_something_is_left_alone(finished_run, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")

    with pytest.raises(ConfigError, match=r"^the folder for proxies must be new or empty; got "):
        export_proxies(finished_run, [proxied(finished_run)[0].trial_id], tmp_path)


def test_trials_without_proxies_are_named_as_the_trouble(finished_run, tmp_path):
    plain = [trial.trial_id for trial in RunFolder(finished_run).read_plan().trials if not trial.config.has_proxies]

    with pytest.raises(ConfigError, match="must be a complete trial that made proxies"):
        export_proxies(finished_run, plain, tmp_path / "out")


def test_remaking_leaves_the_images_alone(config, small, tmp_path):
    trial = config(schedule="1,p", threshold=0.0, weight=1.0)
    list(run_trial(trial, small, directory=tmp_path))
    before = dataclasses.replace(small, images=small.images.clone())

    list(replay_steps(trial, small, read_recipes(tmp_path)))

    assert small.images.equal(before.images)
