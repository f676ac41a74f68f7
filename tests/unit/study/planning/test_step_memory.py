import math
import os
import signal

import pytest
import torch

from proxy_attention.config import TrialConfig
from proxy_attention.errors import ConfigError
from study.planning import step_memory
from study.planning.batch_size import largest_that_fits
from study.planning.step_memory import StepProcess, TrainingStep, step_mb


def step(budget_mb=math.inf, **changes):
    fields = {"model": "test_resnet", "image_size": 32, "precision": "fp32", "threads": 1, **changes}
    return TrainingStep(TrialConfig(**fields), classes=10, device="cpu", budget_mb=budget_mb)


@pytest.fixture(scope="module")
def process():
    with StepProcess() as process:
        yield process


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_step_whose_process_is_killed_has_not_fitted_and_the_next_is_taken_anew(process):
    assert process.run(killed, step(), 2) == math.inf
    assert process.fits(step(), 2)


def test_memory_that_the_system_refuses_is_a_step_that_has_not_fitted(monkeypatch):
    monkeypatch.setattr(step_memory, "_train_step", lambda *given: torch.empty(2**48, dtype=torch.uint8))

    assert step_mb(step(), 8) == math.inf


def test_what_is_no_want_of_memory_is_an_error(process):
    with pytest.raises(ConfigError, match="precision must be fp32 or bf16 on a cpu; got 'fp16'"):
        process.fits(step(precision="fp16"), 2)
