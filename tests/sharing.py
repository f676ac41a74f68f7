"""Trials that share states: what they share, and that they end as trials that share nothing."""

from proxy_attention.shared_states import Sharing
from proxy_attention.state_keys import branch_points, state_keys


def assert_same(shared, alone):
    examples = alone.told["examples"].items()  # a step that another has done is shown by that one
    assert shared.told["examples"].items() <= examples
    assert {**shared.told, "examples": None} == {**alone.told, "examples": None}


def trained_once(keys, outcomes):
    """Collect the distinct epochs of these trials; each was trained once: all that pass it tell the same seconds."""
    told = {}
    for names, found in zip(keys, outcomes, strict=True):
        for name, seconds in zip(names, found.seconds, strict=True):
            told.setdefault(name, set()).add(seconds)
    assert {len(seconds) for seconds in told.values()} == {1}
    return told.keys()


def names(trial, *, data):
    return state_keys(trial, data=data, weights=None)


def sharing_of(folder, trials, images, **about):
    keys = [names(trial, data=images.digest) for trial in trials]
    return Sharing(folder, names=branch_points(keys), **about), keys
