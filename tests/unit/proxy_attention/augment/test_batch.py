"""A batch under mixed labels: its loss, what is right of it, and rows that mix."""

import pytest
import torch
from mixing_batches import CLASSES
from timm.data.mixup import mixup_target

from proxy_attention.augment.batch import Batch, Task, mixed_labels, of_images, per_image, with_partner


def test_of_mixed_labels_loss_and_accuracy_are_the_sum_over_their_classes():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    labels = torch.tensor([0, 1])
    mixed = torch.tensor([[0.7, 0.0, 0.3], [0.0, 0.5, 0.75]])  # the second, of more than one image's worth
    logs = logits.log_softmax(1)

    batch = Batch(torch.zeros(2, 3, 4, 4), labels, mixed)

    expected = [-(0.7 * logs[0, 0] + 0.3 * logs[0, 2]), -(0.5 * logs[1, 1] + 0.75 * logs[1, 2])]
    torch.testing.assert_close(batch.loss(logits), torch.stack(expected))
    assert batch.right(torch.tensor([0, 0])).tolist() == pytest.approx([0.7, 0.0])
    assert batch.right(torch.tensor([2, 2])).tolist() == pytest.approx([0.3, 0.75])


def test_of_a_class_that_an_image_shows_twice_it_is_one_image_and_no_more():
    mixed = torch.tensor([[0.9, 0.9], [1.4, 0.0]])
    batch = Batch(torch.zeros(2, 3, 4, 4), torch.tensor([0, 0]), mixed)

    assert batch.right(torch.tensor([0, 0])).tolist() == pytest.approx([0.9, 1.0])


def test_of_whole_labels_loss_and_accuracy_are_the_usual_ones():
    logits = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    batch = Batch(torch.zeros(2, 3, 4, 4), torch.tensor([0, 0]))

    torch.testing.assert_close(batch.loss(logits), -logits.log_softmax(1)[:, 0])
    assert batch.right(logits.argmax(1)).tolist() == [1.0, 0.0]


def test_timms_target_is_the_mixed_label_of_a_part():
    labels, part = torch.tensor([0, 3, 3]), torch.tensor([0.25, 1.0, 0.7])

    found = mixed_labels(labels, torch.tensor([2, 1, 0]), part, classes=CLASSES)

    assert torch.equal(found, mixup_target(labels, CLASSES, part[:, None]))
    assert found[0].tolist() == [0.25, 0, 0, 0.75, 0]


def test_with_a_partner_a_batch_has_other_images_and_mixed_labels_and_keeps_its_own():
    batch = Batch(torch.zeros(2, 3, 4, 4), torch.tensor([0, 2]))
    partner, part = torch.tensor([1, 0]), torch.tensor([0.75, 1.0])

    out = with_partner(batch, torch.ones(2, 3, 4, 4), partner, part, Task(torch.ones(3), saliency=None))

    assert torch.equal(out.images, torch.ones(2, 3, 4, 4))
    assert out.mixed.tolist() == [[0.75, 0.0, 0.25], [0.0, 0.0, 1.0]]
    assert torch.equal(out.labels, batch.labels)


def test_a_row_of_images_changes_each_by_its_draws_and_no_label():
    row = of_images(lambda images, draws: images + draws[:, :1, None, None], columns=1, what="brighter", source="ours")
    batch = Batch(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]))

    out = row.apply(batch, torch.tensor([[0.25], [0.5]]), None)

    assert out.images[:, 0, 0, 0].tolist() == [0.25, 0.5]
    assert out.labels is batch.labels
    assert (out.mixed, row.mixes, row.columns) == (None, False, 1)


def test_a_row_that_mixes_leaves_a_lone_image_as_it_is():
    row = per_image(lambda batch, draws, task: batch.with_images(batch.images + 1), columns=0, what="", source="")
    batch = Batch(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]))
    alone = Batch(batch.images[:1], batch.labels[:1])

    assert row.mixes
    assert row.apply(alone, torch.empty(1, 0), None) is alone
    assert torch.equal(row.apply(batch, torch.empty(2, 0), None).images, batch.images + 1)
