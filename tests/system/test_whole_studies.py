"""Studies as a person runs them: ``python study/run.py`` in a process of its own, with Ray."""

import os
import re
import shlex
import signal
import time

import optuna
import pandas as pd
import pytest
from driving import ROOT, TIMEOUT, end, lasting_epochs, lasting_rows, left_over, start

from study.results import load_epochs, load_results
from study.run_folder import RunFolder

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


def mtimes(run):
    return {path: path.stat().st_mtime_ns for path in (run / "trials").rglob("*")}


@pytest.fixture(scope="module")
def grid(command):
    return command("grid")


def test_a_grid_completes_every_trial(grid):
    results = load_results(grid.run)

    assert (grid.code, grid.err) == (0, "")
    assert list(results["status"]) == ["complete"] * 8
    assert (results["epochs_done"] == 2).all()
    assert pd.read_csv(grid.run / "results.csv").shape == results.shape


def test_a_grid_prints_plan_progress_tables_and_answers(grid):
    assert "trials       8: 2 baseline + 4 proxy + 2 random-mask" in grid.out
    assert "epochs       16 (2 a trial), 4 to train" in grid.out  # they part after their last
    assert re.search(r"8/8 trials · 4/4 epochs", grid.out)
    assert "proxies - baseline" in grid.out
    for trial_id in load_results(grid.run)["trial_id"]:
        assert f"{trial_id}: val " in grid.out


def test_a_run_writes_into_its_own_folder_alone(grid):
    names = {path.name for path in grid.run.iterdir()}

    assert names == {".lock", "plan.json", "study.toml", "results.csv", "report.html", "arms.svg", "trials", "ray"}
    assert {path.name for path in grid.run.parent.parent.iterdir()} == {"asked", "small", ".cache"}
    assert {path.name for path in (grid.run.parent.parent / ".cache").iterdir()} == {"images", "prefixes"}


def test_trials_under_ray_equal_trials_without_it_bit_for_bit(grid, finished_run):
    pd.testing.assert_frame_equal(lasting_rows(grid.run), lasting_rows(finished_run))
    pd.testing.assert_frame_equal(lasting_epochs(grid.run), lasting_epochs(finished_run))
    for trial in RunFolder(finished_run).read_plan().trials:
        one, two = (RunFolder(run).trial(trial.trial_id).weights_file for run in (grid.run, finished_run))
        assert one.read_bytes() == two.read_bytes()


@pytest.fixture(scope="module")
def quick():
    """The quick study on one seed and few small images: a baseline, two settings and the control."""
    text = (ROOT / "experiments" / "quick" / "study.toml").read_text()
    return (
        text.replace("seeds = [0, 1]", "seeds = [0]")
        .replace("image_size = 64", "image_size = 32")
        .replace("[search]", "train_fraction = 0.05\n[search]")
        .replace("weight = [0.5, 1.0]", "weight = [1.0]")
        .replace("subset = [0.5, 1.0]", "subset = [1.0]")
    )


@pytest.mark.slow
def test_sharing_caching_reuse_and_packing_change_no_number(command, quick):
    usual = ("--without", "cache,sharing,reuse,packing")
    plain, fast = (command("grid", *more, text=quick, data=()) for more in (usual, ()))

    assert (plain.code, fast.code) == (0, 0), (plain.err, fast.err)
    assert "epochs       24 (6 a trial), 24 to train" in plain.out
    assert "epochs       24 (6 a trial), 12 to train" in fast.out
    assert not (plain.run.parent.parent / ".cache").exists()
    pd.testing.assert_frame_equal(lasting_rows(plain.run), lasting_rows(fast.run))
    pd.testing.assert_frame_equal(lasting_epochs(plain.run), lasting_epochs(fast.run))
    trials = RunFolder(fast.run).read_plan().trials
    assert len(trials) == 4
    for trial in trials:
        for kept in ("weights.safetensors", "recipes.safetensors"):
            one, two = (RunFolder(run).trial(trial.trial_id).path / kept for run in (plain.run, fast.run))
            assert one.exists() == two.exists() == (kept.startswith("weights") or trial.config.has_proxies)
            assert not one.exists() or one.read_bytes() == two.read_bytes()
    seconds = load_epochs(fast.run).query("epoch < 4")["train_seconds"]
    assert seconds.nunique() == 4  # four trials, and each of the first four epochs was trained once


def test_nothing_of_ray_is_left_running_after_a_grid(grid):
    assert left_over(grid.mark) == []


@pytest.mark.skipif(os.name != "posix", reason="needs file modes")
def test_the_token_can_be_read_by_its_owner_alone(grid, home):
    assert (home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


def test_the_same_command_again_trains_nothing_and_reprints(grid, command):
    before = mtimes(grid.run)
    started = time.monotonic()

    again = command("grid", storage=grid.run.parent.parent)

    assert (again.code, again.err) == (0, "")
    assert mtimes(grid.run) == before
    assert "8 of 8 trials complete" in again.out
    answers = grid.out[grid.out.index("small · grid · 8 of 8") :]
    assert answers == again.out[again.out.index("small · grid · 8 of 8") :]
    assert time.monotonic() - started < 60


@pytest.fixture(scope="module")
def interrupted(command, tmp_path_factory, home, image_folder, study_text):
    """A grid that got Ctrl-C when its first trial was complete."""
    storage = tmp_path_factory.mktemp("interrupted")
    (storage / "study.toml").write_text(study_text)
    argv = ("--search", "grid", "--experiment", storage, "--name", "small", "--data-root", image_folder)
    mark, process = start(storage, home, *argv, "--no-dashboard")
    run = storage / "small" / "grid"
    until = time.monotonic() + TIMEOUT
    while not list(run.glob("trials/*/report.json")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    done = end(process, mark, run)
    statuses = list(load_results(run)["status"])
    before = {path.parent.name: path.stat().st_mtime_ns for path in run.glob("trials/*/report.json")}
    return done, statuses, before


def test_ctrl_c_ends_with_the_command_that_goes_on(interrupted):
    done, statuses, _ = interrupted

    assert done.code == 130, done
    assert "Traceback" not in done.err
    assert 1 <= statuses.count("complete") < 8
    assert f"--restore {shlex.quote(str(done.run))}" in done.out


def test_ctrl_c_leaves_nothing_of_ray_running(interrupted):
    done, _, _ = interrupted

    assert left_over(done.mark) == []


@pytest.fixture(scope="module")
def restored(interrupted, home):
    done, _, _ = interrupted
    mark, process = start(None, home, "--restore", done.run.parent, "--no-dashboard")
    return end(process, mark, done.run)


def test_a_restore_completes_what_is_missing_and_redoes_nothing(interrupted, restored):
    _, _, before = interrupted

    assert (restored.code, restored.err) == (0, "")
    assert list(load_results(restored.run)["status"]) == ["complete"] * 8
    after = {path.parent.name: path.stat().st_mtime_ns for path in restored.run.glob("trials/*/report.json")}
    assert {name: after[name] for name in before} == before


def test_a_run_that_was_interrupted_and_restored_equals_one_that_was_not(restored, finished_run):
    pd.testing.assert_frame_equal(lasting_rows(restored.run), lasting_rows(finished_run))


RANGE = ("--set", "threshold={low = 0.2, high = 0.8}")


@pytest.fixture(scope="module")
def searched(command):
    return command("optuna", "--trials", "4", *RANGE)


@pytest.mark.slow
def test_optuna_tries_as_many_as_asked_the_baseline_first(searched):
    rows = load_results(searched.run)
    first = rows[rows["seed"] == 0]

    assert (searched.code, searched.err) == (0, "")
    assert list(first["arm"]) == ["baseline", "proxy", "proxy", "proxy"]
    assert set(rows["status"]) == {"complete"}
    assert first["threshold"].dropna().between(0.2, 0.8).all()
    assert first["threshold"].dropna().nunique() == 3


@pytest.mark.slow
def test_the_best_setting_the_baseline_and_the_arms_are_confirmed_on_the_other_seed(searched):
    rows = load_results(searched.run)
    first, second = rows[(rows["seed"] == 0) & (rows["arm"] == "proxy")], rows[rows["seed"] == 1]
    best = first.sort_values(["val_accuracy", "trial_id"], ascending=[False, True]).iloc[0]

    assert list(second["arm"]) == ["baseline", "proxy", "random-mask"]
    assert list(second["threshold"].dropna()) == [best["threshold"], 0.3]


@pytest.mark.slow
def test_optunas_storage_holds_what_was_tried_and_what_came_of_it(searched):
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{searched.run / 'optuna.db'}")
    rows = load_results(searched.run)
    rows = rows[rows["seed"] == 0]

    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4
    assert study.trials[0].params == {"schedule": "2"}
    assert [trial.value for trial in study.trials] == list(rows["val_accuracy"])
    thresholds = [trial.params["threshold"] for trial in study.trials[1:]]
    assert thresholds == list(rows["threshold"].dropna())


@pytest.mark.slow
def test_the_seed_on_which_a_search_chose_is_not_part_of_its_answers(searched):
    line = next(line for line in searched.out.splitlines() if line.startswith("chosen proxies - baseline"))

    assert "1 seed: too few to tell" in line


@pytest.fixture(scope="module")
def drawn(command, study_text):
    """A random search whose arm diverges as soon as it is run, which is when the best setting is confirmed."""
    return command("random", "--trials", "3", *RANGE, text=study_text.replace('mask = "random"', "lr = 1e30"))


@pytest.mark.slow
def test_a_random_search_completes_its_draws_and_confirms_the_best(drawn):
    rows = load_results(drawn.run)

    assert list(rows["arm"]) == ["baseline", "proxy", "proxy", "baseline", "proxy", "random-mask"]
    assert list(rows["seed"]) == [0, 0, 0, 1, 1, 1]
    assert list(rows["status"]) == ["complete"] * 5 + ["failed"]


@pytest.mark.slow
def test_what_a_search_confirmed_is_kept_in_its_plan(drawn):
    assert [(trial.arm, trial.config.seed) for trial in RunFolder(drawn.run).read_plan().confirmed] == [
        ("baseline", 1),
        ("proxy", 1),
        ("random-mask", 1),
    ]


@pytest.mark.slow
def test_a_trial_that_fails_is_named_with_its_reason_and_the_way_on(drawn):
    failed = load_results(drawn.run).iloc[-1]

    assert drawn.code == 1
    assert failed["error"].startswith("DivergedError: the training loss must be finite")
    assert f"{failed['trial_id']} failed: DivergedError: the training loss must be" in " ".join(drawn.out.split())
    assert f"--restore {shlex.quote(str(drawn.run))}" in drawn.out
    assert "Traceback" not in drawn.out + drawn.err
