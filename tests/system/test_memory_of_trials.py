"""Whole trials leave no tensor behind, and each reports its own peak."""

import gc
import itertools
from pathlib import Path

import pytest
import torch

from proxy_attention import trial, trial_setup
from proxy_attention.memory import clear_caches, live_tensors, peak_mb, reset_peak

CPU = torch.device("cpu")


def resettable():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def six_trials(config, tiny, finish):
    """Live tensors after each of six trials, caches cleared between them."""
    counts = []
    for seed in range(6):
        finish(config(schedule="1,p", seed=seed), tiny)
        clear_caches(CPU)
        counts.append(live_tensors())
    return counts


def test_six_trials_in_one_process_leave_no_tensor_behind(config, tiny, finish):
    finish(config(schedule="1,p"), tiny)  # what libraries keep from their first use is no leak
    before = live_tensors()

    assert six_trials(config, tiny, finish) == [before] * 6


@pytest.mark.slow
def test_a_planted_leak_is_seen(monkeypatch, config, tiny, finish):
    leaked = []
    original = trial_setup.build_for

    def build(*args, **kwargs):
        leaked.append(original(*args, **kwargs))
        return leaked[-1]

    monkeypatch.setattr(trial_setup, "build_for", build)
    counts = six_trials(config, tiny, finish)

    assert [later - earlier > 20 for earlier, later in itertools.pairwise(counts)] == [True] * 5


def test_an_abandoned_trial_leaves_no_tensor_behind(config, tiny, finish):
    finish(config(), tiny)
    before = live_tensors()

    running = trial.run_trial(config(schedule="1,p,5"), tiny)
    next(running)
    running.close()
    del running
    clear_caches(CPU)

    assert live_tensors() == before


def test_a_failed_trial_leaves_no_tensor_behind(config, tiny, finish):
    finish(config(), tiny)
    before = live_tensors()

    with pytest.raises(ArithmeticError):
        finish(config(lr=1e30, schedule="6"), tiny)
    gc.collect()

    assert live_tensors() == before


@pytest.mark.skipif(not resettable(), reason="/proc/self/clear_refs is not writable")
def test_a_trial_reports_its_own_peak_and_not_that_of_the_process(config, tiny, finish):
    reset_peak(CPU)
    big = torch.ones(600 * 2**20 // 4)
    high = peak_mb(CPU)
    del big
    clear_caches(CPU)

    records, report = finish(config(), tiny)

    assert 50 < records[0].peak_memory_mb <= records[-1].peak_memory_mb <= report.peak_memory_mb < high - 300
