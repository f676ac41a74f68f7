import gc
import weakref
from pathlib import Path

import pytest
import torch

from proxy_attention import memory
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
