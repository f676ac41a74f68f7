"""Studies that are killed, broken and starved: what is complete stays, and a restore ends with the same rows."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from driving import VOLATILE, end, left_over, marked, start

from proxy_attention.checkpoints import save_checkpoint
from proxy_attention.files import read_json
from study.results import load_epochs, load_results
from study.run_folder import RunFolder

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def rows(run: Path) -> pd.DataFrame:
    return load_results(run).drop(columns=VOLATILE).reset_index(drop=True)


def epochs(run: Path) -> pd.DataFrame:
    frame = load_epochs(run)
    return frame.drop(columns=[name for name in frame if "seconds" in name or "memory" in name])


def complete(run: Path) -> list[Path]:
    return [file.parent for file in (run / "trials").glob("*/report.json")]


def contents(folders: list[Path]) -> dict[str, tuple[bytes, int]]:
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def longest_cut(run: Path) -> int:
    """Epochs done by the trial that is furthest, of those not complete."""
    cut = [
        len((read_json(file) or {"epochs": []})["epochs"])
        for file in (run / "trials").glob("*/epochs.json")
        if not (file.parent / "report.json").exists()
    ]
    return max(cut, default=0)


INSTANTS = {
    "the plan is written": lambda run: RunFolder(run).has_plan,
    "the first trial has begun": lambda run: any((run / "trials").glob("*/trial.json")),
    "a trial is in its middle": lambda run: longest_cut(run) >= 4,
    "the first trial is complete": lambda run: len(complete(run)) >= 1,
    "half are complete": lambda run: len(complete(run)) >= 4 and longest_cut(run) >= 2,
    "all but the last are complete": lambda run: len(complete(run)) >= 6 and longest_cut(run) >= 3,
}


def wait_until(holds, run: Path, process) -> None:
    until = time.monotonic() + 120
    while not holds(run):
        assert process.poll() is None, "the study ended before the instant came"
        assert time.monotonic() < until, "the instant never came"
        time.sleep(0.01)


def kill(process, mark: str) -> None:
    """SIGKILL for the process group, as a power cut; Ray's own processes notice that their driver is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert left_over(mark, seconds=30) == []


def cut_power(process, mark: str) -> None:
    """SIGKILL for every process of the study at once: its workers do not live to finish what they are at."""
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    kill(process, mark)


@pytest.fixture(scope="module")
def asked(image_folder, study_text):
    """The arguments of a study for a storage: eight trials of twelve epochs, long enough to be cut in the middle."""
    text = study_text.replace('["2", "1,p"]', '["12", "2,p,3,p,5"]').replace('"1,p"', '"2,p,3,p,5"')

    def of(storage: Path):
        (storage / "asked").mkdir(exist_ok=True, parents=True)
        (storage / "asked" / "study.toml").write_text(text)
        return (
            "--search",
            "grid",
            "--experiment",
            storage / "asked",
            "--data-root",
            image_folder,
            "--no-dashboard",
            "--name",
            "long",
        )

    return of


@pytest.fixture(scope="module")
def whole(tmp_path_factory, home, asked):
    """An uninterrupted run of the long study. Read only."""
    storage = tmp_path_factory.mktemp("whole")
    mark, process = start(storage, home, *asked(storage))
    done = end(process, mark, storage / "long" / "grid")
    assert done.code == 0, done.err
    return done.run


def restored(run: Path, home: Path):
    mark, process = start(run, home, "--restore", run, "--no-dashboard")
    return end(process, mark, run)


def test_a_study_killed_at_six_instants_of_its_life_ends_with_the_same_rows(whole, asked, home, tmp_path):
    run = tmp_path / "long" / "grid"
    command = asked(tmp_path)
    for name, holds in INSTANTS.items():
        mark, process = start(tmp_path, home, *command)
        wait_until(holds, run, process)
        kill(process, mark)
        finished = complete(run)
        before = contents(finished)
        for state in (run / "ray").rglob("experiment_state-*.json"):  # what a full disk leaves of Ray's own files
            state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
        command = ("--restore", run, "--no-dashboard")
        assert contents(finished) == before, name

    done = restored(run, home)

    assert done.code == 0, done.err
    assert contents(finished) == before
    pd.testing.assert_frame_equal(rows(run), rows(whole))
    pd.testing.assert_frame_equal(epochs(run), epochs(whole))


def optuna_states(run: Path) -> list[str]:
    """States of the trials in a run's optuna.db; none before it can be read."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{run / 'optuna.db'}?mode=ro", uri=True)) as db:
            return [state for (state,) in db.execute("select state from trials")]
    except sqlite3.OperationalError:
        return []


SEARCH_INSTANTS = {
    "nothing is suggested": lambda run: RunFolder(run).has_plan,
    "no worker has written of the first suggestion": lambda run: "RUNNING" in optuna_states(run),
    "the baseline is in its middle": lambda run: longest_cut(run) >= 2,
    "between two trials": lambda run: len(complete(run)) >= 2,
    "before the report": lambda run: len(complete(run)) >= 4,
}


def test_an_optuna_study_killed_at_every_stage_has_the_rows_and_the_baseline_of_one_that_was_not(home, tmp_path):
    usual = ("--search", "optuna", "--experiment", "quick", "--trials", "4", "--concurrency", "1", "--no-dashboard")
    fields = ("train_fraction=0.05", "image_size=32", "judge_images=4", "threshold={low = 0.1, high = 0.9}")
    small = ("--seeds", "0", *(word for field in fields for word in ("--set", field)))
    storage = tmp_path / "whole"
    mark, process = start(storage, home, *usual, *small)
    whole = end(process, mark, storage / "quick" / "optuna")
    assert whole.code == 0, whole.err

    run = tmp_path / "quick" / "optuna"
    command = (*usual, *small)
    for name, holds in SEARCH_INSTANTS.items():
        mark, process = start(tmp_path, home, *command)
        wait_until(holds, run, process)
        cut_power(process, mark)
        assert not (run / "results.csv").exists(), name
        command = ("--restore", run, "--no-dashboard")

    done = restored(run, home)

    assert done.code == 0, done.err
    assert list(load_results(run)["arm"]) == ["baseline", "proxy", "proxy", "proxy"]
    pd.testing.assert_frame_equal(rows(run), rows(whole.run))
    pd.testing.assert_frame_equal(epochs(run), epochs(whole.run))


def test_a_killed_worker_is_replaced_and_its_trial_goes_on(whole, asked, home, tmp_path):
    run = tmp_path / "long" / "grid"
    mark, process = start(tmp_path, home, *asked(tmp_path))
    wait_until(lambda run: longest_cut(run) >= 4, run, process)
    workers = [
        pid
        for pid in marked(mark)
        if b"proxy_attention_trial" in Path(f"/proc/{pid}/cmdline").read_bytes()
        or b"ray::ImplicitFunc" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert workers
    os.kill(workers[0], signal.SIGKILL)

    done = end(process, mark, run)

    assert done.code == 0, done.err
    pd.testing.assert_frame_equal(rows(run), rows(whole))


def foreign_checkpoint(run: Path, trial_id: str) -> Path:
    folder = RunFolder(run).trial(trial_id).path / "checkpoints"
    save_checkpoint(folder, 1, {"identity": "another trial's"})
    return folder


@pytest.fixture
def planned(whole):
    """The ids of the long study's trials, which do not depend on where it lies."""
    return [trial.trial_id for trial in RunFolder(whole).read_plan().trials]


def begun(run: Path, asked, home) -> None:
    """A run whose plan is written and that was killed before it trained."""
    mark, process = start(run.parent.parent, home, *asked(run.parent.parent))
    wait_until(INSTANTS["the plan is written"], run, process)
    kill(process, mark)


def test_a_trial_that_fails_once_is_tried_again(whole, planned, asked, home, tmp_path):
    run = tmp_path / "long" / "grid"
    begun(run, asked, home)
    obstacle = foreign_checkpoint(run, planned[3])
    error = RunFolder(run).trial(planned[3]).error_file

    def clear() -> None:
        while not error.exists():
            time.sleep(0.005)
        shutil.rmtree(obstacle)

    helper = threading.Thread(target=clear, daemon=True)
    helper.start()
    done = restored(run, home)

    assert not helper.is_alive()
    assert done.code == 0, done.out + done.err
    pd.testing.assert_frame_equal(rows(run), rows(whole))


def test_a_trial_that_always_fails_is_named_and_the_rest_completes(whole, planned, asked, home, tmp_path):
    run = tmp_path / "long" / "grid"
    begun(run, asked, home)
    obstacle = foreign_checkpoint(run, planned[3])

    done = restored(run, home)

    assert done.code == 1
    assert f"{planned[3]} failed: CheckpointError" in " ".join(done.out.split())
    assert list(load_results(run)["status"]).count("complete") == 7

    shutil.rmtree(obstacle)
    assert restored(run, home).code == 0
    pd.testing.assert_frame_equal(rows(run), rows(whole))


def test_a_truncated_checkpoint_and_a_truncated_report_cost_only_themselves(whole, asked, home, tmp_path):
    run = tmp_path / "long" / "grid"
    mark, process = start(tmp_path, home, *asked(tmp_path))
    wait_until(lambda run: len(complete(run)) >= 1 and longest_cut(run) >= 4, run, process)
    cut_power(process, mark)
    newest = max((run / "trials").glob("*/checkpoints/epoch-*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    report = complete(run)[0] / "report.json"
    report.write_text(report.read_text()[:50])

    done = restored(run, home)

    assert done.code == 0, done.err
    pd.testing.assert_frame_equal(rows(run), rows(whole))


def test_a_missing_plan_is_said_and_the_same_command_makes_it_again(whole, asked, home, tmp_path):
    shutil.copytree(whole.parent, tmp_path / "long")
    run = tmp_path / "long" / "grid"
    (run / "plan.json").unlink()
    before = contents(complete(run))

    refused = restored(run, home)
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "plan.json" in refused.err

    mark, process = start(tmp_path, home, *asked(tmp_path))
    assert end(process, mark, run).code == 0
    assert contents(complete(run)) == before
    assert json.loads((run / "plan.json").read_text())["fingerprint"] == RunFolder(whole).read_plan().fingerprint


@pytest.fixture
def small_disk(tmp_path):
    """A file system of eight MiB; skipped where it may not be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small file system needs the right to mount one")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_said_in_words_and_a_restore_finishes_once_there_is_room(whole, asked, home, small_disk):
    run = small_disk / "long" / "grid"
    mark, process = start(small_disk, home, *asked(small_disk))
    starved = end(process, mark, run)

    assert starved.code in (1, 2)
    assert "No space left" in " ".join((starved.out + starved.err).split())
    assert "Traceback" not in starved.err
    assert left_over(mark) == []

    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    assert restored(run, home).code == 0
    pd.testing.assert_frame_equal(rows(run), rows(whole))


def test_a_read_only_storage_is_one_line(asked, home, small_disk):
    command = asked(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)

    mark, process = start(small_disk, home, *command)
    done = end(process, mark, small_disk)

    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "--storage must be a folder that can be written" in done.err


def test_sigterm_prints_the_way_on_and_leaves_nothing_of_ray(asked, home, tmp_path):
    run = tmp_path / "long" / "grid"
    mark, process = start(tmp_path, home, *asked(tmp_path))
    wait_until(lambda run: longest_cut(run) >= 2, run, process)
    process.send_signal(signal.SIGTERM)
    done = end(process, mark, run)

    assert done.code == 130
    assert f"--restore {run}" in done.out
    assert left_over(mark, seconds=10) == []
