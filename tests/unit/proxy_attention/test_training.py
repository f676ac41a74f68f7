import copy
import math

import pytest
import torch

from proxy_attention.data.training_set import Proxies
from proxy_attention.errors import ConfigError, DivergedError
from proxy_attention.models.build import build
from proxy_attention.training import new_state, seconds_per_image, train_epoch

CPU = torch.device("cpu")


def begin(config, training_set, **changes):
    model = build(config.model, classes=10, image_size=config.image_size, weights="none", seed=config.seed).to(CPU)
    return new_state(model, config, images=len(training_set.train), device=CPU)


def planned_lr(config, steps):
    """torch's own OneCycle, step by step."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=config.lr)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=config.lr, total_steps=steps)
    rates = []
    for step in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        if step + 1 < steps:
            scheduler.step()
    return rates


def test_the_learning_rate_is_one_cycle_over_the_whole_trial(config, tiny, training_set_of):
    trial = config(schedule="3", batch_size=16, lr=5e-3)
    training_set = training_set_of(trial, tiny)
    state = begin(trial, training_set)
    steps = math.ceil(len(training_set) / 16)
    rates = planned_lr(trial, 3 * steps)

    for epoch in range(3):
        totals = train_epoch(state, training_set, trial, epoch=epoch)

        assert totals.lr == pytest.approx(rates[epoch * steps])
    assert state.scheduler.get_last_lr()[0] == pytest.approx(rates[-1])
    assert max(rates) == pytest.approx(5e-3, rel=0.02)  # the peak may lie between two batches


def test_a_constant_learning_rate_stays_and_moves_no_momentum(config, tiny, training_set_of):
    trial = config(schedule="3", batch_size=16, lr=5e-3, lr_schedule="constant")
    training_set = training_set_of(trial, tiny)
    state = begin(trial, training_set)

    rates = []
    for epoch in range(3):
        rates.append(train_epoch(state, training_set, trial, epoch=epoch).lr)
        rates.append(state.scheduler.get_last_lr()[0])

    assert rates == [5e-3] * 6
    assert state.optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_a_plan_over_a_part_of_the_schedule_is_that_of_so_many_epochs(config, tiny, training_set_of):
    trial = config(schedule="5", batch_size=16)
    training_set = training_set_of(trial, tiny)
    model = build(trial.model, classes=10, image_size=trial.image_size, weights="none", seed=0).to(CPU)

    state = new_state(model, trial, images=len(training_set.train), device=CPU, epochs=2)

    assert state.scheduler.total_steps == 2 * math.ceil(len(training_set) / 16)


@pytest.mark.parametrize("batch_size", [16, 1000])
def test_added_proxies_lengthen_the_epoch_and_still_end_the_plan_of_the_learning_rate(
    config, tiny, training_set_of, batch_size
):
    trial = config(schedule="p,2", batch_size=batch_size, substitute="add")
    training_set = training_set_of(trial, tiny)
    state = begin(trial, training_set)
    steps = math.ceil(len(training_set) / batch_size)
    rates = planned_lr(trial, max(3 * steps, 2))

    train_epoch(state, training_set, trial, epoch=0)
    longer = training_set.with_proxies(Proxies(ids=training_set.train, pixels=tiny.images[training_set.train]))
    second = train_epoch(state, longer, trial, epoch=1)
    third = train_epoch(state, longer, trial, epoch=2)

    assert len(second.losses) == 2 * len(training_set.train)
    assert second.lr == pytest.approx(rates[steps])
    assert third.lr == pytest.approx(rates[2 * steps])
    assert state.scheduler.get_last_lr()[0] == pytest.approx(rates[-1])


def test_a_trial_of_one_batch_has_a_plan(config, tiny, training_set_of):
    trial = config(schedule="1", batch_size=1000)
    training_set = training_set_of(trial, tiny)

    assert train_epoch(begin(trial, training_set), training_set, trial, epoch=0).lr > 0


def test_a_model_of_batch_statistics_trains_where_one_image_is_left_over(config, tiny, training_set_of):
    trial = config(schedule="1", batch_size=31, model="mobilenetv4_conv_small")
    training_set = training_set_of(trial, tiny)
    images = 1 + 31 * ((len(training_set) - 1) // 31)
    training_set = training_set.with_train(training_set.train.numpy()[:images])
    state = begin(trial, training_set)

    assert len(train_epoch(state, training_set, trial, epoch=0).losses) == images > 31
    assert state.steps_per_epoch == images // 31


def test_the_totals_are_slot_by_slot_what_the_model_made_of_each_image(config, tiny, training_set_of):
    """One batch of all images, so that all losses are those of the initial weights; no augmentation."""
    trial = config(schedule="2", batch_size=1000, augment="none")
    training_set = training_set_of(trial, tiny)
    state = begin(trial, training_set)
    model = copy.deepcopy(state.model)
    pixels, labels = training_set.slots(torch.arange(len(training_set)))

    totals = train_epoch(state, training_set, trial, epoch=0)

    with torch.no_grad():
        logits = model(pixels.float() / 255)
    torch.testing.assert_close(
        totals.losses, torch.nn.functional.cross_entropy(logits, labels, reduction="none"), atol=1e-4, rtol=1e-4
    )
    assert torch.equal(totals.predicted, logits.argmax(1))
    assert torch.equal(totals.correct, (logits.argmax(1) == labels).float())


def test_an_epoch_changes_the_weights_and_is_counted(config, tiny, training_set_of):
    trial = config(schedule="2")
    training_set = training_set_of(trial, tiny)
    state = begin(trial, training_set)
    before = copy.deepcopy(state.model.module.state_dict())

    train_epoch(state, training_set, trial, epoch=0)

    assert state.epochs_done == 1
    changed = [name for name, value in state.model.module.state_dict().items() if not torch.equal(value, before[name])]
    assert len(changed) == len(before)


def test_an_epoch_is_the_same_whatever_was_drawn_before(config, tiny, training_set_of):
    trial = config(schedule="2")
    training_set = training_set_of(trial, tiny)

    losses = []
    for drawn in (0, 1000):
        state = begin(trial, training_set)
        torch.rand(drawn)
        losses.append(train_epoch(state, training_set, trial, epoch=0).losses)

    assert torch.equal(*losses)


def test_training_learns_what_it_is_shown(config, tiny, training_set_of):
    trial = config(schedule="15", batch_size=16, augment="none")
    training_set = training_set_of(trial, tiny)
    state = begin(trial, training_set)

    totals = [train_epoch(state, training_set, trial, epoch=epoch) for epoch in range(15)]

    assert totals[-1].losses.mean() < 0.5 * totals[0].losses.mean()
    assert totals[-1].correct.mean() > 0.8


def test_a_saved_state_goes_on_where_it_was_saved(config, tiny, training_set_of, tmp_path):
    trial = config(schedule="3")
    training_set = training_set_of(trial, tiny)
    state = begin(trial, training_set)
    train_epoch(state, training_set, trial, epoch=0)
    torch.save(state.state_dict(), tmp_path / "state.pt")
    expected = train_epoch(state, training_set, trial, epoch=1)

    again = begin(trial, training_set)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    found = train_epoch(again, training_set, trial, epoch=1)

    assert torch.equal(found.losses, expected.losses)
    assert found.lr == expected.lr
    assert again.epochs_done == 2


def test_bf16_trains_in_single_precision_weights(config, tiny, training_set_of):
    trial = config(schedule="1", precision="bf16")
    training_set = training_set_of(trial, tiny)
    state = begin(trial, training_set)

    totals = train_epoch(state, training_set, trial, epoch=0)

    assert totals.losses.dtype == torch.float32
    assert torch.isfinite(totals.losses).all()
    assert {p.dtype for p in state.model.module.parameters()} == {torch.float32}


def test_fp16_on_a_cpu_is_refused(config, tiny, training_set_of):
    trial = config(precision="fp16")

    with pytest.raises(ConfigError, match="precision must be fp32 or bf16 on a cpu; got 'fp16'"):
        begin(trial, training_set_of(trial, tiny))


def test_a_loss_that_is_no_number_names_the_epoch(config, tiny, training_set_of):
    trial = config(schedule="5")
    training_set = training_set_of(trial, tiny)
    state = begin(trial, training_set)
    with torch.no_grad():
        next(state.model.module.parameters()).fill_(float("nan"))

    with pytest.raises(DivergedError, match=r"the training loss must be finite; it was not in epoch 4 \(try a smaller"):
        train_epoch(state, training_set, trial, epoch=4)


def test_the_time_of_an_image_is_measured(config):
    trial = config(batch_size=4)
    model = build(trial.model, classes=10, image_size=32, weights="none", seed=0)

    assert 0 < seconds_per_image(model, trial, device=CPU, batches=2) < 1
