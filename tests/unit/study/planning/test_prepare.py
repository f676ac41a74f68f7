import shutil

import pandas as pd
import pytest

from study.planning import benchmark
from study.planning.prepare import Prepared
from study.planning.request import Request
from study.planning.resources import Machine
from study.reporting.report import finish
from study.run_folder import RunFolder

LAPTOP = Machine(cpus=2, gpus=0, total_cpus=2, total_gpus=0)


@pytest.fixture
def measured(monkeypatch):
    """What was measured, in order: (precision, threads)."""
    calls = []
    real = benchmark._measure

    def counted(config, classes, device):
        calls.append((config.precision, config.threads))
        return real(config, classes, device)

    monkeypatch.setattr(benchmark, "_measure", counted)
    return calls


@pytest.fixture
def auto(study_text):
    return study_text.replace('precision = "fp32"\nthreads = 1\n', "")


def test_what_is_auto_is_measured_once_and_plain_in_every_trial(prepared_run, auto, measured, tmp_path):
    prepared = prepared_run(tmp_path / "run", auto, cpus_per_trial=1)

    assert measured == [("fp32", 1), ("bf16", 1)]  # two trials at once on two cores
    assert {trial.config.threads for trial in prepared.plan.trials} == {1}
    assert len({trial.config.precision for trial in prepared.plan.trials}) == 1
    key = "precision of test_resnet at 32 px in batches of 8"
    assert prepared.plan.measured == {"threads": 1, key: prepared.plan.trials[0].config.precision}


def test_what_was_measured_for_a_run_is_never_measured_again(prepared_run, auto, measured, tmp_path):
    prepared_run(tmp_path / "run", auto, cpus_per_trial=1)
    plan = RunFolder(tmp_path / "run").read_plan()
    measured.clear()

    again = Prepared.of(Request.of_run(tmp_path / "run", command=""), LAPTOP)

    assert measured == []
    assert again.plan.trials == plan.trials
    assert again.plan.fingerprint == plan.fingerprint


def test_each_model_is_measured_for_itself(prepared_run, auto, measured, tmp_path):
    text = auto.replace('model = "test_resnet"\n', "").replace(
        "[search]", '[search]\nmodel = ["test_resnet", "test_efficientnet"]'
    )
    text = text[: text.index("[[arm]]")]

    prepared = prepared_run(tmp_path / "run", text, cpus_per_trial=1)

    assert len(measured) == 4
    assert len(prepared.plan.measured) == 3


def test_a_restore_asks_for_what_was_asked_for(prepared_run, tmp_path, image_folder):
    run = tmp_path / "small" / "random"
    resources = {"cpus_per_trial": 2, "gpus_per_trial": 0.0, "concurrency": 1}
    prepared = prepared_run(run, search="random", suggestions=3, confirm=2, **resources)

    assert Request.of_run(run, command="python study/run.py") == Request(
        study=prepared.study,
        search="random",
        name="small",
        run=run,
        suggestions=3,
        confirm=2,
        data_root=image_folder,
        command="python study/run.py",
        **resources,
    )


@pytest.mark.parametrize(
    ("asked", "trials"),
    [
        ({"search": "grid"}, 8),
        ({"search": "random", "suggestions": 5, "confirm": 2}, 9),
        ({"search": "optuna", "suggestions": 5, "confirm": 1}, 8),
        ({"search": "optuna", "suggestions": 5, "confirm": 0}, 7),
    ],
)
def test_the_trials_of_the_whole_run_are_counted(prepared_run, tmp_path, asked, trials):
    prepared = prepared_run(tmp_path / "run", write=False, **asked)

    assert prepared.trial_count == trials
    assert not (tmp_path / "run").exists()


def test_the_audit_writes_every_row(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "results.csv").unlink()

    rows = finish(run).results

    assert len(rows) == 8
    assert list(pd.read_csv(run / "results.csv")["trial_id"]) == list(rows["trial_id"])


def test_the_arms_of_a_search_are_checked_before_anything_is_trained(prepared_run, study_text, tmp_path):
    with pytest.raises(ValueError, match="weights must be "):
        prepared_run(
            tmp_path / "run",
            study_text.replace('mask = "random"', 'weights = "nowhere.safetensors"'),
            search="optuna",
            suggestions=2,
        )


def test_a_method_that_a_search_may_suggest_and_its_model_lacks_is_refused_before_anything_is_trained(
    prepared_run, study_text, tmp_path
):
    text = study_text.replace("threshold = [0.3, 0.6]", 'saliency = ["gradcam", "attention-rollout"]')

    with pytest.raises(ValueError, match="attention-rollout"):
        prepared_run(tmp_path / "run", text, search="optuna", suggestions=2)
