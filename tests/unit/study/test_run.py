"""What the command line of run.py shows, in this process, without starting anything."""

import re
import shutil

import pytest
from command_lines import GRID, asked, contents

from study.planning import prepare
from study.run import main


@pytest.fixture
def complete(finished_run, tmp_path):
    """A storage that holds the finished run under the name small."""
    shutil.copytree(finished_run, tmp_path / "storage" / "small" / "grid")
    return tmp_path / "storage"


@pytest.mark.parametrize(
    ("search", "trials"),
    [
        (["grid"], "trials       8: 2 baseline + 4 proxy + 2 random-mask"),
        (["optuna", "--trials", "5"], "trials       8: 5 on seed 0, then the best 1, the baseline and the arms on the"),
        (["random", "--trials", "5", "--confirm", "2"], "trials       9: 5 on seed 0, then the best 2, the baseline"),
        (["random", "--trials", "5", "--seeds", "3"], "trials       5: 5 on seed 3"),
    ],
)
def test_a_dry_run_shows_the_plan_and_writes_nothing(capsys, study_file, image_folder, tmp_path, search, trials):
    argv = ["--search", *search, *asked(study_file, image_folder, tmp_path / "storage"), "--dry-run"]

    code = main(argv)

    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert trials in out
    assert "folder: 4 classes, 32 train, 8 val, 16 test (its own)" in out
    assert "dry run: nothing was started" in out
    assert not (tmp_path / "storage").exists()


def test_a_dry_run_tells_epochs_and_time(capsys, study_file, image_folder, tmp_path):
    main([*GRID, *asked(study_file, image_folder, tmp_path / "storage"), "--dry-run", "--cpus-per-trial", "1"])

    out = capsys.readouterr().out
    assert re.search(r"epochs       16 \(2 a trial\), 4 to train, about \d+:\d\d", out)
    assert "12 of 16 epochs are shared; 6 proxy steps need 2 passes over the training images" in out
    assert re.search(r"speed +\d+ images/s trained, \d+ images/s scored and explained", out)
    assert "explaining" not in out  # gradcam takes no pass of its own
    assert re.search(r"wall time +0:1\d on this machine; 0:1\d on 2, 0:1\d on 4, 0:1\d on 8 like it", out)


def test_a_dry_run_of_a_run_that_was_begun_tells_what_is_left(capsys, study_file, image_folder, complete):
    run = complete / "small" / "grid"
    shutil.rmtree(sorted((run / "trials").iterdir())[0])
    before = contents(complete)

    code = main([*GRID, *asked(study_file, image_folder, complete), "--dry-run"])

    out = capsys.readouterr().out
    assert code == 0
    assert "epochs       16 (2 a trial), 2 to train" in out
    assert "done before  7 of 8 trials" in out
    assert contents(complete) == before


def test_another_plan_under_the_same_name_ends_in_one_line(capsys, study_file, image_folder, complete):
    before = contents(complete / "small")

    code = main([*GRID, *asked(study_file, image_folder, complete), "--set", "threshold=0.9"])

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("run.py: --name must be new for another plan: 'small' already holds a grid of 8 trials")
    assert "they differ in threshold" in err
    assert err.count("\n") == 1
    assert contents(complete / "small") == before


def test_audits_are_marked_wherever_they_are_shown(capsys, study_file, image_folder, tmp_path):
    argv = [*GRID, *asked(study_file, image_folder, tmp_path / "s"), "--set", "split=redrawn", "--dry-run"]

    assert main(argv) == 0
    assert "LEAKING" in capsys.readouterr().out


def test_an_interruption_before_any_trial_began_says_so(capsys, monkeypatch, study_file, image_folder, tmp_path):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "grid_plan", interrupted)

    code = main([*GRID, *asked(study_file, image_folder, tmp_path / "storage")])

    assert code == 130
    assert "interrupted before any trial began" in capsys.readouterr().out


def test_help_names_every_option_and_exit_code(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])

    text = " ".join(capsys.readouterr().out.split())
    options = (
        "search restore extend experiment name trials confirm seeds set data-root storage cpus-per-trial gpus-per-trial"
    )
    for option in f"{options} concurrency address no-dashboard dry-run verbose".split():
        assert f"--{option}" in text
    assert "0 done, 1 a trial failed or is missing, 2 bad input, 130 interrupted" in text
