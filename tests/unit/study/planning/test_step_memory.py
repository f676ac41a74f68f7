import math

import torch

from proxy_attention.config import TrialConfig
from study.planning import step_memory
from study.planning.step_memory import TrainingStep, step_mb


def step(budget_mb=math.inf, **changes):
    fields = {"model": "test_resnet", "image_size": 32, "precision": "fp32", "threads": 1, **changes}
    return TrainingStep(TrialConfig(**fields), classes=10, device="cpu", budget_mb=budget_mb)


def test_memory_that_the_system_refuses_is_a_step_that_has_not_fitted(monkeypatch):
    monkeypatch.setattr(step_memory, "_train_step", lambda *given: torch.empty(2**48, dtype=torch.uint8))

    assert step_mb(step(), 8) == math.inf
