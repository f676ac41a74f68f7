import re

import pytest
from layout_trees import TREES

from proxy_attention.errors import ConfigError
from study.execution.runner import worker_settings
from study.execution.worker import WorkerSettings, run_planned
from study.planning.request import Request, requests
from study.run import main, parser


@pytest.fixture
def asked(study_text, tmp_path, monkeypatch):
    """The request for the small study, with these data sets, from a folder of which ``data`` may hold some."""

    def ask(dataset, *argv, present=(), arm=None):
        for name in present:
            TREES[name](tmp_path / "data" / name)
        text = study_text.replace('dataset = "folder"\n', dataset)
        if arm is not None:
            text = text.partition("[[arm]]")[0] + arm
        (tmp_path / "study.toml").write_text(text)
        monkeypatch.chdir(tmp_path)
        (request,) = requests(parser().read(["--search", "grid", "--experiment", "study.toml", *argv]))
        return request

    return ask


def test_without_a_place_a_named_data_set_is_taken_from_the_folder_data_by_its_whole_path(asked, tmp_path):
    request = asked('dataset = "cifar10"\n', present=["cifar10"])

    assert request.data_root == tmp_path / "data" / "cifar10"
    assert request.options["data_root"] == str(tmp_path / "data" / "cifar10")


def test_a_named_data_set_that_is_not_in_the_folder_data_is_refused_in_one_line(asked):
    expected = (
        "dataset 'cub200' must be given a data root, or lie in data/cub200; got none "
        "(--data-root DIR, or python study/data.py prepare cub200 --root data/cub200)"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}$"):
        asked('dataset = "cub200"\n')


def test_a_place_that_is_given_goes_before_the_folder_data(asked, tmp_path):
    request = asked('dataset = "cifar10"\n', "--data-root", "elsewhere", present=["cifar10"])

    assert request.data_root == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ('dataset = ["cifar10", "fer2013"]\n', {"cifar10", "fer2013"}),
        ('[[arm]]\nname = "faces"\ndataset = "fer2013"\nschedule = "2"\n', {"fashion-mnist-sample", "fer2013"}),
    ],
    ids=["searched", "an arm's"],
)
def test_a_place_does_not_put_a_folder_in_place_of_data_sets_that_are_named(more, named, asked, tmp_path):
    request = asked("", "--data-root", "elsewhere", arm=more)

    assert {request.study.config(values, 0).dataset for _, values in request.study.grid()} == named
    assert request.data_root == tmp_path / "elsewhere"


@pytest.mark.parametrize("dataset", ["", 'dataset = "folder"\n', 'dataset = "fashion-mnist-sample"\n'])
def test_a_place_alone_means_a_folder_of_ones_own_images(dataset, asked):
    request = asked(dataset, "--data-root", "elsewhere")

    assert request.study.fixed["dataset"] == "folder"


def test_several_named_data_sets_are_taken_from_the_folder_above_them(asked, tmp_path):
    request = asked("", "--set", "dataset=['cifar10', 'fer2013']", present=["cifar10", "fer2013"], arm="")

    assert request.data_root == tmp_path / "data"


def test_a_data_set_of_an_arm_is_looked_for_too(asked):
    faces = '[[arm]]\nname = "faces"\ndataset = "fer2013"\nschedule = "2"\n'
    with pytest.raises(ConfigError, match="dataset 'fer2013' must be given a data root"):
        asked('dataset = "cifar10"\n', present=["cifar10"], arm=faces)


@pytest.mark.parametrize("dataset", ["", 'dataset = "folder"\n'], ids=["embedded", "folder"])
def test_a_data_set_that_is_not_looked_for_has_no_place(dataset, asked):
    assert asked(dataset).data_root is None


def test_data_sets_inside_and_outside_the_package_do_not_go_together(asked):
    with pytest.raises(ConfigError, match="all lie in a data root or none; got cifar10 and fashion-mnist-sample"):
        asked("", "--set", "dataset=['cifar10', 'fashion-mnist-sample']", present=["cifar10"])


def test_a_trial_in_another_folder_finds_the_data_set_that_was_planned_here(asked, prepared_run, tmp_path, monkeypatch):
    text = """
[study]
question = "Is it found?"
seeds = [0]
[fixed]
dataset = "cifar10"
model = "test_resnet"
image_size = 32
batch_size = 4
precision = "fp32"
threads = 1
[search]
schedule = ["1"]
"""
    request = asked('dataset = "cifar10"\n', present=["cifar10"])
    prepared = prepared_run(tmp_path / "small" / "grid", text, data_root=request.data_root)
    monkeypatch.chdir("/")
    reports = []

    run_planned(
        prepared.plan.trials[0],
        WorkerSettings(prepared.run, prepared.settings.data_root, "cpu", ""),
        reports.append,
    )

    assert reports


def test_the_limit_of_pixels_is_kept_for_a_restore_and_reaches_the_workers(prepared_run, tmp_path):
    prepared = prepared_run(tmp_path / "small" / "grid", max_pixels=1024)  # as many as the images have

    restored = Request.of_run(prepared.run.path, command="")

    assert restored.max_pixels == 1024
    assert worker_settings(prepared, known=()).max_pixels == 1024


def test_the_command_line_plans_a_named_data_set_without_a_place(asked, capsys):
    asked('dataset = "cifar10"\n', present=["cifar10"])

    assert main(["--search", "grid", "--experiment", "study.toml", "--storage", "storage", "--dry-run"]) == 0
    assert "trials       8: " in capsys.readouterr().out
