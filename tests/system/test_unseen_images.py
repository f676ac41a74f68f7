"""No val or test image reaches the training of a whole trial; the audit protocols' leaks are seen."""

import dataclasses

import pytest
import torch
from trial_files import TWO_STEPS, checkpoint, weights

from proxy_attention.data.splits import draw_split
from proxy_attention.trial import run_trial


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
        pytest.param(
            {"scope": "batch", "replacement": "noise", "collect": "online", "substitute": "add", "compound": True},
            marks=pytest.mark.slow,
        ),
        pytest.param({"augment": "flip-rotate+puzzlemix", "collect": "online"}, marks=pytest.mark.slow),
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
