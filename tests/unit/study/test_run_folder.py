"""A run on disk: where its files lie, and what they read as when they are whole, damaged or absent."""

import ast
import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

import study
from proxy_attention.errors import ConfigError
from proxy_attention.files import write_json
from study.file_formats import FORMAT
from study.run_folder import RunFolder

STUDY = Path(study.__file__).parent
NAMES = {
    "plan.json", "study.toml", "results.csv", "report.html", "arms.svg", ".lock", "optuna.db", "ray", "trials",
    "trial.json", "epochs.json", "report.json", "error.json", "proxies.json", "proxies.png", "weights.safetensors",
    "recipes.safetensors", "checkpoints", ".cache", "prefixes", "batch_sizes.json",
}  # fmt: skip


@pytest.fixture
def run(finished_run, tmp_path):
    """A run's folder with a plan alone."""
    shutil.copy(finished_run / "plan.json", tmp_path)
    return tmp_path


@pytest.fixture
def copy(finished_run, tmp_path):
    """A copy of the complete run, to damage."""
    return shutil.copytree(finished_run, tmp_path / "small" / "grid")


def spelled(path):
    """The file names of a run that this file of Python spells, in a path: not in a sentence, nor as a log's label."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant):
            found.add(node.right.value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            found |= {node.value, node.value.rpartition("/")[2]}
    return found & NAMES


def test_every_file_of_a_run_is_spelled_in_one_place(tmp_path):
    (tmp_path / "control.py").write_text('file = run / "trials" / name / "report.json"\nother = f"{run}/optuna.db"')
    assert spelled(tmp_path / "control.py") == {"trials", "report.json", "optuna.db"}

    others = [path for path in STUDY.rglob("*.py") if path.name != "run_folder.py"]

    assert len(others) > 30
    assert {path.name: names for path in others if (names := spelled(path))} == {}


def test_a_run_names_its_files_as_they_lie_on_disk(finished_run):
    run = RunFolder(finished_run)
    trial = run.trial(run.read_plan().trials[1].trial_id)

    files = (run.plan_file, run.study_file, run.results_csv, run.report_html, run.trials)
    of_trial = (trial.trial_file, trial.epochs_file, trial.report_file, trial.weights_file, trial.proxies_file)
    assert all(path.exists() for path in (*files, *of_trial, trial.proxies_png))
    assert run.caches == finished_run.parent.parent / ".cache"
    assert run.shared_states == run.caches / "prefixes"


def test_a_plan_is_the_same_after_it_was_written_and_read(finished_run, tmp_path):
    plan = RunFolder(finished_run).read_plan()
    plan = dataclasses.replace(
        plan, search="random", confirmed=plan.trials[:2], suggestions=6, confirm=2, measured={"threads": 2}
    )

    RunFolder(tmp_path).write_plan(plan)

    assert RunFolder(tmp_path).read_plan() == plan
    assert isinstance(RunFolder(tmp_path).read_plan().seeds, tuple)


def test_an_absent_plan_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=re.escape(f"a run must hold a plan.json; there is none in {str(tmp_path)!r}")
    ):
        RunFolder(tmp_path).read_plan()


def test_a_plan_of_another_format_is_refused(run):
    values = json.loads((run / "plan.json").read_text())
    assert values["format"] == FORMAT
    write_json(run / "plan.json", {**values, "format": FORMAT + 1})

    with pytest.raises(ConfigError, match=f"must be of format {FORMAT}; it was written by another version"):
        RunFolder(run).read_plan()


def without(key):
    def damage(text):
        values = json.loads(text)
        del values[key]
        return json.dumps(values)

    return damage


def with_(**changes):
    return lambda text: json.dumps({**json.loads(text), **changes})


DAMAGE = {
    "empty": lambda text: "",
    "cut": lambda text: text[: len(text) // 2],
    "a list": lambda text: "[]",
    "null": lambda text: "null",
    "no format": without("format"),
    "no trials": without("trials"),
    "no seeds": without("seeds"),
    "no name": without("name"),
    "another key": with_(more=1),
    "trials a number": with_(trials=3),
    "trials of numbers": with_(trials=[3]),
    "trials without a config": with_(trials=[{"trial_id": "x"}]),
    "seeds a number": with_(seeds=3),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_plan_is_refused_in_one_line(run, damage):
    (run / "plan.json").write_text(damage((run / "plan.json").read_text()))

    with pytest.raises(ConfigError, match=r"plan\.json must be a plan that this project wrote") as caught:
        RunFolder(run).read_plan()
    assert "\n" not in str(caught.value)


def test_a_plan_that_is_no_text_is_refused(run):
    (run / "plan.json").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match=r"plan\.json must be a plan that this project wrote"):
        RunFolder(run).read_plan()


def test_a_plan_whose_trial_breaks_a_law_is_refused(run):
    values = json.loads((run / "plan.json").read_text())
    values["trials"][0]["config"]["lr"] = -1
    write_json(run / "plan.json", values)

    with pytest.raises(ConfigError, match="lr must be a finite number > 0; got -1"):
        RunFolder(run).read_plan()


def test_a_trial_is_complete_when_its_report_is_there(copy):
    trial = RunFolder(copy).trial_folders()[0]
    report = trial.report_file.rename(copy / "elsewhere")
    assert not trial.is_complete

    report.rename(trial.report_file)
    assert trial.is_complete


def test_a_trial_with_a_damaged_report_is_not_complete(tmp_path):
    folder = RunFolder(tmp_path).trial("0000-x").path
    folder.mkdir(parents=True)

    (folder / "report.json").write_text('{"val_accuracy": 9')
    assert not RunFolder(tmp_path).trial("0000-x").is_complete


def test_the_status_of_a_trial_is_read_from_its_own_files(copy):
    trial_id = RunFolder(copy).read_plan().trials[0].trial_id
    folder = RunFolder(copy).trial(trial_id).path
    assert RunFolder(copy).trial(trial_id).status() == ("complete", "")

    (folder / "report.json").unlink()
    (folder / "error.json").write_text('{"error": "OSError: no room"}')
    assert RunFolder(copy).trial(trial_id).status() == ("failed", "OSError: no room")

    (folder / "error.json").unlink()
    assert RunFolder(copy).trial(trial_id).status() == ("interrupted", "")

    (folder / "epochs.json").unlink()
    (folder / "trial.json").unlink()
    assert RunFolder(copy).trial(trial_id).status() == ("missing", "")


def test_complete_trials_are_counted_from_their_files(finished_run, broken_run, tmp_path):
    assert [RunFolder(run).count_complete() for run in (finished_run, broken_run, tmp_path)] == [8, 1, 0]
