"""Whole trials from outside: their course, when they make proxies, and what a proxy step changes."""

import dataclasses

import pytest
import torch
from trial_files import AT_CHANCE, FROZEN, MODELS, assert_equal_weights, checkpoint, course

from proxy_attention.data.splits import draw_split
from proxy_attention.models.build import build_for
from proxy_attention.schedule import has_stalled
from proxy_attention.training import new_state, train_epoch
from proxy_attention.trial import run_trial
from proxy_attention.trial_store import read_recipes

SLOW = dict.fromkeys(["test_resnet", "test_vit"], pytest.mark.slow)


OF_PROXIES = (
    "item", "proxy_step", "step_skipped", "step_subset", "wrong_images", "made_images", "flat_maps", "proxy_images",
)  # fmt: skip


def test_proxies_made_after_an_epoch_are_trained_on_until_the_next_step_and_no_other(config, small, finish):
    records, report = finish(config(schedule="1,p,2,p,1"), small)

    made = [record.made_images for record in records]
    alive = [record.proxy_images for record in records]
    assert [count > 0 for count in made] == [False, True, False, False, True, False]
    assert alive == [0, made[1], made[1], made[1], made[4], made[4]]
    assert [record.wrong_images for record in records] == made  # subset = 1
    assert report.proxy_images == sum(made)
    assert len({record.train_images for record in records}) == 1


def test_an_image_that_is_taken_for_its_own_class_is_never_chosen_whatever_was_mixed_in(
    config, small, finish, training_set_of, tmp_path
):
    trial = config(schedule="p,1", collect="online", augment="remix")
    imbalanced = dataclasses.replace(small, labels=(small.labels == 0).long(), classes=("frequent", "rare"))
    finish(trial, imbalanced, tmp_path)
    (recipe,) = read_recipes(tmp_path)
    training_set = training_set_of(trial, imbalanced)
    model = build_for(trial, classes=2).to(torch.device("cpu"))
    state = new_state(model, trial, images=len(training_set), device=torch.device("cpu"))
    totals = train_epoch(state, training_set, trial, epoch=0)

    own = totals.predicted == imbalanced.labels[training_set.train]
    nothing_left = own & (totals.correct == 0)  # remix gave all of the label to the rare class
    assert nothing_left.any()
    assert recipe.ids.tolist() == training_set.train[~own & (totals.correct == 0)].tolist()
    assert len(recipe.ids) > 0


def test_added_proxies_make_the_epoch_longer(config, small, finish):
    records, _ = finish(config(schedule="p,2", substitute="add"), small)

    assert [record.train_images for record in records] == [176, *[176 + records[0].made_images] * 2]
    assert records[0].made_images > 0


def test_added_proxies_still_end_the_plan_of_the_learning_rate(config, small, tmp_path):
    running = run_trial(config(schedule="p,2", substitute="add"), small, directory=tmp_path)
    for _ in range(3):
        next(running)

    plan = checkpoint(tmp_path, after=3)["training"]["scheduler"]
    running.close()
    assert plan["last_epoch"] == plan["total_steps"] - 1


def test_the_learning_rate_of_every_epoch_is_torchs_own_one_cycle(config, small, finish):
    trial = config(schedule="6", lr=3e-3)
    records, _ = finish(trial, small)
    steps = -(-records[0].train_images // trial.batch_size)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=6 * steps)
    expected = []
    for _ in range(6 * steps):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()

    assert [record.lr for record in records] == pytest.approx(expected[::steps])


def test_the_report_is_of_the_last_epoch_and_of_the_test_images(config, small, finish):
    trial = config(schedule="3")
    records, report = finish(trial, small)
    split = draw_split(small.labels.numpy(), small.own_test.numpy(), trial)

    assert report.val_accuracy == records[-1].val_accuracy
    assert report.val_loss == records[-1].val_loss
    assert report.epochs_done == 3
    assert (report.train_images, report.val_images, report.test_images) == (176, 44, 80)
    assert report.split_digest == split.digest
    assert report.image_digest == small.digest
    assert sum(map(sum, report.confusion)) == 80
    assert report.test_accuracy == pytest.approx(100 * sum(report.confusion[i][i] for i in range(10)) / 80)
    assert report.wall_seconds >= report.train_seconds > 0


@pytest.mark.parametrize("model", [pytest.param(name, marks=SLOW.get(name, ())) for name in MODELS])
def test_a_proxy_step_with_weight_zero_changes_nothing_bit_for_bit(config, small, finish, metrics, tmp_path, model):
    without, end = finish(config(model=model, schedule="6"), small, tmp_path / "without")
    with_step, end_with = finish(config(model=model, schedule="3,p,2", weight=0.0), small, tmp_path / "with")

    assert with_step[3].made_images > 10
    assert [metrics(r, *OF_PROXIES) for r in with_step] == [metrics(r, *OF_PROXIES) for r in without]
    assert metrics(end_with, "proxy_images", "flat_maps") == metrics(end, "proxy_images", "flat_maps")
    assert_equal_weights(tmp_path / "without", tmp_path / "with")


def test_a_proxy_step_with_a_weight_changes_what_is_trained_after_it_and_nothing_before(config, small, finish, metrics):
    without, _ = finish(config(schedule="6"), small)
    with_step, _ = finish(config(schedule="3,p,2", weight=0.9, threshold=0.2), small)

    assert [metrics(r, *OF_PROXIES) for r in with_step[:4]] == [metrics(r, *OF_PROXIES) for r in without[:4]]
    assert [a.train_loss != b.train_loss for a, b in zip(with_step, without, strict=True)][4:] == [True, True]


def test_the_images_are_never_written_to(config, small, finish):
    before = small.images.clone(), small.labels.clone()

    finish(config(schedule="1,p,1", weight=1.0, threshold=0.0, replacement="white"), small)

    assert torch.equal(small.images, before[0])
    assert torch.equal(small.labels, before[1])


def test_a_step_that_never_finds_a_stall_leaves_the_plain_schedule_bit_for_bit(
    config, small, finish, metrics, tmp_path
):
    plain, end = finish(config(schedule="6"), small, tmp_path / "plain")
    waiting, end_waiting = finish(config(schedule="2,p?,1,p?,1", patience=1000), small, tmp_path / "waiting")

    assert course(waiting) == "..s.s."
    assert [metrics(r, "item", "step_skipped") for r in waiting] == [metrics(r, "item", "step_skipped") for r in plain]
    assert metrics(end_waiting) == metrics(end)
    assert_equal_weights(tmp_path / "plain", tmp_path / "waiting")
    assert read_recipes(tmp_path / "waiting") == []


def test_a_step_that_finds_a_stall_is_the_step_of_a_p_bit_for_bit(config, small, finish, metrics, tmp_path):
    always, end = finish(config(**AT_CHANCE, schedule="1,p,3"), small, tmp_path / "always")
    waiting, end_waiting = finish(config(**AT_CHANCE, schedule="1,p?,3"), small, tmp_path / "waiting")

    assert course(waiting) == course(always) == ".P..."
    assert waiting[1].made_images > 10
    assert [metrics(record) for record in waiting] == [metrics(record) for record in always]
    assert metrics(end_waiting) == metrics(end)
    assert_equal_weights(tmp_path / "always", tmp_path / "waiting")


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_a_frozen_trial_takes_every_step_once_it_has_had_patience(config, tiny, finish, patience):
    records, _ = finish(config(**FROZEN, schedule="p?,p?,p?,p?", patience=patience), tiny)

    assert len({record.val_accuracy for record in records}) == 1
    assert course(records) == "s" * patience + "P" * (4 - patience)


@pytest.mark.parametrize(
    "fields", [{}, {"split": "redrawn"}, {"collect": "online"}], ids=["fixed", "redrawn", "online"]
)
def test_val_accuracy_decides_each_step(config, small, finish, fields):
    records, _ = finish(config(schedule="1,p?,p?,p?,p?,p?,1", lr=1e-2, patience=1, **fields), small)
    val = [record.val_accuracy for record in records]

    assert {record.proxy_step for record in records[1:-1]} == {False, True}
    for n, record in enumerate(records[1:-1], start=1):
        assert record.proxy_step == has_stalled(val[: n + 1], patience=1) != record.step_skipped


def test_a_skipped_step_leaves_the_proxies_in_use_as_they_are(config, small, finish):
    records, _ = finish(config(**AT_CHANCE, schedule="1,p?,2,p?,1"), small)
    made = records[1].made_images

    assert course(records) == ".P..s."
    assert [record.proxy_images for record in records] == [0, made, made, made, made, made]
    assert [record.made_images for record in records] == [0, made, 0, 0, 0, 0]
    assert [record.step_subset for record in records] == [0, 1, 0, 0, 0, 0]


def test_a_step_keeps_its_number_and_so_its_draws_when_one_before_it_was_skipped(config, small, finish, tmp_path):
    fields = {"weight": 0.0, "subset": 0.5, "subset_decay": 0.5}  # without weight, the first step changes nothing
    finish(config(**fields, schedule="1,p,1,p,1"), small, tmp_path / "both")
    finish(config(**fields, schedule="1,p?,1,p,1", patience=1000), small, tmp_path / "second")

    _, taken = read_recipes(tmp_path / "both")
    (second,) = read_recipes(tmp_path / "second")

    assert second.step == taken.step == 1
    assert len(second.ids) > 10
    assert all(torch.equal(getattr(second, part), getattr(taken, part)) for part in ("ids", "predicted", "maps"))


def test_each_planned_step_chooses_its_part_of_the_wrong_images(config, small, finish):
    fields = {"schedule": "p,p?,p?,p", "patience": 2, "subset": 0.7, "subset_decay": 0.1}
    records, _ = finish(config(**FROZEN, **fields), small)
    (wrong,) = {record.wrong_images for record in records if record.proxy_step}

    assert course(records) == "PsPP"
    assert [record.step_subset for record in records] == [0.7, 0, 0.007, 0.0007]
    assert wrong == 144
    assert [record.made_images for record in records] == [101, 0, 2, 1]  # 100.8, none, 1.008, 0.1008


def test_a_perfect_model_makes_no_proxies(config, small, finish):
    """Every image is of the class that the sum of its pixels names: black or white, which one epoch tells apart."""
    pixels = torch.where(small.labels[:, None, None, None] < 5, 0, 255).to(torch.uint8).expand_as(small.images)
    easy = dataclasses.replace(
        small, images=pixels.contiguous(), labels=(small.labels >= 5).long(), classes=("black", "white")
    )

    records, report = finish(config(schedule="5,p,1", scope="batch", replacement="mean", mask="other"), easy)

    assert records[-2].proxy_step
    assert [record.wrong_images for record in records] == [0] * 7
    assert report.proxy_images == 0
    assert report.test_accuracy == 100


def test_the_redrawn_audit_changes_what_is_trained_on_and_not_how_much(config, small, finish):
    fixed, end = finish(config(schedule="2,1,1"), small)
    redrawn, leaking = finish(config(schedule="2,1,1", split="redrawn"), small)

    assert [r.train_images for r in redrawn] == [r.train_images for r in fixed]
    assert [a.train_loss == b.train_loss for a, b in zip(fixed, redrawn, strict=True)] == [True, True, False, False]
    assert leaking.split_digest == end.split_digest
    assert leaking.test_images == end.test_images


def test_a_trial_is_a_pure_function_of_its_config_and_images(config, tiny, finish, metrics, tmp_path):
    trial = config(schedule="1,p,1", mask="random", replacement="noise")
    first, second = (finish(trial, tiny, tmp_path / name) for name in "ab")

    assert [metrics(record) for record in first[0]] == [metrics(record) for record in second[0]]
    assert metrics(first[1]) == metrics(second[1])
    assert_equal_weights(tmp_path / "a", tmp_path / "b")


def test_another_seed_is_another_trial(config, tiny, finish):
    losses = [finish(config(seed=seed), tiny)[0][0].train_loss for seed in (0, 1)]

    assert losses[0] != losses[1]


def test_bf16_runs_a_whole_trial(config, tiny, finish):
    records, report = finish(config(schedule="1,p,1", precision="bf16"), tiny)

    assert records[1].made_images > 0
    assert report.epochs_done == 3
