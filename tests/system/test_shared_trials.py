"""Trials that share states end as trials that share nothing, in one process and in several, whoever is killed."""

import contextlib
import fcntl
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from conftest import part_of
from trial_workers import outcome, work

from proxy_attention.errors import DivergedError
from proxy_attention.shared_states import Sharing
from proxy_attention.state_keys import branch_points, state_keys
from proxy_attention.trial import run_trial

# ---- a grid with sharing is the grid without it


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


@pytest.fixture(scope="module")
def alone(few, tmp_path_factory):
    """What a trial comes to that shares nothing."""
    done = {}

    def run(trial):
        if trial not in done:
            done[trial] = outcome(trial, few, tmp_path_factory.mktemp("alone"))
        return done[trial]

    return run


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
]


@pytest.mark.parametrize("order", ORDERS)
def test_a_grid_that_shares_is_the_grid_that_does_not_bit_for_bit(fast, few, alone, tmp_path, order):
    trials = [fast(**{"schedule": "1,p,1,p,1", **fields}) for fields in GRID][::order]
    sharing, keys = sharing_of(tmp_path / "shared", trials, few)

    shared = [outcome(trial, few, tmp_path / str(number), sharing) for number, trial in enumerate(trials)]

    for trial, found in zip(trials, shared, strict=True):
        assert_same(found, alone(trial))
    assert sum(found.trained for found in shared) == len(trained_once(keys, shared)) < sum(map(len, keys))
    assert not list((tmp_path / "shared").glob("*.lock"))


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


def test_nothing_is_written_on_a_road_that_no_other_trial_takes(fast, few, tmp_path):
    [*run_trial(fast(schedule="1,p"), few, sharing=Sharing(tmp_path / "shared"))]

    assert not (tmp_path / "shared").exists()


def test_a_trial_that_diverges_takes_no_other_with_it(fast, few, tmp_path):
    trials = [fast(schedule="6", lr=1e30), fast(schedule="4,p,1", lr=1e30)]
    sharing, _ = sharing_of(tmp_path, trials, few)

    for trial in trials:
        with pytest.raises(DivergedError):
            list(run_trial(trial, few, sharing=sharing))

    assert not list(tmp_path.iterdir())


def test_a_trial_that_is_closed_leaves_its_state_to_the_next(fast, few, alone, tmp_path):
    trials = [fast(schedule="5"), fast(schedule="2,p,1,1")]
    sharing, _ = sharing_of(tmp_path / "shared", trials, few)
    running = run_trial(trials[0], few, sharing=sharing)
    next(running)
    assert len(list((tmp_path / "shared").glob("*.lock"))) == 1
    running.close()
    assert not list((tmp_path / "shared").glob("*.lock"))

    assert_same(outcome(trials[1], few, tmp_path / "1", sharing), alone(trials[1]))


def test_a_trial_that_is_closed_has_written_its_state_before_it_lets_go_of_it(fast, few, tmp_path):
    trials = [fast(schedule="5"), fast(schedule="p,4")]
    sharing, keys = sharing_of(tmp_path, trials, few)
    path = sharing.path(keys[0][0], device="cpu")
    watched = []

    def watch(lock):
        fcntl.flock(lock, fcntl.LOCK_EX)  # as soon as it is free
        watched.append(path.exists())

    running = run_trial(trials[0], few, sharing=sharing)
    with contextlib.suppress(OSError):
        path.parent.mkdir()
    with path.with_suffix(".lock").open("w") as lock:
        next(running)
        thread = threading.Thread(target=watch, args=(lock,))
        thread.start()
        running.close()
        thread.join(10)

    assert watched == [True]


@pytest.fixture(scope="module")
def processes():
    """Start three processes that do ``work``; each with the connection to it."""
    context = multiprocessing.get_context("forkserver")  # as fresh as spawned, but imports are paid once
    context.set_forkserver_preload(["proxy_attention.trial", "trial_workers"])
    started = []
    for _ in range(3):
        here, there = context.Pipe()
        process = context.Process(target=work, args=(there,), daemon=True)
        process.start()
        there.close()
        started.append((process, here))
    yield started
    for process, connection in started:
        connection.close()
        process.kill()
        process.join()


def tell(process, *task):
    process[1].send_bytes(pickle.dumps(task))


def answer(process):
    return pickle.loads(process[1].recv_bytes())


def test_three_trials_at_once_train_every_distinct_epoch_once(fast, few, alone, processes, tmp_path):
    trials = [fast(schedule="5"), fast(schedule="2,p,2"), fast(schedule="2,p,2", threshold=0.1)]
    sharing, keys = sharing_of(tmp_path / "shared", trials, few)
    for number, (process, trial) in enumerate(zip(processes, trials, strict=True)):
        tell(process, trial, few, tmp_path / str(number), sharing, None)

    shared = [answer(process) for process in processes]

    for trial, found in zip(trials, shared, strict=True):
        assert_same(found, alone(trial))
    assert sum(found.trained for found in shared) == len(trained_once(keys, shared)) == 3 + 3 * 2
    assert len(list((tmp_path / "shared").iterdir())) == 2  # a state, and the scores that two trials make of it


def test_of_a_killed_trial_the_others_take_over_and_it_goes_on_itself(fast, few, alone, processes, tmp_path):
    trials = [fast(schedule="3,1,p"), fast(schedule="3,p,1"), fast(schedule="3,p,1", threshold=0.1)]
    sharing, keys = sharing_of(tmp_path / "shared", trials, few)
    tell(processes[0], trials[0], few, tmp_path / "0", sharing, 3)
    assert answer(processes[0]) == [0, 1, 2]  # of the four epochs that all share
    for number in (1, 2):
        tell(processes[number], trials[number], few, tmp_path / str(number), sharing, None)
    time.sleep(0.5)
    assert not [number for number in "12" if (tmp_path / number / "epochs.json").exists()]  # they wait

    os.kill(processes[0][0].pid, signal.SIGKILL)
    shared = [answer(process) for process in processes[1:]]
    rest = outcome(trials[0], few, tmp_path / "0", sharing)

    for trial, found in zip(trials[1:], shared, strict=True):
        assert_same(found, alone(trial))
    assert sum(found.trained for found in shared) == len(trained_once(keys[1:], shared)) == 4 + 2 * 1
    assert rest.trained == 1
    assert rest.told["weights"] == alone(trials[0]).told["weights"]
    assert not list((tmp_path / "shared").glob("*.lock"))


def test_a_trial_beside_damaged_files_trains_by_itself_and_mends_them(fast, few, alone, tmp_path):
    trials = [fast(schedule="1,p,1", threshold=threshold) for threshold in (0.1, 0.3, 0.5)]
    sharing, _ = sharing_of(tmp_path / "shared", trials, few)
    outcome(trials[0], few, tmp_path / "0", sharing)
    for path in (tmp_path / "shared").iterdir():
        path.write_bytes(path.read_bytes()[:-100])

    second, third = (outcome(trials[n], few, tmp_path / str(n), sharing) for n in (1, 2))

    assert (second.trained, third.trained) == (3, 1)
    assert_same(second, alone(trials[1]))
    assert_same(third, alone(trials[2]))


@pytest.mark.parametrize("kind", ["a file", "a name too long", "nowhere that may be made"])
def test_where_nothing_can_be_shared_a_trial_trains_by_itself_and_says_so(fast, few, alone, tmp_path, caplog, kind):
    (tmp_path / "file").write_text("mine")
    folder = {
        "a file": tmp_path / "file",
        "a name too long": tmp_path / ("x" * 300),
        "nowhere that may be made": Path("/proc/x"),
    }[kind]
    trials = [fast(schedule="1,p,1", threshold=threshold) for threshold in (0.1, 0.3)]
    sharing, _ = sharing_of(folder, trials, few)

    with caplog.at_level(logging.WARNING):
        found = outcome(trials[0], few, tmp_path / "0", sharing)

    assert found.trained == 3
    assert_same(found, alone(trials[0]))
    assert caplog.text.count("could not be locked") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_a_limit_below_one_state_costs_sharing_and_nothing_else(fast, few, alone, tmp_path):
    trials = [fast(schedule="1,p,1", threshold=threshold) for threshold in (0.1, 0.3)]
    sharing, _ = sharing_of(tmp_path / "shared", trials, few, limit_mb=0)

    shared = [outcome(trial, few, tmp_path / str(number), sharing) for number, trial in enumerate(trials)]

    assert [found.trained for found in shared] == [3, 3]
    for trial, found in zip(trials, shared, strict=True):
        assert_same(found, alone(trial))
    assert not list((tmp_path / "shared").iterdir())
