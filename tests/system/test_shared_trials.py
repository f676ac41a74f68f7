"""Trials of one process that share states end as trials that share nothing."""

import contextlib
import shutil

import pytest
from sharing import assert_same, sharing_of, trained_once
from trial_workers import outcome

from proxy_attention.errors import DivergedError
from proxy_attention.shared_states import Sharing
from proxy_attention.trial import run_trial

ORDERS = [
    pytest.param(1, id="baseline first"),
    pytest.param(-1, id="baseline last", marks=pytest.mark.slow),
]


GRID = [
    {"schedule": "5"},
    {},
    {"threshold": 0.1, "mask": "random"},
    {"saliency": "gradcam++", "explain": "contrast"},
    {"schedule": "1,p,3"},
    {"collect": "online", "substitute": "add"},
    {"augment": "flip-rotate+snapmix", "collect": "online", "substitute": "add"},
    {"augment": "flip-rotate+snapmix", "schedule": "5"},
    {"clear_every_step": False, "subset": 0.5},
    {"compound": True, "clear_every_step": False, "substitute": "add", "replacement": "noise"},
    {"compound": True, "clear_every_step": False, "substitute": "add", "replacement": "noise", "schedule": "1,p,3"},
    {"split": "redrawn", "compound": True, "subset": 0.5},
    {"split": "redrawn", "schedule": "5"},
    {"saliency": "gradient-shap", "smoothing": 1.0},  # drawn, by passes of its own, which the next shares
    {"saliency": "gradient-shap", "smoothing": 1.0, "threshold": 0.1},
    {"mask": "untrained", "eigen_smooth": True},
    {"choose": "all"},
    {"choose": "all", "threshold": "mean+2sd"},
    {"substitute": "add", "repeats": 3, "weight": 0.0},
    {"substitute": "add", "repeats": 3, "weight": 0.0, "restart": True},
    {"substitute": "add", "repeats": 3, "weight": 0.0, "restart": True, "choose": "random"},
    {"lr_schedule": "constant", "restart": True},
    {"lr_schedule": "constant", "schedule": "5"},
    {"choose": "random", "collect": "online"},
]


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_a_grid_that_shares_is_the_grid_that_does_not_bit_for_bit(fast, few, alone, tmp_path, order):
    trials = [fast(**{"schedule": "1,p,1,p,1", **fields}) for fields in GRID][::order]
    sharing, keys = sharing_of(tmp_path / "shared", trials, few)

    shared = [outcome(trial, few, tmp_path / str(number), sharing) for number, trial in enumerate(trials)]

    for trial, found in zip(trials, shared, strict=True):
        assert_same(found, alone(trial))
    assert sum(found.trained for found in shared) == len(trained_once(keys, shared)) < sum(map(len, keys))
    assert not list((tmp_path / "shared").glob("*.lock"))


@pytest.mark.slow
def test_that_grid_has_settings_that_end_differently(fast, alone):
    ends = [tuple(alone(fast(**{"schedule": "1,p,1,p,1", **fields})).told["weights"].values()) for fields in GRID]

    assert len(set(ends)) == len(GRID) - 1  # the two baselines: a redrawn split of one item is the fixed one


FROZEN = {"model": "test_vit", "lr": 1e-12}
"""With these, no epoch changes an answer: a trial has stalled after any that comes after as many as its patience."""


WAITING = [
    {"schedule": "5"},
    {"schedule": "1,p?,1,p?,1", "patience": 1},
    {"schedule": "1,p?,1,p?,1", "patience": 3},
    {"schedule": "1,p?,1,p?,1", "patience": 1000},
    {"schedule": "1,p?,1,p,1", "patience": 1, "subset_decay": 0.5},
    {"schedule": "1,p?,1,p,1", "patience": 1000, "subset_decay": 0.5, "clear_every_step": False},
    {"schedule": "1,p,1,p?,1", "patience": 3, "compound": True, "clear_every_step": False, "substitute": "add"},
    {"schedule": "1,p,1,p?,1", "patience": 4, "compound": True, "clear_every_step": False, "substitute": "add"},
    {"schedule": "1,p,1,p,1", "subset_decay": 0.5},
    {"schedule": "1,p,1,p,1"},
]


STEPS = [".....", ".P.P.", "...P.", ".....", ".P.P.", "...P.", ".P.P.", ".P...", ".P.P.", ".P.P."]


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_a_grid_whose_steps_wait_for_a_stall_is_the_grid_that_shares_nothing_bit_for_bit(
    fast, few, alone, tmp_path, order
):
    trials = [fast(**FROZEN, **fields) for fields in WAITING][::order]
    sharing, keys = sharing_of(tmp_path / "shared", trials, few)

    shared = [outcome(trial, few, tmp_path / str(number), sharing) for number, trial in enumerate(trials)]

    steps = ["".join("P" if row["proxy_step"] else "." for row in found.told["records"]) for found in shared]
    assert steps == STEPS[::order]
    for trial, found in zip(trials, shared, strict=True):
        assert_same(found, alone(trial))
    assert sum(found.trained for found in shared) == len(trained_once(keys, shared)) < sum(map(len, keys))


def test_a_trial_tells_which_epochs_it_has_not_trained(fast, few, tmp_path):
    trials = [fast(schedule="4"), fast(schedule="2,p,1")]
    sharing, _ = sharing_of(tmp_path, trials, few)
    first, second = ([*run_trial(trial, few, sharing=sharing)] for trial in trials)

    assert [(item.record.epoch, item.borrowed, len(item.earlier)) for item in first] == [
        (0, False, 0), (1, False, 0), (2, False, 0), (3, False, 0), (3, False, 0),
    ]  # fmt: skip
    assert [(item.record.epoch, item.borrowed) for item in second] == [(2, True), (3, False), (3, False)]
    assert [record.epoch for record in second[0].earlier] == [0, 1]
    assert [(r.item, r.proxy_step) for r in (*second[0].earlier, second[0].record)] == [
        (0, False),
        (0, False),
        (1, True),
    ]
    assert second[-1].report.train_seconds == sum(
        [*(item.record.train_seconds for item in first[:3]), second[1].record.train_seconds]
    )


def test_a_trial_may_borrow_its_very_last_epoch(fast, few, alone, tmp_path):
    trials = [fast(schedule="1,p", threshold=threshold) for threshold in (0.1, 0.5)]
    sharing, _ = sharing_of(tmp_path / "shared", trials, few)

    shared = [outcome(trial, few, tmp_path / str(number), sharing) for number, trial in enumerate(trials)]

    assert [found.trained for found in shared] == [2, 0]
    for trial, found in zip(trials, shared, strict=True):
        assert_same(found, alone(trial))


def test_trials_that_were_not_planned_share_their_first_epochs(fast, few, alone, tmp_path):
    sharing = Sharing(tmp_path / "shared", epochs=frozenset({2}))
    trials = [fast(schedule="1,p,1", threshold=0.1), fast(schedule="1,p,1", weight=0.1), fast(schedule="3")]

    shared = [outcome(trial, few, tmp_path / str(number), sharing) for number, trial in enumerate(trials)]

    assert [found.trained for found in shared] == [3, 1, 1]
    for trial, found in zip(trials, shared, strict=True):
        assert_same(found, alone(trial))


ALWAYS, STALLED = ("1,p,1,p,1,p,1", "1,p,1,p,1,1,1"), ("1,p?,1,p?,1,p,1", "1,p?,1,p?,1,1,1")


RESUMED = {
    "kept": (ALWAYS, {"clear_every_step": False, "subset": 0.5}),
    "redrawn": (
        ALWAYS,
        {"compound": True, "collect": "online", "split": "redrawn", "scope": "dataset", "replacement": "mean"},
    ),
    "skipped": (STALLED, {**FROZEN, "patience": 3, "subset": 0.6, "subset_decay": 0.5, "clear_every_step": False}),
    "skipped redrawn": (
        STALLED,
        {**FROZEN, "patience": 2, "split": "redrawn", "compound": True, "substitute": "add"},
    ),
}


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=() if name == "kept" else pytest.mark.slow) for name in RESUMED]
)
def cut(request, fast, few, tmp_path_factory):
    """A trial, its directory as it lay after some of its epochs, and what another trial has trained meanwhile."""
    folder = tmp_path_factory.mktemp("cut")
    schedules, fields = RESUMED[request.param]
    trial, other = (fast(**fields, schedule=schedule) for schedule in schedules)
    for after in (1, 3, 5):
        with contextlib.closing(run_trial(trial, few, directory=folder / "trial")) as running:
            while next(running).record.epoch + 1 < after:
                pass
        shutil.copytree(folder / "trial", folder / str(after))
    sharing, _ = sharing_of(folder / "shared", [trial, other], few)
    assert outcome(other, few, folder / "other", sharing).trained == 7
    return trial, folder, sharing


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_trial_that_was_cut_goes_on_with_what_others_trained_meanwhile(few, alone, cut, after):
    trial, folder, sharing = cut

    rest = outcome(trial, few, folder / str(after), sharing)

    whole = alone(trial)
    assert rest.trained == 1
    assert rest.told["records"] == whole.told["records"][after:]
    assert {**rest.told, "records": None, "examples": None} == {**whole.told, "records": None, "examples": None}


@pytest.mark.parametrize("still_shares", [True, False])
def test_a_trial_cut_after_it_borrowed_goes_on_with_or_without_the_others(fast, few, alone, tmp_path, still_shares):
    trials = [fast(schedule="5"), fast(schedule="2,p,1,1")]
    sharing, _ = sharing_of(tmp_path / "shared", trials, few)
    outcome(trials[0], few, tmp_path / "0", sharing)
    with contextlib.closing(run_trial(trials[1], few, directory=tmp_path / "1", sharing=sharing)) as running:
        assert next(running).borrowed

    rest = outcome(trials[1], few, tmp_path / "1", sharing if still_shares else None)

    whole = alone(trials[1])
    assert rest.trained == 2
    assert rest.told["records"] == whole.told["records"][3:]
    assert rest.told["weights"] == whole.told["weights"]
    assert rest.told["report"] == whole.told["report"]


def test_no_state_is_written_that_no_other_trial_needs(fast, few, tmp_path):
    [*run_trial(fast(schedule="1,p"), few, sharing=Sharing(tmp_path / "shared"))]

    assert not (tmp_path / "shared").exists()


def test_a_trial_that_diverges_takes_no_other_with_it(fast, few, tmp_path):
    trials = [fast(schedule="6", lr=1e30), fast(schedule="4,p,1", lr=1e30)]
    sharing, _ = sharing_of(tmp_path, trials, few)

    for trial in trials:
        with pytest.raises(DivergedError):
            list(run_trial(trial, few, sharing=sharing))

    assert not list(tmp_path.iterdir())
