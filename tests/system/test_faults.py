"""Studies that are killed, broken and starved: what is complete stays, and a restore ends with the same rows."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from driving import (
    complete,
    end,
    kill,
    lasting_epochs,
    lasting_rows,
    left_over,
    longest_cut,
    marked,
    restored,
    start,
    wait_until,
)

from proxy_attention.checkpoints import save_checkpoint
from study.results import load_results
from study.run_folder import RunFolder

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def contents(folders: list[Path]) -> dict[str, tuple[bytes, int]]:
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


INSTANTS = {
    "the first trial has begun": lambda run: any((run / "trials").glob("*/trial.json")),
    "a trial is in its middle": lambda run: longest_cut(run) >= 4,
    "the first trial is complete": lambda run: len(complete(run)) >= 1,
    "all but the last are complete": lambda run: len(complete(run)) >= 6 and longest_cut(run) >= 3,
}


@pytest.fixture(scope="module")
def text(study_text):
    """A study of eight trials of twelve epochs, long enough to be cut in the middle."""
    return study_text.replace('["2", "1,p"]', '["12", "2,p,3,p,5"]').replace('"1,p"', '"2,p,3,p,5"')


@pytest.fixture(scope="module")
def asked(image_folder, text):
    """Return the arguments of the long study for a storage."""

    def of(storage: Path, *options: str):
        (storage / "asked").mkdir(exist_ok=True, parents=True)
        (storage / "asked" / "study.toml").write_text(text)
        usual = ("--experiment", storage / "asked", "--data-root", image_folder, "--name", "long", "--no-dashboard")
        return ("--search", "grid", *usual, *options)

    return of


@pytest.fixture(scope="module")
def whole(tmp_path_factory, prepared_run, run_one, text):
    """An uninterrupted run of the long study, which a grid under Ray equals. Read only."""
    prepared = prepared_run(tmp_path_factory.mktemp("whole") / "long" / "grid", text)
    for number in range(len(prepared.plan.trials)):
        run_one(prepared, number)
    return prepared.run.path


def test_a_study_killed_at_four_instants_of_its_life_ends_with_the_same_rows(whole, asked, home, tmp_path):
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
    pd.testing.assert_frame_equal(lasting_rows(run), lasting_rows(whole))
    pd.testing.assert_frame_equal(lasting_epochs(run), lasting_epochs(whole))


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
    pd.testing.assert_frame_equal(lasting_rows(run), lasting_rows(whole))


def foreign_checkpoint(run: Path, trial_id: str) -> Path:
    folder = RunFolder(run).trial(trial_id).path / "checkpoints"
    save_checkpoint(folder, 1, {"identity": "another trial's"})
    return folder


@pytest.fixture
def planned(whole):
    """The ids of the long study's trials, which do not depend on where it lies."""
    return [trial.trial_id for trial in RunFolder(whole).read_plan().trials]


def test_of_two_trials_that_fail_one_is_tried_again_the_other_is_named_and_the_rest_completes(
    whole, planned, asked, home, tmp_path
):
    run = tmp_path / "long" / "grid"
    mark, process = start(tmp_path, home, *asked(tmp_path, "--concurrency", "1"))
    wait_until(lambda run: RunFolder(run).has_plan, run, process)
    kill(process, mark)
    once, always = planned[3], planned[5]
    obstacles = [foreign_checkpoint(run, trial) for trial in (once, always)]
    error = RunFolder(run).trial(once).error_file

    def clear() -> None:
        while not error.exists():
            time.sleep(0.005)
        shutil.rmtree(obstacles[0])

    helper = threading.Thread(target=clear, daemon=True)
    helper.start()
    done = restored(run, home)

    assert not helper.is_alive()
    assert done.code == 1
    assert f"{always} failed: CheckpointError" in " ".join(done.out.split())
    statuses = load_results(run).set_index("trial_id")["status"]
    assert dict(statuses[statuses != "complete"]) == {always: "failed"}

    shutil.rmtree(obstacles[1])
    assert restored(run, home).code == 0
    pd.testing.assert_frame_equal(lasting_rows(run), lasting_rows(whole))


def test_after_sigterm_a_truncated_checkpoint_and_a_truncated_report_cost_only_themselves(whole, asked, home, tmp_path):
    run = tmp_path / "long" / "grid"
    mark, process = start(tmp_path, home, *asked(tmp_path, "--concurrency", "1"))
    wait_until(lambda run: len(complete(run)) >= 1 and longest_cut(run) >= 4, run, process)
    process.send_signal(signal.SIGTERM)
    done = end(process, mark, run)
    assert done.code == 130
    assert f"--restore {run}" in done.out
    assert left_over(mark, seconds=10) == []

    newest = max((run / "trials").glob("*/checkpoints/epoch-*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    report = complete(run)[0] / "report.json"
    report.write_text(report.read_text()[:50])
    done = restored(run, home)

    assert done.code == 0, done.err
    pd.testing.assert_frame_equal(lasting_rows(run), lasting_rows(whole))


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
    mark, process = start(small_disk, home, *asked(small_disk, "--concurrency", "1"))
    starved = end(process, mark, run)

    assert starved.code in (1, 2)
    assert "No space left" in " ".join((starved.out + starved.err).split())
    assert "Traceback" not in starved.err
    assert left_over(mark) == []

    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    assert restored(run, home).code == 0
    pd.testing.assert_frame_equal(lasting_rows(run), lasting_rows(whole))


def test_a_read_only_storage_is_one_line(asked, home, small_disk):
    command = asked(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)

    mark, process = start(small_disk, home, *command)
    done = end(process, mark, small_disk)

    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "--storage must be a folder that can be written" in done.err
