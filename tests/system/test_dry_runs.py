"""What the command line of run.py shows of a study that it plans and measures, without starting it."""

import re
import shutil

import pytest
from command_lines import GRID, asked

from study import run
from study.execution.stop import ask_to_stop
from study.run import main


@pytest.fixture
def complete(finished_run, tmp_path):
    """A storage that holds the finished run under the name small."""
    shutil.copytree(finished_run, tmp_path / "storage" / "small" / "grid")
    return tmp_path / "storage"


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


def test_an_interruption_ends_all_the_runs_of_a_restore(capsys, monkeypatch, prepared_run, tmp_path):
    for search in ("grid", "random"):
        prepared_run(tmp_path / "small" / search, search=search, suggestions=2 * (search == "random"))
    begun = []

    def interrupted(prepared, *_, **__):
        begun.append(prepared.plan.search)
        ask_to_stop()

    monkeypatch.setattr(run, "run_in_session", interrupted)

    code = main(["--restore", str(tmp_path / "small")])

    assert code == 130
    assert begun == ["grid"]
    assert f"--restore {tmp_path / 'small' / 'grid'}" in capsys.readouterr().out
