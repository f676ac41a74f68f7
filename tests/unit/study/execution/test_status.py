"""How far a run is, seen from outside."""

import math
from pathlib import Path

import pytest

from proxy_attention.errors import ConfigError
from study.execution.status import status
from study.run import main


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.rglob("*") if file.is_file()}


def test_every_trial_is_counted_by_how_it_stands(broken_run):
    found = status(broken_run)

    assert (found.planned, found.complete, len(found.running), len(found.failed)) == (4, 1, 1, 1)
    assert found.failed[0][1].startswith("DivergedError: ")


def test_a_trial_under_way_shows_its_epoch_and_accuracy(broken_run):
    (trial,) = status(broken_run).running

    assert (trial.epochs_done, trial.epochs) == (1, 2)
    assert 0 <= trial.val_accuracy <= 100


def test_the_time_left_follows_from_the_epochs_so_far(broken_run, finished_run):
    assert status(broken_run).seconds_left > 0
    assert status(finished_run).seconds_left == 0


def test_a_run_that_has_not_begun_has_no_time_left(prepared_run, tmp_path):
    prepared_run(tmp_path / "grid")

    assert math.isnan(status(tmp_path / "grid").seconds_left)


def test_looking_changes_no_file(broken_run):
    before = contents(broken_run)

    status(broken_run)
    assert main(["--status", str(broken_run)]) == 0

    assert contents(broken_run) == before


def test_the_command_line_says_what_stands_where(broken_run, capsys):
    assert main(["--status", str(broken_run)]) == 0

    said = capsys.readouterr().out
    assert "1 of 4 trials complete" in said
    assert "interrupted: epoch 1/2, val" in said
    assert "failed: DivergedError" in said


def test_a_folder_without_a_run_is_one_line(tmp_path, capsys):
    assert main(["--status", str(tmp_path)]) == 2

    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(ConfigError):
        status(tmp_path)
