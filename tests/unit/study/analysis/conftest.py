"""Rows of a study made by hand, as ``load_results`` would give them."""

import math

import pandas as pd
import pytest

from proxy_attention.config import DEFAULTS, PROXY_FIELDS, TrialConfig
from study.analysis.pairs import with_baselines
from study.results import COLUMNS, METRICS


def row_of(number, arm, seed, val, test, given):
    changes = {"precision": "fp32", "threads": 1, **given}  # a trial of a plan has nothing left auto
    fields = {name: value for name, value in changes.items() if name in DEFAULTS}
    schedule = "2" if arm == "baseline" else "1,p"
    config = TrialConfig(**{"schedule": schedule, "seed": seed, **fields}).canonical()
    return {
        "trial_id": f"{number:04d}-{arm}-seed{seed}",
        "config_digest": config.digest(data="x", weights=None),
        "search": "grid",
        "arm": arm,
        "status": "complete",
        "error": "",
        **config.as_dict(),
        **({} if config.has_proxies else dict.fromkeys(PROXY_FIELDS)),
        **dict.fromkeys(METRICS, math.nan),
        "epochs_done": 2,
        "val_accuracy": val,
        "test_accuracy": test,
        "test_ece": 0.25,
        "split_digest": f"split of seed {seed}",
        "commit": "",
        **{name: value for name, value in changes.items() if name not in DEFAULTS},
    }


@pytest.fixture(scope="session")
def frame():
    """Make results of (arm, seed, val, test, changed fields); a baseline has schedule 2, all else 1,p."""

    def make(*trials):
        return pd.DataFrame([row_of(number, *trial) for number, trial in enumerate(trials)], columns=list(COLUMNS))

    return make


@pytest.fixture(scope="session")
def study(frame):
    """Two seeds of a baseline, two thresholds and a control of the first threshold. Read only."""
    return with_baselines(
        frame(
            ("baseline", 0, 80.0, 70.0, {}),
            ("proxy", 0, 81.0, 73.0, {"threshold": 0.3}),
            ("proxy", 0, 83.0, 71.0, {"threshold": 0.6}),
            ("random-mask", 0, 80.5, 72.5, {"threshold": 0.3, "mask": "random"}),
            ("baseline", 1, 60.0, 50.0, {}),
            ("proxy", 1, 64.0, 51.0, {"threshold": 0.3}),
            ("proxy", 1, 58.0, 48.0, {"threshold": 0.6}),
            ("random-mask", 1, 61.0, 53.0, {"threshold": 0.3, "mask": "random"}),
        )
    )


CUT = {"augment": "cutmix"}
FOUR_ARMS = {
    "baseline": (70, -1, {}),
    "rival": (72, 0, {"schedule": "2", **CUT}),
    "proxy": (71, 0, {}),
    "both": (76, 2, CUT),
}
"""Of each arm its test accuracy on the first seed, how much more that is on the second, and its fields."""


@pytest.fixture(scope="session")
def four_arms(frame):
    """Make two seeds of baseline, rival, proxies and both: some arms left out, some fields of an arm changed."""

    def make(*, without=(), changes=None, extra=()):
        trials = [
            (arm, seed, test - 10, test + seed * more, {**fields, **(changes or {}).get(arm, {})})
            for seed in (0, 1)
            for arm, (test, more, fields) in FOUR_ARMS.items()
            if arm not in without and (arm, seed) not in without
        ]
        return with_baselines(frame(*trials, *extra))

    return make


@pytest.fixture(scope="session")
def levels(frame):
    """Make two seeds of every level of a searched field: baselines of 70, 72, ..., and proxies 1, 2, ... above."""

    def make(field, *values, extra=()):
        trials = [
            ("proxy" if more else "baseline", seed, 0, 70 + 2 * place + more * (1 + place), {field: value})
            for seed in (0, 1)
            for place, value in enumerate(values)
            for more in (0, 1)
        ]
        return frame(*trials, *extra)

    return make
