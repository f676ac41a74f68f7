import math

import pytest
import torch

from proxy_attention.config import TrialConfig
from proxy_attention.errors import ConfigError
from study.planning import step_memory
from study.planning.step_memory import StepProcess, TrainingStep, step_mb


def step(budget_mb=math.inf, **changes):
    fields = {"model": "test_resnet", "image_size": 32, "precision": "fp32", "threads": 1, **changes}
    return TrainingStep(TrialConfig(**fields), classes=10, device="cpu", budget_mb=budget_mb)


@pytest.fixture(scope="module")
def process():
    with StepProcess() as process:
        yield process


def test_memory_that_the_system_refuses_is_a_step_that_has_not_fitted(monkeypatch):
    monkeypatch.setattr(step_memory, "_train_step", lambda *given: torch.empty(2**48, dtype=torch.uint8))

    assert step_mb(step(), 8) == math.inf


def test_what_is_no_want_of_memory_is_an_error(process):
    with pytest.raises(ConfigError, match="precision must be fp32 or bf16 on a cpu; got 'fp16'"):
        process.fits(step(precision="fp16"), 2)
