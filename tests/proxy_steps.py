"""Scores by hand, and two proxy steps of a trial, for the tests of proxies."""

import dataclasses

import torch

from proxy_attention.proxies.scoring import Scores, clean_scores
from proxy_attention.proxies.step import proxy_step


def scores(wrong, losses=None, ids=None):
    count = len(wrong)
    return Scores(
        ids=torch.arange(count) * 2 if ids is None else ids,
        predicted=torch.zeros(count, dtype=torch.int64),
        losses=torch.zeros(count) if losses is None else torch.tensor(losses),
        wrong=torch.tensor(wrong, dtype=torch.bool),
    )


def only(found, *positions):
    """The same scores, with the images at these positions wrong and no other."""
    wrong = torch.zeros_like(found.wrong)
    wrong[list(positions)] = True
    return dataclasses.replace(found, wrong=wrong)


def two_steps(trained, training_set, trial):
    """The steps of a trial in which the model is wrong about other images each time."""
    given = clean_scores(trained, training_set, trial)
    steps = []
    for number, wrong in enumerate((range(20), range(10, 40))):
        steps.append(proxy_step(trained, training_set, only(given, *wrong), trial, step=number))
        training_set = steps[-1].training_set
    return steps
