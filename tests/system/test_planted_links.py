"""A run folder that came from elsewhere: nothing in it makes a restore or a report read or write outside it."""

import hashlib
import os
import shutil

import pytest

from proxy_attention.files import load_json, write_json
from study.analyse import main as analyse
from study.run import main
from study.run_folder import RunFolder


@pytest.fixture
def run(finished_run, tmp_path):
    """An incomplete run: the second trial is gone."""
    run = RunFolder(shutil.copytree(finished_run, tmp_path / "storage" / "small" / "grid"))
    shutil.rmtree(run.trial(run.read_plan().trials[1].trial_id).path)
    return run


@pytest.fixture
def outside(tmp_path):
    """A folder that is not the run's, with a file of each kind that a trap may point at."""
    folder = tmp_path / "outside"
    (folder / "deep").mkdir(parents=True)
    for name in ("mine.txt", "mine.db", "deep/mine.json"):
        (folder / name).write_text("a secret of mine")
    return folder


def contents(folder):
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def replace(path, target):
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def lock_link(run, outside):
    replace(run.lock_file, outside / "mine.txt")


def lock_hard_link(run, outside):
    run.lock_file.unlink(missing_ok=True)
    os.link(outside / "mine.txt", run.lock_file)


def study_link(run, outside):
    replace(run.study_file, outside / "mine.txt")


def plan_link(run, outside):
    shutil.move(run.plan_file, outside / "deep" / "plan.json")
    replace(run.plan_file, outside / "deep" / "plan.json")


def database_link(run, outside):
    replace(run.optuna_db, outside / "mine.db")


def trial_link(run, outside):
    replace(run.trial(run.read_plan().trials[1].trial_id).path, outside / "deep")


def trials_link(run, outside):
    shutil.move(run.trials, outside / "trials")
    replace(run.trials, outside / "trials")


def report_link(run, outside):
    replace(run.report_html, outside / "mine.txt")


def pipe(run, outside):
    trial = run.trial(run.read_plan().trials[1].trial_id)
    trial.path.mkdir()
    os.mkfifo(trial.report_file)


def trial_id_that_is_a_path(run, outside):
    values = load_json(run.plan_file)
    values["trials"][1]["trial_id"] = f"0001-x/../../../../../outside/deep-{values['trials'][1]['config_digest'][:8]}"
    write_json(run.plan_file, values)


def caches_link(run, outside):
    shutil.rmtree(run.caches, ignore_errors=True)
    run.caches.symlink_to(outside)


def cached_images_link(run, outside):
    """Entries are cleaned of unfinished files, which begin with a dot."""
    (outside / ".profile").write_text("a secret of mine")
    (run.caches / "images").mkdir(parents=True, exist_ok=True)
    (run.caches / "images" / "0123").symlink_to(outside)


def states_link(run, outside):
    run.caches.mkdir(exist_ok=True)
    shutil.rmtree(run.shared_states, ignore_errors=True)
    run.shared_states.symlink_to(outside / "deep")


def batch_sizes_link(run, outside):
    run.caches.mkdir(exist_ok=True)
    replace(run.batch_sizes, outside / "mine.txt")


TRAPS = (
    caches_link,
    cached_images_link,
    states_link,
    batch_sizes_link,
    lock_link,
    lock_hard_link,
    study_link,
    plan_link,
    database_link,
    trial_link,
    trials_link,
    report_link,
    pipe,
    trial_id_that_is_a_path,
)


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_a_restore_refuses_a_run_with_a_trap_in_one_line_and_touches_nothing_outside(run, outside, trap, capsys):
    trap(run, outside)
    before = contents(outside)

    code = main(["--restore", str(run.path), "--no-dashboard"])

    out, err = capsys.readouterr()
    assert (code, err.count("\n")) == (2, 1), err
    assert "a secret of mine" not in out + err
    assert contents(outside) == before


def test_a_restore_of_a_run_with_every_trap_at_once_is_one_line_too(run, outside, capsys):
    for trap in (trial_link, lock_link, study_link, database_link, report_link, trial_id_that_is_a_path, trials_link):
        trap(run, outside)
    before = contents(outside)

    code = main(["--restore", str(run.path), "--no-dashboard"])

    assert (code, capsys.readouterr().err.count("\n")) == (2, 1)
    assert contents(outside) == before


def test_a_report_shows_nothing_that_a_link_points_at(run, outside, capsys):
    for trap in (study_link, database_link):
        trap(run, outside)
    before = contents(outside)

    analyse([str(run.path)])

    assert "a secret of mine" not in "".join(capsys.readouterr())
    assert contents(outside) == before
