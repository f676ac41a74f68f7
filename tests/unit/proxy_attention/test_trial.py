"""A trial from outside: what it may see, what it leaves behind, and that it can be cut anywhere."""

import contextlib
import dataclasses
import json
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file

from proxy_attention.data.splits import draw_split
from proxy_attention.errors import CheckpointError, ConfigError, DivergedError
from proxy_attention.models.classifier import build_for
from proxy_attention.records import EpochRecord
from proxy_attention.schedule import has_stalled
from proxy_attention.training import new_state, train_epoch
from proxy_attention.trial import run_trial
from proxy_attention.trial_store import read_recipes
from proxy_attention.validation import CHOICES, check

MODELS = ["test_resnet", "test_efficientnet", "test_vit"]
TWO_STEPS = "2,p,1,p,1"
OF_PROXIES = (
    "item", "proxy_step", "step_skipped", "step_subset", "wrong_images", "made_images", "flat_maps", "proxy_images",
)  # fmt: skip


def weights(directory):
    return load_file(directory / "weights.safetensors")


def assert_equal_weights(one, other):
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert len(first) > 10
    assert all(torch.equal(first[name], second[name]) for name in first)


def checkpoint(directory, *, after):
    """The checkpoint of a trial that runs, once it is written."""
    written(directory, after)
    return torch.load(directory / "checkpoints" / f"epoch-{after:06d}.pt", weights_only=True)


def written(directory, epochs):
    """Wait until everything of so many epochs is written: it is, beside the next epoch's training."""
    while True:
        with contextlib.suppress(OSError):
            if len(json.loads((directory / "epochs.json").read_text())) == epochs:
                return
        time.sleep(0.005)


# ---- what a name may be


@pytest.mark.parametrize("field", CHOICES)
def test_every_name_of_every_table_passes(config, field):
    assert CHOICES[field]
    for name in CHOICES[field]:
        assert getattr(check(config(**{field: name})), field) == name


@pytest.mark.parametrize("field", CHOICES)
def test_an_unknown_name_is_answered_with_the_names_there_are(config, field):
    known = ", ".join(sorted(CHOICES[field])).replace("+", r"\+")

    with pytest.raises(ConfigError, match=f"^{field} must be one of {known}; got 'nonesuch'$"):
        check(config(**{field: "nonesuch"}))


def test_an_unknown_model_is_refused(config):
    with pytest.raises(ConfigError, match=r"model must be one of .* known names; got 'nonesuch'"):
        check(config(model="nonesuch"))


def test_a_trial_checks_names_before_it_trains(config, tiny):
    with pytest.raises(ConfigError, match="mask must be one of"):
        next(run_trial(config(mask="nonesuch"), tiny))


@pytest.mark.parametrize("field", ["precision", "threads"])
def test_a_trial_that_is_not_resolved_is_refused(config, tiny, field):
    with pytest.raises(ConfigError, match=f"{field} must be a plain value in a trial; got 'auto'"):
        next(run_trial(config(**{field: "auto"}), tiny))


def test_fp16_on_a_cpu_is_refused(config, tiny):
    with pytest.raises(ConfigError, match="precision must be fp32 or bf16 on a cpu; got 'fp16'"):
        next(run_trial(config(precision="fp16"), tiny))


# ---- the course of a trial


def test_a_trial_tells_every_epoch_and_ends_with_the_report(config, tiny):
    progress = list(run_trial(config(schedule="1,p,1"), tiny))

    assert [item.record.epoch for item in progress] == [0, 1, 2, 2]
    assert [item.record.item for item in progress] == [0, 1, 2, 2]
    assert [item.record.proxy_step for item in progress] == [False, True, False, False]
    assert [item.examples is not None for item in progress] == [False, True, False, False]
    assert [item.report is not None for item in progress] == [False, False, False, True]


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


def test_a_trial_is_a_pure_function_of_its_config_and_images(config, tiny, finish, metrics, tmp_path):
    trial = config(schedule="1,p,1", mask="random", replacement="noise")
    first, second = (finish(trial, tiny, tmp_path / name) for name in "ab")

    assert [metrics(record) for record in first[0]] == [metrics(record) for record in second[0]]
    assert metrics(first[1]) == metrics(second[1])
    assert_equal_weights(tmp_path / "a", tmp_path / "b")


def test_another_seed_is_another_trial(config, tiny, finish):
    losses = [finish(config(seed=seed), tiny)[0][0].train_loss for seed in (0, 1)]

    assert losses[0] != losses[1]


@pytest.mark.parametrize("model", MODELS)
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


# ---- steps that wait for a stall, and steps that choose fewer


def course(records):
    """What came after each epoch: P a step, s one that was skipped, a dot where none was planned."""
    return "".join("P" if record.proxy_step else "s" if record.step_skipped else "." for record in records)


AT_CHANCE = {"patience": 1, "lr": 1e-3, "weight": 0.9, "threshold": 0.2}
"""With these, the quick model's first epochs are all at chance, which is a stall, and then it learns."""

FROZEN = {"model": "test_vit", "lr": 1e-12}
"""With these, no epoch changes an answer: a trial has stalled as soon as it has had patience."""


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


# ---- what a trial may see


def outcome(trial, images, directory):
    """Everything that training, scoring, explaining and replacing decide: by epoch, and the final weights."""
    seen = []
    for progress in run_trial(trial, images, directory=directory):
        record = progress.record
        if progress.report is None:
            recipes = checkpoint(directory, after=record.epoch + 1)["recipes"]
            seen.append((
                record.train_loss, record.train_accuracy, record.wrong_images, record.made_images, record.flat_maps,
                record.proxy_images, [(recipe["ids"].tolist(), recipe["maps"].tolist()) for recipe in recipes],
                progress.examples and progress.examples.proxies.tolist(),
            ))  # fmt: skip
    return seen, {name: tensor.numpy().tobytes() for name, tensor in weights(directory).items()}


def unseen_replaced(images, trial):
    """The same data set by digest, with every val and test image replaced by noise."""
    split = draw_split(images.labels.numpy(), images.own_test.numpy(), dataclasses.replace(trial, split="fixed"))
    pixels = images.images.clone()
    for ids in (split.val, split.test):
        noise = torch.randint(0, 256, pixels[ids].shape, generator=torch.Generator().manual_seed(1))
        pixels[ids] = noise.to(torch.uint8)
    return dataclasses.replace(images, images=pixels)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"scope": "dataset", "replacement": "mean", "mask": "other"},
        {"scope": "batch", "replacement": "noise", "collect": "online", "substitute": "add", "compound": True},
        {"augment": "flip-rotate+puzzlemix", "collect": "online"},
    ],
    ids=["defaults", "dataset", "batch", "puzzlemix"],
)
def test_no_val_or_test_image_reaches_training_or_a_proxy(config, small, tmp_path, fields):
    trial = config(schedule=TWO_STEPS, threshold=0.3, weight=0.9, **fields)

    real = outcome(trial, small, tmp_path / "real")
    noisy = outcome(trial, unseen_replaced(small, trial), tmp_path / "noisy")

    assert [entry[3] > 0 for entry in real[0]] == [False, False, True, False, True, False]
    assert noisy == real


@pytest.mark.parametrize("split", ["redrawn", "merged"])
def test_that_check_sees_the_leak_of_an_audit_protocol(config, small, tmp_path, split):
    trial = config(schedule=TWO_STEPS, threshold=0.3, weight=0.9, split=split)

    real = outcome(trial, small, tmp_path / "real")
    noisy = outcome(trial, unseen_replaced(small, trial), tmp_path / "noisy")

    first_leak = {"redrawn": 2, "merged": 0}[split]
    assert noisy[0][:first_leak] == real[0][:first_leak]
    assert noisy[0][first_leak][0] != real[0][first_leak][0]
    assert noisy[1] != real[1]


def test_the_evaluation_does_look_at_val_and_test(config, small, finish):
    trial = config(schedule="4")

    (real, end), (noisy, noisy_end) = (finish(trial, images) for images in (small, unseen_replaced(small, trial)))

    assert noisy[-1].val_loss != real[-1].val_loss
    assert noisy_end.test_loss != end.test_loss
    assert noisy[-1].train_loss == real[-1].train_loss


def test_the_test_images_decide_nothing_of_an_epoch(config, small, finish, metrics):
    trial = config(schedule="1,p,1")
    other = dataclasses.replace(small, images=small.images.clone())
    other.images[small.own_test] = 0

    (real, end), (blind, blind_end) = (finish(trial, images) for images in (small, other))

    assert [metrics(record) for record in blind] == [metrics(record) for record in real]
    assert blind_end.test_loss != end.test_loss


# ---- cut and resumed


@pytest.fixture(scope="module")
def uninterrupted(config, small, tmp_path_factory):
    """Run trials once, with a copy of the directory as it lay after every epoch: (records, report, folder, copies)."""
    done = {}

    def run(**fields):
        key = tuple(sorted(fields.items()))
        if key not in done:
            folder = tmp_path_factory.mktemp("whole")
            records, copies = [], []
            for progress in run_trial(config(**fields), small, directory=folder / "trial"):
                if progress.report is None:
                    records.append(progress.record)
                    written(folder / "trial", len(records))
                    copies.append(shutil.copytree(folder / "trial", folder / f"after-{len(records)}"))
            done[key] = records, progress.report, folder / "trial", copies
        return done[key]

    return run


CUTS = [
    *[{"schedule": TWO_STEPS, "model": model} for model in MODELS],
    {"schedule": TWO_STEPS, "substitute": "add", "clear_every_step": False, "compound": True, "subset": 0.5},
    {"schedule": TWO_STEPS, "split": "redrawn", "collect": "online"},
    {"schedule": TWO_STEPS, "augment": "flip-rotate+snapmix", "substitute": "add", "collect": "online"},
    {"schedule": TWO_STEPS, "saliency": "gradient-shap", "mask": "untrained", "smoothing": 1.0, "subset": 0.3},
]


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("fields", CUTS, ids=lambda fields: "-".join(map(str, list(fields.values())[1:])))
def test_a_trial_cut_after_any_epoch_ends_as_if_it_had_not_been(
    config, small, finish, metrics, uninterrupted, tmp_path, fields, after
):
    records, report, whole, copies = uninterrupted(**fields)
    cut = shutil.copytree(copies[after - 1], tmp_path / "cut")
    assert [record.proxy_images > 0 for record in records][2:] == [True] * 4  # alive across the later cuts

    rest, again = finish(config(**fields), small, cut)

    assert [metrics(record) for record in rest] == [metrics(record) for record in records[after:]]
    assert metrics(again) == metrics(report)
    assert_equal_weights(cut, whole)
    told = [EpochRecord(**row) for row in json.loads((cut / "epochs.json").read_text())]
    assert [metrics(record) for record in told] == [metrics(record) for record in records]


WITH_SKIPPED = {
    ".P..s.": {**AT_CHANCE, "schedule": "1,p?,2,p?,1", "subset": 0.6, "subset_decay": 0.5},
    ".s.PPP": {**FROZEN, "schedule": "1,p?,1,p?,p?,p", "patience": 3, "subset": 0.6, "substitute": "add",
               "clear_every_step": False, "compound": True, "mask": "random"},
    ".s.Ps.": {**FROZEN, "schedule": "1,p?,1,p?,p?,1", "patience": 1, "split": "redrawn", "collect": "online",
               "clear_every_step": False},
}  # fmt: skip


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("steps", WITH_SKIPPED)
def test_a_trial_with_skipped_steps_cut_after_any_epoch_ends_as_if_it_had_not_been(
    config, small, finish, metrics, uninterrupted, tmp_path, steps, after
):
    fields = WITH_SKIPPED[steps]
    records, report, whole, copies = uninterrupted(**fields)
    cut = shutil.copytree(copies[after - 1], tmp_path / "cut")
    assert course(records) == steps

    rest, again = finish(config(**fields), small, cut)

    assert [metrics(record) for record in rest] == [metrics(record) for record in records[after:]]
    assert metrics(again) == metrics(report)
    assert_equal_weights(cut, whole)
    pairs = list(zip(read_recipes(cut), read_recipes(whole), strict=True))
    assert len(pairs) == steps.count("P")
    assert all(torch.equal(one.ids, other.ids) and torch.equal(one.maps, other.maps) for one, other in pairs)


def test_an_abandoned_trial_goes_on_in_its_own_directory(config, small, finish, metrics, uninterrupted, tmp_path):
    fields = {"schedule": TWO_STEPS, "model": "test_efficientnet"}
    _, report, _, _ = uninterrupted(**fields)

    running = run_trial(config(**fields), small, directory=tmp_path)
    for _ in range(4):
        next(running)
    running.close()
    torch.rand(100)
    rest, again = finish(config(**fields), small, tmp_path)

    assert [record.epoch for record in rest] == [4, 5]
    assert metrics(again) == metrics(report)
    assert again.wall_seconds > again.train_seconds  # the seconds before the cut are in it


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b""])
def test_a_truncated_checkpoint_costs_one_epoch_and_nothing_else(
    config, small, finish, metrics, uninterrupted, tmp_path, damage
):
    fields = {"schedule": TWO_STEPS, "model": "test_efficientnet"}
    _, report, whole, copies = uninterrupted(**fields)
    cut = shutil.copytree(copies[3], tmp_path / "cut")
    newest = max((cut / "checkpoints").iterdir())
    newest.write_bytes(damage(newest.read_bytes()))

    rest, again = finish(config(**fields), small, cut)

    assert [record.epoch for record in rest] == [3, 4, 5]
    assert metrics(again) == metrics(report)
    assert_equal_weights(cut, whole)


def test_a_checkpoint_of_another_format_costs_its_epochs_and_nothing_else(
    config, small, finish, metrics, uninterrupted, tmp_path
):
    fields = {"schedule": TWO_STEPS, "model": "test_efficientnet"}
    _, report, _, copies = uninterrupted(**fields)
    cut = shutil.copytree(copies[3], tmp_path / "cut")
    for file in (cut / "checkpoints").iterdir():
        torch.save({**torch.load(file, weights_only=True), "format": 1}, file)

    rest, again = finish(config(**fields), small, cut)

    assert [record.epoch for record in rest] == [0, 1, 2, 3, 4, 5]
    assert metrics(again) == metrics(report)


def test_a_checkpoint_of_another_trial_is_refused(config, small, uninterrupted, tmp_path):
    fields = {"schedule": TWO_STEPS, "model": "test_efficientnet"}
    cut = shutil.copytree(uninterrupted(**fields)[3][2], tmp_path / "cut")

    with pytest.raises(CheckpointError, match="belongs to another trial"):
        next(run_trial(config(**fields, lr=1e-3), small, directory=cut))


def test_a_checkpoint_of_other_images_is_refused(config, small, uninterrupted, tmp_path):
    fields = {"schedule": TWO_STEPS, "model": "test_efficientnet"}
    cut = shutil.copytree(uninterrupted(**fields)[3][2], tmp_path / "cut")

    with pytest.raises(CheckpointError, match="belongs to another trial"):
        next(run_trial(config(**fields), dataclasses.replace(small, digest="other"), directory=cut))


def test_the_newest_two_checkpoints_are_kept_and_none_after_the_end(uninterrupted):
    _, _, whole, copies = uninterrupted(schedule=TWO_STEPS, model="test_efficientnet")

    kept = [sorted(path.name for path in (copy / "checkpoints").iterdir()) for copy in copies]
    assert kept[0] == ["epoch-000001.pt"]
    assert kept[1:] == [[f"epoch-{n - 1:06d}.pt", f"epoch-{n:06d}.pt"] for n in range(2, 7)]
    assert sorted(path.name for path in whole.iterdir()) == [
        "epochs.json", "recipes.safetensors", "report.json", "weights.safetensors",
    ]  # fmt: skip


def test_the_report_on_disk_says_which_trial_it_is_of(config, small, uninterrupted):
    fields = {"schedule": TWO_STEPS, "model": "test_efficientnet"}
    _, report, whole, copies = uninterrupted(**fields)

    told = json.loads((whole / "report.json").read_text())

    assert told["identity"] == config(**fields).digest(data=small.digest, weights=None)
    assert told["test_accuracy"] == report.test_accuracy
    assert not any((copy / "report.json").exists() for copy in copies)


# ---- at the edges


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


def test_bf16_runs_a_whole_trial(config, tiny, finish):
    records, report = finish(config(schedule="1,p,1", precision="bf16"), tiny)

    assert records[1].made_images > 0
    assert report.epochs_done == 3


def test_a_learning_rate_beyond_reason_ends_in_an_error_that_says_so(config, tiny, finish):
    with pytest.raises(DivergedError, match="try a smaller lr"):
        finish(config(schedule="6", lr=1e30), tiny)


def test_skipped_images_are_counted_in_the_report(config, tiny, finish):
    _, report = finish(config(schedule="1"), dataclasses.replace(tiny, skipped=("a.png", "b.png")))

    assert report.skipped_images == 2


def test_the_redrawn_audit_changes_what_is_trained_on_and_not_how_much(config, small, finish):
    fixed, end = finish(config(schedule="2,1,1"), small)
    redrawn, leaking = finish(config(schedule="2,1,1", split="redrawn"), small)

    assert [r.train_images for r in redrawn] == [r.train_images for r in fixed]
    assert [a.train_loss == b.train_loss for a, b in zip(fixed, redrawn, strict=True)] == [True, True, False, False]
    assert leaking.split_digest == end.split_digest
    assert leaking.test_images == end.test_images
