"""Small trials that share states, and the command line on the small study."""

import pytest
import torch
from conftest import part_of
from trial_workers import outcome


@pytest.fixture(scope="module")
def few(small):
    """50 images: 4 a class to train and choose with, and one a class of its own test. Read only."""
    ids = [
        ((small.labels == cls) & (small.own_test == own_test)).nonzero().flatten()[:count]
        for cls in range(10)
        for own_test, count in ((False, 4), (True, 1))
    ]
    return part_of(small, torch.cat(ids).sort().values)


@pytest.fixture(scope="module")
def fast(config):
    """A configuration that trains an epoch of ``few`` in some hundredths of a second."""

    def make(**changes):
        return config(**{"batch_size": 16, "val_fraction": 0.25, "threshold": 0.3, "weight": 0.8, **changes})

    return make


@pytest.fixture(scope="module")
def alone(few, tmp_path_factory):
    """What a trial comes to that shares nothing."""
    done = {}

    def run(trial):
        if trial not in done:
            done[trial] = outcome(trial, few, tmp_path_factory.mktemp("alone"))
        return done[trial]

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A new home folder, for Ray's token."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def command(tmp_path_factory, home, image_folder, study_text):
    """Run ``study/run.py`` on the small study to its end, in a new storage if none is given."""
    from driving import end, start

    def run(search, *argv, text=study_text, storage=None, data=("--data-root", image_folder)):
        storage = storage or tmp_path_factory.mktemp("storage")
        (storage / "asked").mkdir(exist_ok=True)
        (storage / "asked" / "study.toml").write_text(text)
        usual = ("--experiment", storage / "asked", *data, "--no-dashboard", "--name", "small")
        mark, process = start(storage, home, "--search", search, *usual, *argv)
        return end(process, mark, storage / "small" / search)

    return run
