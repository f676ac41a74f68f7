"""A classifier under captum: as many images at once as fit, everything put back afterwards."""

import numpy as np
import pytest
import torch
from saliency_models import batch as images_of
from saliency_models import changed, few_draws, forget, model_of, state_of
from saliency_toys import linear_model, one_hot, signed
from torch import nn

from proxy_attention.saliency import captum_adapter, gradients
from proxy_attention.saliency.attributions import ATTRIBUTIONS
from proxy_attention.saliency.captum_adapter import (
    ScoreModule,
    attribute_in_batches,
    attribute_one_by_one,
    images_at_once,
    parts,
    prepared_for_captum,
    seeded,
)
from proxy_attention.saliency.interface import SaliencyInput

pytestmark = pytest.mark.filterwarnings("ignore:\\s*Setting (forward|backward).*hooks:UserWarning")


COUNT = 2


@pytest.fixture(scope="module", autouse=True)
def frugal():
    with few_draws():
        yield
    forget()


def batch(size=32):
    return images_of(size, COUNT)


def inputs_of(count, size=8):
    model, images, _ = linear_model()
    images = torch.rand(count, 3, size, size, dtype=torch.float64)
    return SaliencyInput(model, images, torch.eye(2)[torch.arange(count) % 2], list(range(10, 10 + count)))


def test_a_score_module_gives_the_explained_score_of_each_image():
    model, images, weight = linear_model()

    score = ScoreModule(model)(images, torch.tensor([[1.0, 0.0], [1.0, -1.0]]))

    logits = (weight[None] * images[:, None]).sum((2, 3, 4)) + model.module[1].bias
    torch.testing.assert_close(score, torch.stack([logits[0, 0], logits[1, 0] - logits[1, 1]]))


def test_activations_in_place_and_gradients_of_weights_are_switched_off_and_restored():
    model = linear_model()[0]
    model.module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True))

    with prepared_for_captum(model):
        assert not model.module[1].inplace
        assert not any(parameter.requires_grad for parameter in model.module.parameters())
        model.module[0].left_behind = True
        model.module[1].register_forward_hook(lambda *args: None)

    assert model.module[1].inplace
    assert all(parameter.requires_grad for parameter in model.module.parameters())
    assert not hasattr(model.module[0], "left_behind")
    assert not model.module[1]._forward_hooks


def test_as_many_images_at_once_as_pixels_fit_and_at_least_one(monkeypatch):
    monkeypatch.setattr(captum_adapter, "CHUNK_PIXELS", 5 * 64)
    inputs = inputs_of(7)

    assert [images_at_once(inputs, copies=copies) for copies in (1, 2, 5, 9)] == [5, 2, 1, 1]
    assert [len(part.images) for part in parts(inputs, 5)] == [5, 2]
    assert [part.seeds for part in parts(inputs, 5)] == [[10, 11, 12, 13, 14], [15, 16]]
    assert all(part.images.is_leaf and part.images.requires_grad for part in parts(inputs, 5))


def test_images_are_attributed_in_batches_or_one_by_one_under_their_seeds(monkeypatch):
    monkeypatch.setattr(captum_adapter, "CHUNK_PIXELS", 2 * 64)
    inputs, sizes = inputs_of(3), []

    def draw(forward, part):
        sizes.append(len(part.images))
        return torch.rand(len(part.images), 1, 8, 8)

    attribute_in_batches(inputs, draw)
    alone = attribute_one_by_one(inputs, draw)

    assert sizes == [2, 1, 1, 1, 1]
    drawn = [torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in inputs.seeds]
    assert torch.equal(alone, torch.cat(drawn))


def test_a_seed_holds_within_and_the_streams_go_on_afterwards():
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = torch.rand(2), np.random.rand(2)  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002

    found = []
    for _ in range(2):
        with seeded(2**40 + 3, torch.device("cpu")):
            found.append((torch.rand(1).item(), np.random.rand()))  # noqa: NPY002

    assert found[0] == found[1]
    assert torch.equal(torch.rand(2), expected[0])
    assert np.array_equal(np.random.rand(2), expected[1])  # noqa: NPY002


@pytest.mark.parametrize("saliency", ATTRIBUTIONS)
def test_an_error_within_leaves_everything_as_it_was(saliency):
    model, (images, true) = model_of("test_resnet"), batch()

    def fail(module, args):
        raise RuntimeError("no more")

    handle = model.module.fc.register_forward_pre_hook(fail)
    try:
        before = state_of(model, images)
        with pytest.raises(RuntimeError, match="no more"):
            signed(model, saliency, images, one_hot(true, images))
        assert changed(before, state_of(model, images)) == []
    finally:
        handle.remove()


@pytest.mark.parametrize("saliency", [s for s in ATTRIBUTIONS if "/" not in s])
def test_a_row_takes_the_passes_that_it_states_and_no_more_memory_in_small_chunks(saliency, monkeypatch):
    """Images are counted at the first layer; chunks of five images change neither the answer nor its price."""
    model, (images, true) = model_of("test_resnet"), batch()
    whole = signed(model, saliency, images, one_hot(true, images))
    counted, largest = [], []

    def count(module, args, output):
        largest.append(len(output))
        counted.append(len(output))
        if output.requires_grad:
            output.register_hook(lambda gradient: counted.append(len(gradient)))

    monkeypatch.setattr(captum_adapter, "CHUNK_PIXELS", 5 * 32**2)
    monkeypatch.setattr(gradients, "CHUNK_PIXELS", 5 * 32**2)
    handle = model.module.conv1.register_forward_hook(count)
    try:
        found = signed(model, saliency, images, one_hot(true, images))
    finally:
        handle.remove()

    assert sum(counted) == COUNT * ATTRIBUTIONS[saliency].passes(model, 32)
    assert max(largest) <= 5
    if saliency != "gradient-shap":  # its draws come in the chunks' order
        torch.testing.assert_close(found, whole, atol=1e-5 * whole.abs().amax().item(), rtol=1e-4)
