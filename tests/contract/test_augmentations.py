"""What holds for every augmentation, alone and joined with others; what each of them does is tested beside it."""

import copy
from dataclasses import dataclass

import pytest
import torch

from proxy_attention.augment.batch import Batch, Task
from proxy_attention.augment.blending import BLENDING
from proxy_attention.augment.pasting import PASTING
from proxy_attention.augment.registry import AUGMENTATIONS
from proxy_attention.models.classifier import as_float
from proxy_attention.seeds import derive_seed
from proxy_attention.training import ModelSaliency, new_state, train_epoch

CLASSES, SIZE = 10, 32
MIXING = [name for name, row in AUGMENTATIONS.items() if row.mixes]
ROWS = {**BLENDING, **PASTING}
ALONE = [name for name, row in AUGMENTATIONS.items() if not row.mixes]


@pytest.fixture(scope="module")
def task(sample, trained):
    counts = torch.bincount(sample.labels, minlength=CLASSES)
    return Task(counts, ModelSaliency(trained, "fp32"))


@pytest.fixture(scope="module")
def batch(sample):
    ids = torch.arange(0, 3000, 190)
    return Batch(sample.images[ids].float() / 255, sample.labels[ids])


@dataclass(frozen=True)
class Maps:
    """Answers that are known beforehand, one an image."""

    maps: torch.Tensor

    def class_maps(self, images, labels):
        return self.maps


def draws_for(row, count, seed=1):
    return torch.rand(count, row.columns, generator=torch.Generator().manual_seed(seed))


def test_there_are_augmentations_that_mix_and_some_that_do_not():
    assert "flip-rotate" in ALONE
    assert len(AUGMENTATIONS) >= 2


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_says_what_it_is_and_where_it_comes_from(name):
    row = AUGMENTATIONS[name]

    assert row.what
    assert row.source
    assert row.what == row.what.strip().rstrip(".")
    assert "+" not in name


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("count", [16, 3, 1])
def test_every_augmentation_keeps_shape_and_range_and_writes_to_nothing_it_is_given(name, count, batch, task):
    row = AUGMENTATIONS[name]
    given = Batch(batch.images[:count].clone(), batch.labels[:count].clone())
    draws = draws_for(row, count)
    before = given.images.clone(), given.labels.clone(), draws.clone(), torch.random.get_rng_state()
    weights = copy.deepcopy(task.saliency.model.module.state_dict())

    out = row.apply(given, draws, task)

    assert out.images.shape == given.images.shape
    assert out.images.dtype == torch.float32
    assert out.images.min() >= 0
    assert out.images.max() <= 1 + 1e-6
    assert torch.equal(out.labels, before[1])  # of the slot, whatever was mixed in
    assert torch.equal(given.images, before[0])
    assert torch.equal(draws, before[2])
    assert torch.equal(torch.random.get_rng_state(), before[3])
    assert all(torch.equal(value, weights[key]) for key, value in task.saliency.model.module.state_dict().items())
    assert not out.images.requires_grad


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_is_a_function_of_its_draws(name, batch, task):
    row = AUGMENTATIONS[name]
    draws = draws_for(row, len(batch))

    torch.manual_seed(0)
    one = row.apply(batch, draws, task)
    torch.manual_seed(1)
    other = row.apply(batch, draws, task)

    assert torch.equal(one.images, other.images)
    assert (one.mixed is None) == (other.mixed is None)
    assert one.mixed is None or torch.equal(one.mixed, other.mixed)


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "none"])
def test_every_augmentation_changes_images_and_with_other_draws_otherwise(name, batch, task):
    row = AUGMENTATIONS[name]
    found = [row.apply(batch, draws_for(row, len(batch), seed), task).images for seed in (1, 2)]

    assert not torch.equal(found[0], batch.images)
    assert not torch.equal(*found)


@pytest.mark.parametrize("name", ALONE)
def test_what_does_not_mix_needs_no_batch_and_leaves_labels_whole(name, batch, task):
    row = AUGMENTATIONS[name]
    draws = draws_for(row, len(batch))

    out = row.apply(batch, draws, task)

    assert out.mixed is None
    one_by_one = [
        row.apply(Batch(batch.images[i : i + 1], batch.labels[i : i + 1]), draws[i : i + 1], task).images
        for i in range(len(batch))
    ]
    torch.testing.assert_close(out.images, torch.cat(one_by_one), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MIXING)
def test_what_mixes_names_only_classes_of_the_batch_and_no_negative_part(name, batch, task):
    row = AUGMENTATIONS[name]

    out = row.apply(batch, draws_for(row, len(batch)), task)

    if out.mixed is None:
        return  # images alone are mixed
    assert out.mixed.shape == (len(batch), CLASSES)
    assert out.mixed.dtype == torch.float32
    assert out.mixed.min() >= 0
    assert out.mixed.sum(1).max() <= 2 + 1e-5
    assert (out.mixed.sum(1) > 0).all()
    absent = sorted(set(range(CLASSES)) - set(batch.labels.tolist()))
    assert not out.mixed[:, absent].any()


@pytest.mark.parametrize("name", ["cutmix", "cowmask", "resizemix", "ricap", "saliencymix", "attentive-cutmix"])
@pytest.mark.parametrize("size", [32, 28, 45])
def test_a_label_counts_the_pixels_that_are_really_seen(name, size, task):
    row = AUGMENTATIONS[name]
    images = (torch.arange(CLASSES) / 16)[:, None, None, None].expand(-1, 3, size, size)  # each of its own number
    looks = Maps(torch.rand(CLASSES, 4, 4, generator=torch.Generator().manual_seed(0)))

    for seed in range(5):
        given = Batch(images, torch.arange(CLASSES))
        out = row.apply(given, draws_for(row, CLASSES, seed), Task(task.class_counts, looks))

        seen = [((out.images[:, 0] * 16).round() == image).float().mean((1, 2)) for image in range(CLASSES)]
        torch.testing.assert_close(out.mixed, torch.stack(seen, dim=1), atol=1e-6, rtol=0)
        assert not torch.equal(out.images, images)


@pytest.mark.parametrize("name", MIXING)
def test_a_batch_of_one_class_stays_of_that_class(name, batch, task):
    row = AUGMENTATIONS[name]
    same = Batch(batch.images, torch.full_like(batch.labels, 3))

    out = row.apply(same, draws_for(row, len(batch)), task)

    if out.mixed is not None:
        assert not out.mixed[:, [0, 1, 2, 4, 5, 6, 7, 8, 9]].any()


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("shape", [(16, 16), (17, 30), (64, 16)])
def test_any_size_of_image_is_mixed_and_its_label_is_one_image_worth(name, shape):
    row = ROWS[name]
    given = Batch(
        torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))[:, :, : shape[0], : shape[1]],
        torch.arange(6) % CLASSES,
    )

    for extreme in (draws_for(row, 6), torch.zeros(6, row.columns), torch.full((6, row.columns), 1 - 2.0**-24)):
        out = row.apply(given, extreme, Task(torch.full((CLASSES,), 10), saliency=None))

        assert out.images.shape == given.images.shape
        assert out.images.isfinite().all()
        assert 0 <= out.images.min() <= out.images.max() <= 1 + 1e-6
        assert out.mixed is None or torch.allclose(out.mixed.sum(1), torch.ones(6))


@pytest.mark.parametrize(
    ("name", "own"), [("mixup", 0.5), ("resizemix", 1 - (0.8**3 - 0.1**3) / 3 / 0.7), ("ricap", 0.25)]
)
def test_over_many_images_the_own_part_of_a_label_is_that_of_the_paper(name, own):
    row, count = ROWS[name], 1000
    given = Batch(torch.zeros(1, 3, 64, 64).expand(count, -1, -1, -1), torch.arange(count))

    out = row.apply(given, draws_for(row, count), Task(torch.ones(count), saliency=None))

    assert abs(out.mixed.diagonal().mean() - own) < 0.02


@pytest.mark.parametrize(
    ("name", "freeze_trunk"),
    [*((name, False) for name in AUGMENTATIONS), *((name, True) for name, row in AUGMENTATIONS.items() if row.passes)],
)
def test_a_model_trains_under_every_augmentation(name, freeze_trunk, config, tiny, training_set_of, trained):
    trial = config(augment=name, schedule="2", freeze_trunk=freeze_trunk)
    given = training_set_of(trial, tiny)
    totals = []
    for drawn in (0, 100):  # the same whatever was drawn before
        torch.rand(drawn)
        state = new_state(copy.deepcopy(trained), trial, images=len(given), device=torch.device("cpu"))
        totals.append(train_epoch(state, given, trial, epoch=0))

    assert torch.isfinite(totals[0].losses).all()
    assert totals[0].correct.min() >= 0
    assert torch.equal(totals[0].losses, totals[1].losses)
    assert torch.equal(totals[0].correct, totals[1].correct)


@pytest.mark.parametrize("name", ["mixup", "snapmix"])
def test_an_epoch_trains_on_and_tells_of_its_mixed_labels(name, config, tiny, training_set_of, trained):
    trial = config(augment=name, schedule="2", batch_size=1000)
    given, row = training_set_of(trial, tiny), AUGMENTATIONS[name]
    state = new_state(copy.deepcopy(trained), trial, images=len(given), device=torch.device("cpu"))
    totals = train_epoch(state, given, trial, epoch=0)

    model = copy.deepcopy(trained)
    order = given.epoch_order(trial.seed, 0)
    draws = given.augmentation_table(row.columns, trial.seed, 0)[order]
    images, labels = given.slots(order)
    counts = torch.bincount(given.labels_of(given.train), minlength=CLASSES)
    mixed = row.apply(Batch(as_float(images), labels), draws, Task(counts, ModelSaliency(model, "fp32")))
    model.module.train()
    torch.manual_seed(derive_seed(trial.seed, "layers", 0))
    logits = model(mixed.images).detach()

    torch.testing.assert_close(totals.losses[order], mixed.loss(logits))
    torch.testing.assert_close(totals.correct[order], mixed.right(logits.argmax(dim=1)))
    assert ((totals.correct > 0) & (totals.correct < 1)).sum() > 5


def test_the_model_is_asked_as_it_is_and_left_as_it_was(batch, trained):
    model = copy.deepcopy(trained)
    model.module.train()
    before = copy.deepcopy(model.module.state_dict())

    saliency = ModelSaliency(model, "fp32")
    maps, gradients = saliency.class_maps(batch.images, batch.labels), saliency.gradients(batch.images, batch.labels)

    assert maps.shape == (len(batch), *model.grid)
    assert gradients.shape == (len(batch), SIZE, SIZE)
    assert maps.min() >= 0
    assert not gradients.requires_grad
    assert all(module.training for module in model.module.modules())
    assert all(parameter.grad is None for parameter in model.module.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.module.state_dict().items())
    model.module.eval()
    asked = batch.images.clone().requires_grad_()
    torch.nn.functional.cross_entropy(model(asked), batch.labels, reduction="sum").backward()
    torch.testing.assert_close(gradients, asked.grad.norm(dim=1))
