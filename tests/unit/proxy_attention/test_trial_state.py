"""The state of a trial: saved, restored and taken over whole."""

import dataclasses

import pytest
import torch

from proxy_attention.evaluation import evaluate
from proxy_attention.training import train_epoch
from proxy_attention.trial_setup import TrialSetup
from proxy_attention.trial_state import FORMAT, TrialState


@pytest.fixture(scope="module")
def setup(config, tiny):
    return TrialSetup.of(config(schedule="2,p,1"), tiny, torch.device("cpu"))


@pytest.fixture(scope="module")
def trained(setup):
    """A state after one epoch, with its totals. Read only."""
    state = TrialState(setup)
    totals = train_epoch(state.training, state.training_set, setup.config, epoch=0)
    images, ids = setup.images, setup.split.val
    val = evaluate(state.training.model, images.images, images.labels, ids=ids, precision="fp32")
    state.record_epoch(setup.epochs[0], totals, val, eval_seconds=0.5)
    return state, totals


def parameters(state):
    return state.training.model.module.state_dict()


def test_an_epoch_is_recorded_with_its_item_and_means(trained):
    state, totals = trained
    (record,) = state.records

    assert (record.epoch, record.item, record.proxy_step, record.eval_seconds) == (0, 0, False, 0.5)
    assert record.train_loss == float(totals.losses.mean())
    assert record.train_images == len(state.training_set)
    assert state.epochs_done == 1


def test_a_restored_state_is_the_saved_one_bit_for_bit(setup, trained):
    state, _ = trained
    again = TrialState(setup)

    again.restore(state.snapshot())

    assert again.records == state.records
    assert all(torch.equal(a, b) for a, b in zip(parameters(again).values(), parameters(state).values(), strict=True))
    assert state.snapshot()["format"] == FORMAT


def test_a_state_taken_over_brings_its_totals_and_gets_the_items_of_this_schedule(setup, trained, config, tiny):
    state, totals = trained
    other = TrialSetup.of(config(schedule="1,1,p,1"), tiny, torch.device("cpu"))
    taking = TrialState(other)
    shared = state.snapshot(totals)
    shared["records"] = shared["records"].replace('"item": 0', '"item": 7')

    taken = taking.take_over(shared)

    assert torch.equal(taken.losses, totals.losses)
    assert [record.item for record in taking.records] == [0]


def test_own_records_stay_when_a_state_is_taken_over(setup, trained):
    state, totals = trained
    taking = TrialState(setup)
    taking.records = [dataclasses.replace(state.records[0], eval_seconds=9.0)]

    taking.take_over(state.snapshot(totals))

    assert [record.eval_seconds for record in taking.records] == [9.0]


def test_a_skipped_step_is_recorded_with_its_epoch(setup, trained):
    state, _ = trained
    again = TrialState(setup)
    again.restore(state.snapshot())

    again.skip_step()

    assert (again.records[-1].step_skipped, again.records[-1].proxy_step) == (True, False)
    assert not state.records[-1].step_skipped
