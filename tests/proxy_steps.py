"""Makes scores by hand, and two proxy steps of a trial, for the tests of proxies."""

import dataclasses

import torch

from proxy_attention.proxies.scoring import Scores, clean_scores
from proxy_attention.proxies.step import proxy_step


def scores(wrong, losses=None, ids=None):
    """Make scores in which these images are wrong; without ``ids``, the numbers of the images are even."""
    count = len(wrong)
    return Scores(
        ids=torch.arange(count) * 2 if ids is None else ids,
        predicted=torch.zeros(count, dtype=torch.int64),
        losses=torch.zeros(count) if losses is None else torch.tensor(losses),
        wrong=torch.tensor(wrong, dtype=torch.bool),
    )


def only(found, *positions):
    """Return the same scores with the images at these positions wrong, and no others."""
    wrong = torch.zeros_like(found.wrong)
    wrong[list(positions)] = True
    return dataclasses.replace(found, wrong=wrong)


def two_steps(trained, training_set, trial, *, region=None):
    """Make two proxy steps of a trial, with different wrong images in each."""
    given = clean_scores(trained, training_set, trial)
    steps = []
    for number, wrong in enumerate((range(20), range(10, 40))):
        steps.append(proxy_step(trained, training_set, only(given, *wrong), trial, step=number, region=region))
        training_set = steps[-1].training_set
    return steps
