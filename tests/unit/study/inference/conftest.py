"""Shared values of the tests of predicting: trained models of the finished run, and predictions that nobody made."""

import pytest
import torch

from study.inference.predictions import Prediction
from study.inference.selection import select_trials
from study.inference.trained_model import load_model


@pytest.fixture(scope="session")
def models(finished_run):
    """The four trained models of the first seed: a baseline, two with proxies, a control. Read only."""
    trials, _ = select_trials(finished_run, "seed == 0")
    return [load_model(trial, torch.device("cpu")) for trial in trials]


@pytest.fixture(scope="session")
def baseline(models):
    """The model that was trained without proxies. Read only."""
    (found,) = [one for one in models if one.arm == "baseline"]
    return found


@pytest.fixture(scope="session")
def model(models):
    """A model that was trained with proxies, of threshold 0.3. Read only."""
    (found,) = [one for one in models if (one.arm, one.config.threshold) == ("proxy", 0.3)]
    return found


@pytest.fixture(scope="session")
def prediction():
    """A prediction, with these fields changed."""

    def make(image="a.png", trial_id="0-x", top=(("cat", 0.75), ("dog", 0.25)), true="", error=""):
        return Prediction(image, trial_id, "proxy", 0, top, true, error)

    return make
