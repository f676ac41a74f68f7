"""Schedules and settings of small trials, and functions that read what a trial has written into its directory."""

import contextlib
import json
import time

import torch
from safetensors.torch import load_file

MODELS = ["test_resnet", "test_efficientnet", "test_vit"]

TWO_STEPS = "2,p,1,p,1"


def weights(directory):
    return load_file(directory / "weights.safetensors")


def assert_equal_weights(one, other):
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert len(first) > 10
    assert all(torch.equal(first[name], second[name]) for name in first)


def checkpoint(directory, *, after):
    """Wait until a running trial has written its checkpoint after so many epochs, and read it."""
    written(directory, after)
    return torch.load(directory / "checkpoints" / f"epoch-{after:06d}.pt", weights_only=True)


def written(directory, epochs):
    """Wait until so many epochs are written, which a thread does while the next epoch is trained."""
    while True:
        with contextlib.suppress(OSError):
            if len(json.loads((directory / "epochs.json").read_text())["epochs"]) == epochs:
                return
        time.sleep(0.005)


def course(records):
    """Show a trial as text, a letter per epoch: P if a proxy step follows, s if it was skipped, a dot without one."""
    return "".join("P" if record.proxy_step else "s" if record.step_skipped else "." for record in records)


AT_CHANCE = {"patience": 1, "lr": 1e-3, "weight": 0.9, "threshold": 0.2}
"""Fields with which the quick model's first epochs are all at chance, so that it has stalled; then it learns."""

FROZEN = {"model": "test_vit", "lr": 1e-12}
"""Fields with which no epoch changes a prediction: a trial has stalled once more than ``patience`` epochs are done."""
