"""The passes that every saliency method states are the passes that it takes."""

from contextlib import nullcontext

import pytest
from saliency_models import (
    SEEDS,
    SMALLEST,
    admitted,
    batch,
    explain,
    few_draws,
    forget,
    model_of,
    slow_unless,
    smallest_for,
)
from torch import nn

from proxy_attention.saliency.registry import METHODS

pytestmark = pytest.mark.filterwarnings("ignore:Setting (forward|backward).*hooks:UserWarning")

IN_FULL = ("test_efficientnet", 32)
"""The fastest model: on it all steps, samples and masks are counted. On the others, methods take a few."""

PAIRS = [
    slow_unless(model == smallest_for(saliency), *model, saliency)
    for saliency in METHODS
    for model in (*SMALLEST, IN_FULL)
    if admitted(model[0], saliency, model[1])
]


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    yield
    forget()


class Passes:
    """Counts images that pass the first layer that sees pixels, and those whose gradients come back to the first block.

    That is nearly all the way: a method asks for the gradient of pixels, or of the first attention.
    """

    def __init__(self, model) -> None:
        self.images = 0
        first = next(module for module in model.module.modules() if isinstance(module, nn.Conv2d))
        assert first.in_channels == 3
        back = model.module.blocks[0] if hasattr(model.module, "patch_embed") else first
        self.handles = [first.register_forward_hook(self._count), back.register_forward_hook(self._watch)]

    def _count(self, module, args, output) -> None:
        self.images += len(args[0])

    def _watch(self, module, args, output) -> None:
        if output.requires_grad:
            output.register_hook(self._count_back)

    def _count_back(self, gradient) -> None:
        self.images += len(gradient)

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()


@pytest.mark.parametrize(("name", "size", "saliency"), PAIRS)
def test_a_method_takes_the_passes_that_it_states(name, size, saliency):
    model = model_of(name, size)
    images, true = batch(size, count=1 if (name, size) == IN_FULL else 2)
    with nullcontext() if (name, size) == IN_FULL else few_draws():
        expected = METHODS[saliency].passes(model, size)
        counter = Passes(model)
        try:
            explain(model, images, true, saliency=saliency, seeds=SEEDS[: len(images)])
        finally:
            counter.close()

    assert counter.images == len(images) * expected


def test_every_method_is_counted_whenever_tests_run():
    assert {pair.values[2] for pair in PAIRS if not pair.marks} == set(METHODS)
