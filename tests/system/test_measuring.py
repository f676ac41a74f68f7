"""The batch size and the threads of a study, measured with real steps in processes of their own."""

import math
import os
import signal

import pytest

from proxy_attention.config import TrialConfig
from proxy_attention.errors import ConfigError
from study.planning.batch_size import largest_that_fits
from study.planning.step_memory import StepProcess, TrainingStep, step_mb
from study.reporting.report import finish
from study.run import main

pytestmark = pytest.mark.slow


def step(budget_mb=math.inf, **changes):
    fields = {"model": "test_resnet", "image_size": 32, "precision": "fp32", "threads": 1, **changes}
    return TrainingStep(TrialConfig(**fields), classes=10, device="cpu", budget_mb=budget_mb)


@pytest.fixture(scope="module")
def process():
    with StepProcess() as process:
        yield process


def test_what_is_no_want_of_memory_is_an_error(process):
    with pytest.raises(ConfigError, match="precision must be fp32 or bf16 on a cpu; got 'fp16'"):
        process.fits(step(precision="fp16"), 2)


def test_a_larger_budget_gives_a_larger_batch_of_which_a_step_stays_within_it(process):
    least = process.run(step_mb, step(), 2)
    mb = least + 40

    found = largest_that_fits(lambda size: process.fits(step(mb), size), at_most=96)

    assert 2 < found < 96
    assert process.fits(step(mb + 80), found + 1)
    assert process.run(step_mb, step(), found) <= mb + 40  # the system hands out a little more at times


def test_a_frozen_trunk_and_a_smaller_image_leave_room_for_more(process):
    trained = process.run(step_mb, step(), 256)

    assert process.run(step_mb, step(freeze_trunk=True), 256) < trained - 100
    assert process.run(step_mb, step(image_size=16), 256) < trained - 100


def killed(step, size):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_step_whose_process_is_killed_has_not_fitted_and_the_next_is_taken_anew(process):
    assert process.run(killed, step(), 2) == math.inf
    assert process.fits(step(), 2)


@pytest.fixture
def auto(study_text):
    return study_text.replace("batch_size = 8", 'batch_size = "auto"').replace("seeds = [0, 1]", "seeds = [0]")


def test_a_study_in_automatic_batches_has_one_size_in_all_rows_which_the_next_study_takes_over(
    prepared_run, run_one, auto, image_folder, tmp_path, capsys
):
    """With real steps, of which 3 images fit anywhere."""
    auto = auto.replace("threshold = [0.3, 0.6]", "threshold = [0.3]")
    prepared = prepared_run(tmp_path / "small" / "grid", auto)
    for number in range(len(prepared.plan.trials)):
        run_one(prepared, number)
    rows = finish(prepared.run.path).results
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "study.toml").write_text(auto)
    usual = ["--experiment", str(tmp_path / "asked"), "--data-root", str(image_folder), "--storage", str(tmp_path)]
    code = main(["--search", "grid", *usual, "--name", "second", "--concurrency", "2", "--dry-run"])

    assert prepared.batch_size.reason == "which leaves an epoch 10 steps: found now"
    assert list(rows["arm"]) == ["baseline", "proxy", "random-mask"]
    assert set(rows["batch_size"]) == {3}
    assert set(rows["status"]) == {"complete"}
    assert code == 0
    assert "batch size   3, which leaves an epoch 10 steps: found before" in capsys.readouterr().out


def test_whether_trials_run_one_a_core_or_one_on_all_is_measured_once(prepared_run, study_text, tmp_path):
    text = study_text.replace("threads = 1\n", "")

    prepared = prepared_run(tmp_path / "run", text)

    threads = prepared.plan.measured["threads"]
    assert threads in (1, 2)
    assert prepared.resources.concurrency == 3 - threads
    assert {trial.config.threads for trial in prepared.plan.trials} == {threads}
