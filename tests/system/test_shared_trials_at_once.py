"""Trials that share states beside each other, whoever is closed, killed or damaged."""

import contextlib
import fcntl
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
from pathlib import Path

import pytest
from sharing import assert_same, sharing_of, trained_once
from trial_workers import outcome, work

from proxy_attention.trial import run_trial


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
