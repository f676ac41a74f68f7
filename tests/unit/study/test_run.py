"""What the command line of run.py shows, in this process, without starting anything."""

import re
import shutil

import pytest
from command_lines import GRID, asked, contents

from study import run
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
    assert "epochs       16 (2 a trial), 4 to train, about 0:1" in out
    assert "12 of 16 epochs are shared; 6 proxy steps need 2 passes over the training images" in out
    assert re.search(r"speed +\d+ images/s trained, \d+ images/s scored and explained", out)
    assert "explaining" not in out  # gradcam takes no pass of its own
    assert re.search(r"wall time +0:1\d on this machine; 0:1\d on 2, 0:1\d on 4, 0:1\d on 8 like it", out)


def test_a_dry_run_tells_what_steps_that_may_be_skipped_take_at_most_and_what_explaining_costs(
    capsys, study_file, image_folder, tmp_path
):
    settings = ["--set", 'schedule=["2", "1,p?"]', "--set", 'saliency=["gradcam", "scorecam"]']
    usual = asked(study_file, image_folder, tmp_path / "storage")

    main([*GRID, *usual, *settings, "--dry-run", "--cpus-per-trial", "1"])

    out = capsys.readouterr().out
    assert "up to 10 proxy steps need 4 passes over the training images" in out
    assert re.search(r"explaining +scorecam takes 97 passes an image: about \d+:\d\d in all, at 30% wrong\n", out)


def test_a_dry_run_of_many_methods_tells_the_range_of_their_costs(capsys, study_file, image_folder, tmp_path):
    several = ["rise", "saliency", "occlusion", "lime", "kernel-shap", "guided-gradcam", "integrated-gradients"]
    usual = asked(study_file, image_folder, tmp_path / "storage")

    main([*GRID, *usual, "--set", f"saliency={several}", "--dry-run", "--cpus-per-trial", "1"])

    assert re.search(r"explaining +7 methods take 2 to 512 passes an image: about ", capsys.readouterr().out)


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


def test_another_plan_under_another_name_is_shown(capsys, study_file, image_folder, complete):
    argv = [*asked(study_file, image_folder, complete)[:-1], "other"]

    assert main([*GRID, *argv, "--set", "threshold=0.9", "--dry-run"]) == 0
    assert "trials       6: 2 baseline + 2 proxy + 2 random-mask" in capsys.readouterr().out


def test_a_search_beside_a_grid_is_another_run(capsys, study_file, image_folder, complete):
    argv = ["--search", "random", "--trials", "2", *asked(study_file, image_folder, complete), "--dry-run"]

    assert main(argv) == 0
    assert "small · random · seeds 0, 1" in capsys.readouterr().out


def test_a_study_is_named_after_its_folder_or_its_file(capsys, study_text, image_folder, tmp_path):
    (tmp_path / "pilot").mkdir()
    for file in (tmp_path / "pilot" / "study.toml", tmp_path / "other.toml"):
        file.write_text(study_text)
        main(
            [
                *GRID,
                "--experiment",
                str(file),
                "--data-root",
                str(image_folder),
                "--storage",
                str(tmp_path),
                "--dry-run",
            ]
        )

    out = capsys.readouterr().out
    assert "pilot · grid" in out
    assert "other · grid" in out


def test_a_data_root_alone_means_the_data_set_folder(capsys, image_folder, tmp_path):
    argv = ["--search", "grid", "--data-root", str(image_folder), "--storage", str(tmp_path / "s"), "--dry-run"]

    assert main([*argv, "--set", "image_size=32"]) == 0  # the quick study's own data set is the sample
    assert "folder: 4 classes" in capsys.readouterr().out


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


def test_an_interruption_ends_all_the_runs_of_a_restore(capsys, monkeypatch, prepared_run, tmp_path):
    for search in ("grid", "random"):
        prepared_run(tmp_path / "small" / search, search=search, suggestions=2 * (search == "random"))
    begun = []
    monkeypatch.setattr(run, "run_in_session", lambda prepared, *_, **__: begun.append(prepared.plan.search) or True)

    code = main(["--restore", str(tmp_path / "small")])

    assert code == 130
    assert begun == ["grid"]
    assert f"--restore {tmp_path / 'small' / 'grid'}" in capsys.readouterr().out


def test_help_names_every_option_and_exit_code(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])

    text = " ".join(capsys.readouterr().out.split())
    options = "search restore experiment name trials confirm seeds set data-root storage cpus-per-trial gpus-per-trial"
    for option in f"{options} concurrency address no-dashboard dry-run verbose".split():
        assert f"--{option}" in text
    assert "0 done, 1 a trial failed or is missing, 2 bad input, 130 interrupted" in text
