"""What every method of explanation costs: one-pass methods against a forward pass, the others by counted passes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from experiments.speed import rivals
from experiments.speed.measure import THE_TIME, Effort, Row, Section, Target, again, race
from experiments.speed.proxy_speed import Bench, Size, bench
from proxy_attention.saliency.maps import low_resolution_maps
from proxy_attention.saliency.registry import METHODS

SIZES = (Size("resnet18", 64, 64, 64, 3, 8), Size("vit_tiny_patch16_224", 64, 64, 64, 3, 8))
TINY = (Size("test_resnet", 32, 20, 4, 1, 2), Size("test_vit", 32, 20, 4, 1, 2))
LONGEST = 512
"""Passes that a batch of an expensive method may take in a round: such a method is measured on fewer images."""

MOST = 1.25
"""Times a forward pass that a method of one pass may take."""


def methods(effort: Effort) -> list[Section]:
    """Every row of the table of methods, on the first model that can be explained by it."""
    one_pass: list[Row] = []
    more: list[Row] = []
    seen: set[str] = set()
    for size in TINY if effort.tiny else SIZES:
        with bench(size, effort) as ready:
            able = [name for name in METHODS if name not in seen and METHODS[name].lacks(ready.classifier) is None]
            cheap = [name for name in able if _passes(ready, name) == 1]
            one_pass += single(ready, cheap)
            more += [several(ready, name) for name in able if name not in cheap]
            seen |= set(able)
    if missing := sorted(set(METHODS) - seen):
        raise RuntimeError(f"no model here can be explained by {', '.join(missing)}")
    return [
        Section(
            "Methods of explanation that take one forward pass",
            ("Maps of the predicted classes of a batch, fp32, against one forward pass over it.",),
            tuple(one_pass),
        ),
        Section(
            "Methods that take more",
            (
                "Passes, forward and backward, are counted by hooks on the first layer (a transformer's first block),",
                "and stated by the table of methods. The ratio is the time in forward passes over as many images:",
                "a backward pass costs more than a forward one.",
            ),
            tuple(more),
        ),
    ]


def _passes(ready: Bench, name: str) -> int:
    return METHODS[name].passes(ready.classifier, ready.size.image_size)


def explain(ready: Bench, name: str, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Maps of a batch by a method, of given classes."""
    return low_resolution_maps(
        ready.classifier,
        images,
        predicted=labels,
        true=labels,
        saliency=name,
        explain="predicted",
        seeds=range(len(images)),
    )


def single(ready: Bench, names: list[str]) -> list[Row]:
    """Each of these methods against a forward pass."""
    ids = ready.order[: ready.size.ready]
    images, labels = ready.ready(ready.size.ready)
    contestants: dict[str, Callable[[], object]] = {
        "forward": lambda: rivals.forward(ready.classifier, ready.images[ids], precision="fp32")
    }
    contestants |= {name: lambda n=name: explain(ready, n, images, labels) for name in names}
    found = race({name: again(work, ready.size.repeats) for name, work in contestants.items()}, ready.effort)
    return [
        found.row(
            f"{ready.name}: {name}",
            ours=name,
            rival="forward",
            measure=THE_TIME,
            images=len(images) * ready.size.repeats,
            target=Target("at most", MOST),
        )
        for name in names
    ]


def several(ready: Bench, name: str) -> Row:
    """One expensive method: its passes, counted and stated, and its time in forward passes."""
    stated = _passes(ready, name)
    images, labels = ready.ready(min(max(LONGEST // stated, 1), ready.size.ready))
    with counted(ready) as count:
        explain(ready, name, images, labels)
    effort = replace(ready.effort, rounds=min(ready.effort.rounds, 3))
    pixels = ready.images[ready.order[: len(images)]]
    found = race(
        {
            "method": lambda: explain(ready, name, images, labels),
            "forward": again(lambda: rivals.forward(ready.classifier, pixels, precision="fp32"), 5),
        },
        effort,
    )
    times = [5 * own / theirs for own, theirs in zip(found.seconds["method"], found.seconds["forward"], strict=True)]
    middle = sorted(times)[len(times) // 2]
    return Row(
        f"{ready.name}: {name}",
        f"{sum(count) / len(images):g} counted",
        f"{stated} stated",
        middle,
        min(times),
        max(times),
        THE_TIME,
    )


@contextmanager
def counted(ready: Bench) -> Iterator[list[int]]:
    """Images that pass the network's first layer or block, forward and backward, one entry a pass."""
    found: list[int] = []

    def count(module: object, args: object, output: torch.Tensor) -> None:
        found.append(len(output))
        if output.requires_grad:
            output.register_hook(lambda gradient: found.append(len(gradient)))

    module = ready.classifier.module
    convolutions = (layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d))
    # gradients of attention end in the first block: no weight and no pixel before it needs one
    first = module.get_submodule("blocks.0") if "vit" in ready.size.model else next(convolutions)
    handle = first.register_forward_hook(count)
    try:
        yield found
    finally:
        handle.remove()
