import dataclasses
import json
import re
import shutil
import subprocess
from importlib.metadata import version

import pytest

from proxy_attention.errors import ConfigError
from study import plan as plan_module
from study.plan import FORMAT, PACKAGES, Plan, PlannedTrial, about, commit, folder_of, is_complete


@pytest.fixture
def run(finished_run, tmp_path):
    """A run's folder with a plan alone."""
    shutil.copy(finished_run / "plan.json", tmp_path)
    return tmp_path


def test_a_plan_is_the_same_after_it_was_written_and_read(finished_run, tmp_path):
    plan = Plan.read(finished_run)
    plan = dataclasses.replace(
        plan, search="random", confirmed=plan.trials[:2], suggestions=6, confirm=2, measured={"threads": 2}
    )

    plan.write(tmp_path)

    assert Plan.read(tmp_path) == plan
    assert isinstance(Plan.read(tmp_path).seeds, tuple)


def test_everything_is_the_trials_and_then_the_confirmed(finished_run):
    plan = Plan.read(finished_run)
    plan = dataclasses.replace(plan, trials=plan.trials[:2], confirmed=plan.trials[2:4])

    assert len(plan.everything) == 4
    assert plan.everything == (*plan.trials, *plan.confirmed)


def test_a_trial_is_the_same_after_json(finished_run):
    trial = Plan.read(finished_run).trials[3]

    assert PlannedTrial.of(json.loads(json.dumps(trial.as_dict()))) == trial


def test_an_absent_plan_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=re.escape(f"a run must hold a plan.json; there is none in {str(tmp_path)!r}")
    ):
        Plan.read(tmp_path)


def test_a_plan_of_another_format_is_refused(run):
    values = json.loads((run / "plan.json").read_text())
    assert values["format"] == FORMAT
    (run / "plan.json").write_text(json.dumps({**values, "format": FORMAT + 1}))

    with pytest.raises(ConfigError, match=f"must be of format {FORMAT}; it was written by another version"):
        Plan.read(run)


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
        Plan.read(run)
    assert "\n" not in str(caught.value)


def test_a_plan_that_is_no_text_is_refused(run):
    (run / "plan.json").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match=r"plan\.json must be a plan that this project wrote"):
        Plan.read(run)


def test_a_plan_whose_trial_breaks_a_law_is_refused(run):
    values = json.loads((run / "plan.json").read_text())
    values["trials"][0]["config"]["lr"] = -1
    (run / "plan.json").write_text(json.dumps(values))

    with pytest.raises(ConfigError, match="lr must be a finite number > 0; got -1"):
        Plan.read(run)


def test_a_trial_is_complete_when_its_report_is_there(tmp_path):
    folder = folder_of(tmp_path, "0000-x")
    folder.mkdir(parents=True)
    (folder / "epochs.json").write_text("[]")
    assert not is_complete(tmp_path, "0000-x")

    (folder / "report.json").write_text("{}")
    assert is_complete(tmp_path, "0000-x")


def test_a_trial_with_a_damaged_report_is_not_complete(tmp_path):
    folder = folder_of(tmp_path, "0000-x")
    folder.mkdir(parents=True)

    (folder / "report.json").write_text('{"val_accuracy": 9')
    assert not is_complete(tmp_path, "0000-x")


def test_a_run_says_when_where_and_with_what_it_was_made():
    made = about("python study/run.py --search grid", "cpu")

    assert (made["command"], made["device"]) == ("python study/run.py --search grid", "cpu")
    assert made["versions"] == {name: version(name) for name in PACKAGES}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", made["created"])
    assert set(made) == {"command", "commit", "created", "device", "host", "machine", "python", "versions"}


def test_outside_git_the_commit_is_empty(monkeypatch, tmp_path):
    monkeypatch.setattr(plan_module, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert commit() == ""


def test_without_git_the_commit_is_empty(monkeypatch):
    monkeypatch.setenv("PATH", "")

    assert commit() == ""


def test_changed_code_is_told_from_committed_code(monkeypatch, tmp_path):
    def git(*words):
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    monkeypatch.setattr(plan_module, "ROOT", tmp_path)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "run.py").write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    head = git("rev-parse", "HEAD")[:12]
    assert commit() == head

    (tmp_path / "notes.txt").write_text("no code")
    assert commit() == head
    (tmp_path / "study" / "run.py").write_text("2")
    assert commit() == f"{head}+changes"
