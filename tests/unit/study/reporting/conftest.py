"""Findings of runs that were written by hand."""

import pytest
from written_runs import SMALL, write_run

from study.analysis.findings import Findings


@pytest.fixture(scope="session")
def findings(tmp_path_factory):
    """The findings of a complete run of eight trials. Read only."""
    return Findings.of(write_run(tmp_path_factory.mktemp("findings") / "small" / "grid", *SMALL))


@pytest.fixture
def findings_of(tmp_path):
    """Make the findings of a run of these trials."""

    def make(*trials, **changes):
        return Findings.of(write_run(tmp_path / "small" / "grid", *trials, **changes))

    return make


RIVALS = (
    ("baseline", 0, 50.0, {}),
    ("proxy", 0, 51.0, {}),
    ("rival", 0, 52.0, {"schedule": "2", "augment": "none"}),
    ("both", 0, 56.0, {"augment": "none"}),
    (
        "less",
        0,
        40.0,
        {"schedule": "2", "train_fraction": 0.5, "split_digest": "half", "train_images": 16},
    ),
)
"""One seed of baseline, proxies, another augmentation, both, and half the training images."""


@pytest.fixture(scope="session")
def rivals(tmp_path_factory):
    """The findings of a run with arms of other training. Read only."""
    return Findings.of(write_run(tmp_path_factory.mktemp("rivals") / "small" / "grid", *RIVALS, seeds=(0,)))
