"""What is auto is measured, once a run and for each model."""

import pytest

from study.planning import benchmark
from study.planning.prepare import Prepared
from study.planning.request import Request
from study.planning.resources import Machine
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
