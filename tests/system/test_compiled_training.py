"""Training with a compiled forward pass."""

import gc
import weakref

import pytest
import torch

from proxy_attention.models.build import build
from proxy_attention.training import new_state, train_epoch

CPU = torch.device("cpu")


def begin(config, training_set, **changes):
    model = build(config.model, classes=10, image_size=config.image_size, weights="none", seed=config.seed).to(CPU)
    return new_state(model, config, images=len(training_set.train), device=CPU)


@pytest.fixture
def graphs():
    """What was compiled, by the batch sizes of its images; nothing compiled is left after the test."""
    yield []
    torch._dynamo.reset()


@pytest.fixture
def compiling(config, tiny, training_set_of, graphs):
    """A trial of batches of 16, 16, 16 and 2, what it trains on, and how to begin it with a compiled forward pass."""
    trial = config(schedule="3", batch_size=16, model="test_vit")
    training_set = training_set_of(trial, tiny)
    training_set = training_set.with_train(training_set.train[:50].numpy())

    def count(graph, inputs):  # a compiler that changes no number
        graphs.append([len(value) for value in inputs if value.shape[1:] == (3, 32, 32)])
        return graph.forward

    def start():
        state = begin(trial, training_set)
        state.compiled = torch.compile(state.model.__call__, backend=count, dynamic=False)
        return state

    return trial, training_set, start


def test_a_compiled_forward_is_used_for_full_batches_and_compiled_once(compiling, graphs):
    trial, training_set, start = compiling
    plain, state = begin(trial, training_set), start()

    for epoch in range(3):
        expected = train_epoch(plain, training_set, trial, epoch=epoch)
        found = train_epoch(state, training_set, trial, epoch=epoch)
        state.model.module.eval()  # an evaluation lies between two epochs
        state.model(torch.rand(7, 3, 32, 32))

        assert torch.equal(found.losses, expected.losses)
    assert graphs == [[16]]
    assert state.state_dict()["model"].keys() == plain.state_dict()["model"].keys()


def test_the_next_trial_of_a_worker_takes_over_what_was_compiled_and_no_weight(compiling, graphs):
    trial, training_set, start = compiling
    first = start()
    losses = train_epoch(first, training_set, trial, epoch=0).losses
    gone = weakref.ref(first.model.module)

    del first
    gc.collect()

    assert gone() is None
    assert torch.equal(train_epoch(start(), training_set, trial, epoch=0).losses, losses)
    assert graphs == [[16]]


def test_only_a_config_that_asks_for_it_is_compiled(config, tiny, training_set_of):
    trial = config()

    assert begin(trial, training_set_of(trial, tiny)).compiled is None
    assert begin(config(compile=True), training_set_of(trial, tiny)).compiled is not None
