"""A frozen trunk: only the head of a classifier is trained."""

import pytest
import torch

from proxy_attention.models.build import build
from proxy_attention.training import new_state, train_epoch
from proxy_attention.trial import run_trial

CPU = torch.device("cpu")
MODELS = ["test_efficientnet", "test_vit", "deit_tiny_distilled_patch16_224", "test_convnext"]


def frozen_state(trial):
    model = build(trial.model, classes=10, image_size=32, weights="none", seed=trial.seed).to(CPU)
    return new_state(model, trial, images=70, device=CPU)


def in_heads(model):
    """Names of the tensors that belong to the heads."""
    heads = {id(tensor) for head in model.heads for tensor in head.state_dict(keep_vars=True).values()}
    return {name for name, tensor in model.module.state_dict(keep_vars=True).items() if id(tensor) in heads}


@pytest.mark.parametrize("name", MODELS)
def test_a_frozen_trunk_keeps_its_bits_and_its_head_learns(name, config, tiny, training_set_of):
    trial = config(model=name, schedule="2", freeze_trunk=True)
    state = frozen_state(trial)
    training_set = training_set_of(trial, tiny)
    before = {key: value.clone() for key, value in state.model.module.state_dict().items()}

    for epoch in range(2):
        train_epoch(state, training_set, trial, epoch=epoch)
        state.model.module.eval()  # as an evaluation leaves it

    after, heads = state.model.module.state_dict(), in_heads(state.model)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert len(heads) == 2 * len(state.model.heads) < len(before)
    assert changed == heads


def test_without_freezing_trunk_and_statistics_change(config, tiny, training_set_of):
    trial = config(schedule="1")
    state = frozen_state(trial)
    before = {key: value.clone() for key, value in state.model.module.state_dict().items()}

    train_epoch(state, training_set_of(trial, tiny), trial, epoch=0)

    same = {key for key, value in state.model.module.state_dict().items() if torch.equal(before[key], value)}
    assert not same


def test_the_optimizer_of_a_frozen_trunk_holds_the_heads_alone(config):
    state = frozen_state(config(model="deit_tiny_distilled_patch16_224", freeze_trunk=True))

    held = [id(parameter) for group in state.optimizer.param_groups for parameter in group["params"]]

    assert held == [id(parameter) for head in state.model.heads for parameter in head.parameters()]
    assert len(held) == 4


def test_nothing_but_the_head_of_a_frozen_trunk_has_a_gradient(config, tiny, training_set_of):
    trial = config(freeze_trunk=True)
    state = frozen_state(trial)

    train_epoch(state, training_set_of(trial, tiny), trial, epoch=0)

    with_gradient = {name for name, parameter in state.model.module.named_parameters() if parameter.grad is not None}
    assert with_gradient == in_heads(state.model) == {"classifier.weight", "classifier.bias"}


def test_a_trial_with_a_frozen_trunk_goes_on_bit_for_bit_where_it_was_cut(config, tiny, finish, metrics, tmp_path):
    trial = config(schedule="1,p,1", freeze_trunk=True, threshold=0.3)
    whole, report = finish(trial, tiny, tmp_path / "whole")

    cut = run_trial(trial, tiny, directory=tmp_path / "cut")
    next(cut)
    next(cut)
    cut.close()
    rest, resumed = finish(trial, tiny, tmp_path / "cut")

    assert len(rest) == 1
    assert metrics(rest[0]) == metrics(whole[2])
    assert metrics(resumed) == metrics(report)
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]
