"""Schedules of small trials, and what a trial has written into its directory."""

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
    """The checkpoint of a trial that runs, once it is written."""
    written(directory, after)
    return torch.load(directory / "checkpoints" / f"epoch-{after:06d}.pt", weights_only=True)


def written(directory, epochs):
    """Wait until everything of so many epochs is written: it is, beside the next epoch's training."""
    while True:
        with contextlib.suppress(OSError):
            if len(json.loads((directory / "epochs.json").read_text())) == epochs:
                return
        time.sleep(0.005)


def course(records):
    """What came after each epoch: P a step, s one that was skipped, a dot where none was planned."""
    return "".join("P" if record.proxy_step else "s" if record.step_skipped else "." for record in records)


AT_CHANCE = {"patience": 1, "lr": 1e-3, "weight": 0.9, "threshold": 0.2}
"""With these, the quick model's first epochs are all at chance, which is a stall, and then it learns."""

FROZEN = {"model": "test_vit", "lr": 1e-12}
"""With these, no epoch changes an answer: a trial has stalled as soon as it has had patience."""
