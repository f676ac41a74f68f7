"""What every augmentation costs: beside a step of training, in passes that it asks for, and against other libraries."""

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence

import torch
from torchvision.transforms.functional import to_pil_image

from experiments.speed import rivals
from experiments.speed.measure import AS_FAST, THE_TIME, Effort, Race, Row, Section, race_of_calls, row_of
from experiments.speed.methods_speed import counted
from experiments.speed.proxy_speed import Bench, Size, bench
from proxy_attention.augment.batch import Batch, Task
from proxy_attention.augment.policies import aug_mix, each_alone, rand_augment, trivial_augment
from proxy_attention.augment.registry import AUGMENTATIONS
from proxy_attention.training import ModelSaliency, new_state

SIZES = (Size("resnet18", 64, 32, 32, 1, 32), Size("resnet18", 224, 32, 32, 1, 32))
TINY = (Size("test_resnet", 32, 10, 10, 1, 4),)
STEP, FORWARD, OURS = "a training step", "a forward pass", "ours"

POLICIES = {"randaugment": rand_augment, "trivialaugment": trivial_augment, "augmix": aug_mix}
"""Those that are torchvision's, by our name."""


def augmentations(effort: Effort) -> list[Section]:
    """Every row of the table of augmentations, and those rows that other libraries have, too."""
    costs: list[Row] = []
    asking: list[Row] = []
    others: list[Row] = []
    sizes = TINY if effort.tiny else SIZES
    for size in sizes:
        with bench(size, effort) as ready:
            found = timed(ready)
            costs += beside_a_step(ready, found)
            asking += questions(ready, found)
            others += against_others(ready)
    return [
        Section(
            "What an augmentation costs",
            (
                f"Milliseconds an image, of a batch of {sizes[0].ready} with its draws, fp32. The rival is a step of",
                "training (forward, backward, AdamW) on images of that size; the ratio is what it adds to such a step.",
            ),
            tuple(costs),
        ),
        Section(
            "Augmentations that ask the model",
            (
                "Passes, forward and backward, are counted by hooks on the first layer, and stated by the table of",
                "augmentations; all others ask for none. The ratio is the whole time in forward passes over the batch.",
            ),
            tuple(asking),
        ),
        Section(
            "Augmentations that other libraries have",
            (
                "Images per second. torchvision's flip and rotation (bilinear, as ours) take an image at a time, as a",
                "loader's workers do, PIL images or float tensors; loading and collating are not counted. timm's draw",
                "for each image of the batch (`mode` pixel; `mode` elem), as ours do, and write into it; ours leave it",
                "as it was. The last three are torchvision's here, too: the rival is its transform bare, on uint8",
                "images at hand, under the same seeds, so that it makes the same images.",
            ),
            tuple(others),
        ),
    ]


def turn(ready: Bench, name: str) -> Callable[[], Batch]:
    """One augmentation of the batch at hand, draws included, as an epoch of training does it."""
    row = AUGMENTATIONS[name]
    images, labels = ready.ready(ready.size.ready)
    counts = torch.bincount(labels, minlength=ready.classifier.classes)
    task = Task(counts, ModelSaliency(ready.classifier, ready.size.precision))
    return lambda: row.apply(Batch(images, labels), draws_of(name, len(images)), task)


def draws_of(name: str, count: int) -> torch.Tensor:
    """The same draws in every turn, (count, columns): some operations take far longer than others."""
    return torch.rand(count, AUGMENTATIONS[name].columns, generator=torch.Generator().manual_seed(0))


def step(ready: Bench) -> Callable[[], None]:
    """A step of training on the batch at hand: of a copy, as the others look at the model."""
    twin = copy.deepcopy(ready.classifier)
    images, labels = ready.ready(ready.size.ready)
    optimizer = new_state(twin, ready.config, images=len(images), device=images.device).optimizer
    pixels = rivals.normalised(images)
    return lambda: rivals.bare_epoch(
        twin.module, optimizer, pixels, labels, batch_size=len(images), precision=ready.size.precision
    )


def timed(ready: Bench) -> Race:
    """Every augmentation, a step of training and a forward pass, in turn."""
    pixels = ready.images[ready.order[: ready.size.ready]]
    contestants: dict[str, Callable[[], object]] = {name: turn(ready, name) for name in AUGMENTATIONS}
    contestants[STEP] = step(ready)
    contestants[FORWARD] = lambda: rivals.forward(ready.classifier, pixels, precision=ready.size.precision)
    return race_of_calls(contestants, ready.effort)


def beside_a_step(ready: Bench, found: Race) -> list[Row]:
    """What each augmentation takes, and which part of a step of training that is."""
    return [
        row_of(
            f"{ready.name}: {name}",
            _milliseconds(found.seconds[name], ready.size.ready),
            _milliseconds(found.seconds[STEP], ready.size.ready),
            _ratios(found, name, STEP, times=100),
            measure="% of a step",
        )
        for name in AUGMENTATIONS
    ]


def _milliseconds(seconds: Sequence[float], images: int) -> str:
    return f"{1000 * statistics.median(seconds) / images:.3f} ms"


def _ratios(found: Race, name: str, other: str, *, times: float = 1) -> list[float]:
    return [times * own / theirs for own, theirs in zip(found.seconds[name], found.seconds[other], strict=True)]


def questions(ready: Bench, found: Race) -> list[Row]:
    """The passes of each augmentation that asks for any, counted and stated, and its time in forward passes."""
    passes = {name: passes_of(ready, name) for name in AUGMENTATIONS}
    return [
        row_of(
            f"{ready.name}: {name}",
            f"{passes[name]:g} counted",
            f"{AUGMENTATIONS[name].passes} stated",
            _ratios(found, name, FORWARD),
            measure=THE_TIME,
        )
        for name in AUGMENTATIONS
        if passes[name] or AUGMENTATIONS[name].passes
    ]


def passes_of(ready: Bench, name: str) -> float:
    """Passes through the network, forward and backward, that an augmentation asks for, an image."""
    with counted(ready) as count:
        turn(ready, name)()
    return sum(count) / ready.size.ready


def against_others(ready: Bench) -> list[Row]:
    """Each augmentation that another library has, against that library's."""
    rows: list[Row] = []
    for name, others in others_of(ready).items():
        found = race_of_calls({OURS: turn(ready, name), **others}, ready.effort)
        rows += [
            found.row(
                f"{ready.size.image_size} px: {name} against {other}",
                ours=OURS,
                rival=other,
                measure=AS_FAST,
                images=ready.size.ready,
            )
            for other in others
        ]
    return rows


def others_of(ready: Bench) -> dict[str, Mapping[str, Callable[[], object]]]:
    """Other libraries' augmentations of the batch at hand, by our name and then by theirs."""
    images, labels = ready.ready(ready.size.ready)
    pictures = [to_pil_image(image) for image in images]
    alone = rivals.flip_rotate()
    erasing, mixup, cutmix = (images.clone() for _ in range(3))  # timm's write into what they are given
    erase = rivals.timm_erasing()
    mix, cut = (rivals.timm_mixing(kind, classes=ready.classifier.classes) for kind in ("mixup", "cutmix"))
    return {
        "flip-rotate": {
            "torchvision's, an image at a time, PIL": lambda: [alone(picture) for picture in pictures],
            "torchvision's, an image at a time, tensors": lambda: [alone(image) for image in images],
        },
        "random-erasing": {"timm's": lambda: erase(erasing)},
        "mixup": {"timm's": lambda: mix(mixup, labels)},
        "cutmix": {"timm's": lambda: cut(cutmix, labels)},
        **{name: {"torchvision's, bare": bare(ready, name)} for name in POLICIES},
    }


def bare(ready: Bench, name: str) -> Callable[[], list[torch.Tensor]]:
    """torchvision's own transform on uint8 images at hand, image by image, under the seeds that ours uses."""
    images = ready.ready(ready.size.ready)[0]
    pixels = (images * 255).round().to(torch.uint8)
    seeds: list[int] = []

    def note_seed(image: torch.Tensor) -> torch.Tensor:
        seeds.append(torch.initial_seed())
        return image

    each_alone(note_seed, images, draws_of(name, len(images)))
    transform = POLICIES[name]()
    return lambda: rivals.seeded(transform, pixels, seeds)
