"""Rollouts: by hand, against attention computed from the weights themselves, and on which models they stand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from proxy_attention.models.build import build
from proxy_attention.saliency.attention import ROLLOUTS
from proxy_attention.saliency.maps import low_resolution_maps, scale
from proxy_attention.saliency.registry import check_method

VITS = ["test_vit", "vit_tiny_patch16_224"]
CLASSES, COUNT, SIZE = 5, 4, 32
_built = {}


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    yield
    _built.clear()


def model_of(name, size=SIZE):
    """A model in eval mode whose attention is uneven: random weights alone attend to everything alike."""
    if name not in _built:
        model = build(name, classes=CLASSES, image_size=size, weights="none", seed=1)
        draws = torch.Generator().manual_seed(7)
        for module in model.module.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.15, generator=draws)
        model.module.eval()
        _built[name] = model
    return _built[name]


def images_of(count=COUNT):
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


def explain(model, images, true, saliency, of="true"):
    return low_resolution_maps(model, images, predicted=(true + 1) % CLASSES, true=true, saliency=saliency, explain=of)


def attention_by_hand(model, images):
    """Logits and the attention (N, heads, T, T) of each block, computed from the inputs and weights of its layers."""
    taken = []

    def take(module, args, output):
        tokens = args[0]
        count, length, width = tokens.shape
        qkv = F.linear(tokens, module.qkv.weight, module.qkv.bias)
        q, k, _ = qkv.view(count, length, 3, module.num_heads, width // module.num_heads).permute(2, 0, 3, 1, 4)
        taken.append((module.q_norm(q) @ module.k_norm(k).transpose(2, 3) * module.scale).softmax(dim=-1))

    handles = [block.attn.register_forward_hook(take) for block in model.module.blocks]
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return taken


@pytest.mark.parametrize("name", VITS)
def test_rollout_is_the_product_of_the_blocks_attention(name):
    model, images = model_of(name), images_of()
    true = torch.zeros(COUNT, dtype=torch.int64)
    expected = torch.eye(1 + model.grid[0] * model.grid[1])[None]
    for attention in attention_by_hand(model, images):
        expected = (attention.mean(1) / 2 + torch.eye(expected.shape[1])[None] / 2) @ expected

    found = explain(model, images, true, "attention-rollout")

    torch.testing.assert_close(found.flatten(1), expected[:, 0, 1:], atol=1e-6, rtol=1e-4)
    assert not scale(found)[1].any()


def test_a_rollout_of_one_block_by_hand():
    """Each token keeps half of itself: what the class token gets of a patch is half of what it attends to it."""
    model = model_of("test_vit")
    blocks = model.module.blocks
    images, true = images_of(1), torch.zeros(1, dtype=torch.int64)
    attention = attention_by_hand(model, images)[0]
    model.module.blocks = blocks[:1]
    try:
        found = explain(model, images, true, "attention-rollout")
    finally:
        model.module.blocks = blocks

    torch.testing.assert_close(found.flatten(1), attention.mean(1)[:, 0, 1:] / 2, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", VITS)
@pytest.mark.parametrize("of", ["true", "predicted", "contrast"])
def test_gradient_rollout_is_its_formula_with_the_gradients_of_probes(name, of):
    model, images = model_of(name), images_of(1)
    true = torch.tensor([2])
    found = explain(model, images, true, "gradient-rollout", of)

    expected = expected_gradient_rollout(model, images, {"true": (0, 1), "predicted": (1, 0), "contrast": (1, -1)}[of])

    torch.testing.assert_close(scale(found)[0].flatten(1), min_max(expected), atol=1e-5, rtol=0)
    assert not scale(found)[1].any()


def min_max(values):
    return (values - values.min()) / (values.max() - values.min())


def expected_gradient_rollout(model, images, weights):
    """Chefer's recursion on attention whose gradient autograd gives by a probe that is added to it."""
    probes, taken = [], []
    layers = [block.attn for block in model.module.blocks]

    def add_probe(module, args, output):
        probe = torch.zeros_like(output, requires_grad=True)
        probes.append(probe)
        taken.append(output.detach())
        return output + probe

    handles = [layer.attn_drop.register_forward_hook(add_probe) for layer in layers]
    for layer in layers:
        layer.fused_attn = False
    logits = model(images)
    for layer, handle in zip(layers, handles, strict=True):
        layer.fused_attn = True
        handle.remove()
    predicted, true = weights
    score = (predicted * logits[:, 3] + true * logits[:, 2]).sum()
    gradients = torch.autograd.grad(score, probes)
    rolled = torch.eye(taken[0].shape[-1])[None]
    for attention, gradient in zip(taken, gradients, strict=True):
        rolled = rolled + (attention * gradient).clamp(min=0).mean(1) @ rolled
    return rolled[:, 0, 1:]


def test_rollout_knows_no_class_and_gradient_rollout_does():
    model, images = model_of("test_vit"), images_of()
    zeros = torch.zeros(COUNT, dtype=torch.int64)

    assert torch.equal(*(explain(model, images, true, "attention-rollout") for true in (zeros, zeros + 2)))
    assert not torch.equal(*(explain(model, images, true, "gradient-rollout") for true in (zeros, zeros + 2)))


def test_an_error_within_leaves_attention_fused():
    model = model_of("test_vit")
    with pytest.raises(RuntimeError):
        explain(model, torch.zeros(1, 4, SIZE, SIZE), torch.zeros(1, dtype=torch.int64), "attention-rollout")

    assert all(block.attn.fused_attn and not block.attn.attn_drop._forward_hooks for block in model.module.blocks)


@pytest.mark.parametrize("saliency", ROLLOUTS)
def test_a_transformer_is_accepted_and_asking_leaves_it_in_its_mode(saliency):
    model = model_of("test_vit")
    model.module.train()
    model.module.blocks[0].eval()
    try:
        check_method(saliency, model, name="test_vit")
        assert model.module.training
        assert [block.training for block in model.module.blocks][:2] == [False, True]
    finally:
        model.module.eval()
