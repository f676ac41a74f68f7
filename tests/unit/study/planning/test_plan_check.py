import dataclasses
import shutil

import pytest

from proxy_attention.errors import ConfigError
from study.planning.plan_check import changes_since, check_plan, settle_plan
from study.results import load_results
from study.run_folder import RunFolder


def test_a_plan_that_cannot_be_written_is_refused(finished_run, tmp_path):
    (tmp_path / "run").write_text("")  # a file in place of the folder

    with pytest.raises(ConfigError, match="--storage must have room and be writable; got "):
        settle_plan(tmp_path / "run", RunFolder(finished_run).read_plan(), "")


def test_a_new_plan_is_written_beside_its_study(finished_run, tmp_path):
    plan = RunFolder(finished_run).read_plan()

    assert settle_plan(tmp_path, plan, "[study]\n") == plan
    assert RunFolder(tmp_path).read_plan() == plan
    assert (tmp_path / "study.toml").read_text() == "[study]\n"


def test_checking_a_plan_writes_nothing(finished_run, tmp_path):
    check_plan(tmp_path / "run", RunFolder(finished_run).read_plan())

    assert list(tmp_path.iterdir()) == []


def test_the_plan_of_the_folder_is_followed_where_the_same_is_asked_again(finished_run, prepared_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "small" / "grid")
    kept = (tmp_path / "small" / "grid" / "plan.json").read_bytes()

    again = prepared_run(tmp_path / "small" / "grid", command="another day")

    assert (tmp_path / "small" / "grid" / "plan.json").read_bytes() == kept
    assert again.plan.about["command"] == "another day"


def test_another_plan_under_the_name_is_refused_and_what_differs_is_named(finished_run, prepared_run, study_text):
    text = study_text.replace("threshold = [0.3, 0.6]", "threshold = [0.3, 0.7]").replace("batch_size = 8", "lr = 0.5")

    with pytest.raises(ConfigError, match="--name must be new for another plan: 'small' already holds a grid of 8 tri"):
        prepared_run(finished_run, text)
    with pytest.raises(ConfigError, match=r"they differ in threshold, batch_size, lr$"):
        prepared_run(finished_run, text)


def test_another_plan_of_other_images_is_refused_and_that_is_named(finished_run, prepared_run, own_images):
    next((own_images / "test").rglob("*.png")).unlink()

    with pytest.raises(ConfigError, match=r"they differ in other images$"):
        prepared_run(finished_run, data_root=own_images)


def test_another_plan_of_other_seeds_is_refused_and_both_are_named(finished_run, prepared_run, study_text):
    text = study_text.replace("seeds = [0, 1]", "seeds = [0, 1, 2]")

    with pytest.raises(
        ConfigError, match=r"of 8 trials on seeds 0, 1 made .*; this one has 12 trials on seeds 0, 1, 2"
    ):
        prepared_run(finished_run, text)


def test_a_search_of_another_length_is_refused(prepared_run, tmp_path):
    prepared_run(tmp_path / "optuna", search="optuna", suggestions=4, confirm=1)

    with pytest.raises(
        ConfigError, match=r"holds a optuna of 4 suggestions on seeds 0, 1 .* this one has 5 suggestion"
    ):
        prepared_run(tmp_path / "optuna", search="optuna", suggestions=5, confirm=1)


def without_plan(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "small" / "grid")
    (run / "plan.json").unlink()
    return run


def test_trials_of_another_plan_that_is_gone_are_not_run_over(finished_run, prepared_run, study_text, tmp_path):
    run = without_plan(finished_run, tmp_path)

    with pytest.raises(
        ConfigError, match=r"must hold the plan\.json of its trials; it is gone, and this plan does not"
    ):
        prepared_run(run, study_text.replace("batch_size = 8", "batch_size = 4"))


def test_trials_of_this_very_plan_are_taken_up_again_where_its_file_is_gone(finished_run, prepared_run, tmp_path):
    run = without_plan(finished_run, tmp_path)

    prepared_run(run)

    assert RunFolder(run).read_plan().trials == RunFolder(finished_run).read_plan().trials
    assert set(load_results(run)["status"]) == {"complete"}


def test_another_code_another_library_and_another_folder_are_said(finished_run):
    kept = RunFolder(finished_run).read_plan()
    versions = {**kept.about["versions"], "torch": "9.9"}
    now = dataclasses.replace(
        kept, about={**kept.about, "folder": "/else", "commit": "abc", "code": "f" * 64, "versions": versions}
    )

    said = changes_since(kept, now)

    assert said == [
        f"folder was {finished_run}, is /else",
        f"commit was {kept.about['commit'] or 'unknown'}, is abc",
        f"the source code was {kept.about['code'][:12]}, is ffffffffffff (SHA-256 of both packages)",
        f"torch was {kept.about['versions']['torch']}, is 9.9",
    ]
    older = dataclasses.replace(kept, about={name: value for name, value in kept.about.items() if name != "code"})
    assert changes_since(kept, kept) == changes_since(older, kept) == []
