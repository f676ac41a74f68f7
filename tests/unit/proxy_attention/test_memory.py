import gc
import itertools
import weakref
from pathlib import Path

import pytest
import torch

from proxy_attention import memory, trial, trial_setup
from proxy_attention.memory import clear_caches, live_tensors, peak_mb, reset_peak

CPU = torch.device("cpu")


def resettable():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def test_a_tensor_that_is_kept_is_counted_and_one_that_is_dropped_is_not():
    before = live_tensors()

    kept = [torch.zeros(3) for _ in range(5)]
    assert live_tensors() == before + 5
    kept.clear()
    assert live_tensors() == before


def test_parameters_and_tensors_in_a_cycle_are_counted_as_what_they_are():
    before = live_tensors()
    layer = torch.nn.Linear(2, 2)
    assert live_tensors() == before + 2

    layer.me = [layer]  # garbage only a collection finds
    del layer
    assert live_tensors() == before


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


class _Node:
    """Something that refers to itself, which only a collection can free."""

    def __init__(self):
        self.me = self


def test_clearing_collects_garbage():
    node = _Node()
    alive = weakref.ref(node)
    gc.disable()
    try:
        del node
        assert alive() is not None
        clear_caches(CPU)
        assert alive() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not resettable(), reason="/proc/self/clear_refs is not writable")
def test_the_peak_of_one_trial_is_not_charged_to_the_next():
    reset_peak(CPU)
    big = torch.ones(300 * 2**20 // 4)
    high = peak_mb(CPU)
    del big
    clear_caches(CPU)
    still_high = peak_mb(CPU)
    reset_peak(CPU)

    assert still_high > high - 10
    assert peak_mb(CPU) < high - 250


@pytest.mark.skipif(not resettable(), reason="/proc/self/clear_refs is not writable")
def test_a_trial_reports_its_own_peak_and_not_that_of_the_process(config, tiny, finish):
    reset_peak(CPU)
    big = torch.ones(600 * 2**20 // 4)
    high = peak_mb(CPU)
    del big
    clear_caches(CPU)

    records, report = finish(config(), tiny)

    assert 50 < records[0].peak_memory_mb <= records[-1].peak_memory_mb <= report.peak_memory_mb < high - 300


def test_the_peak_is_measured_in_mebibytes():
    reset_peak(CPU)
    before = peak_mb(CPU)
    big = torch.ones(200 * 2**20 // 4)

    assert 50 < before < 20_000
    assert peak_mb(CPU) - before == pytest.approx(200, abs=20)
    del big


def test_without_procfs_the_peak_of_the_process_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_PROC", tmp_path / "nowhere")

    reset_peak(CPU)

    assert 50 < peak_mb(CPU) < 20_000
