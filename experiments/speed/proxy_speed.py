"""What a proxy step costs: against one forward pass, grad-cam, captum, the thesis' way and bnnr; owns these races."""

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from experiments.speed import rivals
from experiments.speed.measure import AS_FAST, THE_TIME, Effort, Row, Section, Target, again, installed, race
from proxy_attention.config import TrialConfig
from proxy_attention.data.embedded.sample import open_sample
from proxy_attention.data.images import Catalogue, load
from proxy_attention.data.training_set import Proxies, TrainingSet
from proxy_attention.files import write_atomic
from proxy_attention.models.build import build
from proxy_attention.models.classifier import Classifier, as_float
from proxy_attention.proxies.masks import changed_pixels
from proxy_attention.proxies.replacement import replace
from proxy_attention.proxies.scoring import clean_scores, online_scores
from proxy_attention.proxies.step import ProxyStep, proxy_step
from proxy_attention.saliency.maps import classify_and_explain, scale, upsample

FRACTIONS = (0.1, 0.3, 1.0)
"""Of the images, how many count as wrong; the middle one is compared with every rival."""

NAMED = {"grad-cam": "pytorch_grad_cam", "captum": "captum", "bnnr": "bnnr"}
"""The module of each rival's library."""


@dataclass(frozen=True)
class Size:
    """What is measured on.

    Attributes:
        images: how many the step scores.
        ready: images in the batch that maps alone are made of.
        repeats: how often that batch is done in a round.
        slow: images in the batch for OptiCAM, which takes some hundred passes.
        precision: of the scoring pass; maps of rivals are compared in fp32, in which they work.
    """

    model: str
    image_size: int
    images: int
    ready: int
    repeats: int
    slow: int
    precision: str = "fp32"


SIZES = (Size("resnet18", 64, 512, 32, 5, 32), Size("resnet18", 224, 64, 32, 1, 8))
TINY = (Size("test_resnet", 32, 20, 10, 1, 4),)
MODELS_ON_GPU = ("resnet18", "resnet50", "efficientnet_b0", "vit_base_patch16_224")
ON_GPU = tuple(Size(model, 224, 1024, 32, 10, 32, "bf16") for model in MODELS_ON_GPU)
TINY_MODELS_ON_GPU = ("test_resnet", "test_efficientnet", "test_vit")
TINY_ON_GPU = tuple(Size(model, 32, 20, 10, 1, 4, "bf16") for model in TINY_MODELS_ON_GPU)


@dataclass(frozen=True, eq=False)
class Bench:
    """A model and its images, ready to be raced on."""

    size: Size
    effort: Effort
    config: TrialConfig
    classifier: Classifier
    images: torch.Tensor
    training_set: TrainingSet
    order: torch.Tensor

    @property
    def name(self) -> str:
        return f"{self.size.model}, {self.size.image_size} px"

    def wrong(self, fraction: float) -> torch.Tensor:
        """The images that count as wrong, ascending: exactly this part of all, spread over the set."""
        return self.order[: max(round(fraction * len(self.order)), 1)].sort().values

    def ready(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch at hand: images (B, 3, S, S) float in [0, 1] and labels (B,)."""
        ids = self.order[:count]
        return as_float(self.training_set.originals(ids)), self.training_set.labels_of(ids)

    def clean(self, fraction: float) -> ProxyStep:
        """Our step with ``collect = clean``, with exactly this part counted as wrong."""
        scores = clean_scores(self.classifier, self.training_set, self.config)
        wrong = torch.zeros(len(self.order), dtype=torch.bool)
        wrong[self.wrong(fraction)] = True
        scores = dataclasses.replace(scores, wrong=wrong)
        return proxy_step(self.classifier, self.training_set, scores, self.config, step=0)

    def online(self, fraction: float, saliency: str) -> ProxyStep:
        """Our step with ``collect = online``, from what an epoch would have seen."""
        count = len(self.order)
        correct = torch.ones(count, dtype=torch.bool)
        correct[self.wrong(fraction)] = False
        labels = self.training_set.labels_of(self.training_set.train).cpu()
        scores = online_scores(self.training_set, predicted=labels, losses=torch.ones(count), correct=correct)
        config = dataclasses.replace(self.config, collect="online", saliency=saliency)
        return proxy_step(self.classifier, self.training_set, scores, config, step=0)


def some(catalogue: Catalogue, count: int) -> Catalogue:
    """A part of a data set with its classes in balance."""
    by_class = sorted(range(len(catalogue.labels)), key=lambda i: catalogue.labels[i])
    numbers = [by_class[i * len(by_class) // count] for i in range(count)]
    return dataclasses.replace(
        catalogue,
        names=tuple(catalogue.names[i] for i in numbers),
        labels=tuple(catalogue.labels[i] for i in numbers),
        own_test=(False,) * count,
        read=lambda i: catalogue.read(numbers[i]),
    )


@contextmanager
def bench(size: Size, effort: Effort) -> Iterator[Bench]:
    """Set up what is raced on, with this many threads, and undo it."""
    before = torch.get_num_threads()
    torch.set_num_threads(effort.threads)
    config = TrialConfig(
        model=size.model, image_size=size.image_size, schedule="1,p", precision=size.precision, threads=effort.threads
    )
    data = load(some(open_sample(), size.images), size.image_size).on(effort.device)
    classifier = build(
        size.model, classes=len(data.classes), image_size=size.image_size, weights="none", seed=config.seed
    ).to(effort.device)
    classifier.module.eval()
    ids = np.arange(len(data))
    training_set = TrainingSet(
        data.images, data.labels, train=ids, proxies=Proxies.none(data.images), substitute="replace"
    )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    try:
        yield Bench(size, effort, config, classifier, data.images, training_set, order)
    finally:
        torch.set_num_threads(before)


def proxy(effort: Effort, *, sizes: Sequence[Size] | None = None) -> list[Section]:
    """Every race of a proxy step, on every size."""
    steps: list[Row] = []
    maps: list[Row] = []
    for size in sizes or (TINY if effort.tiny else SIZES):
        with bench(size, effort) as ready:
            steps += whole_steps(ready)
            maps += maps_alone(ready)
            if sizes is None:  # the CPU's table: these rivals work in NumPy and JPEG files
                steps += thesis_way(ready)
                maps += masks(ready)
    missing = [name for name, module in NAMED.items() if not installed(module)]
    notes = tuple(f"{name} is not installed: its rows are left out." for name in missing)
    return [
        Section(
            "A proxy step: score, map, replace, keep",
            (
                "Images per second, of the images scored; of `online`, of the images explained.",
                "The thesis' way is restated: wrong batches in memory, grad-cam, one JPEG an image.",
                *notes,
            ),
            tuple(steps),
        ),
        Section(
            "Maps alone, of a batch at hand",
            (
                "fp32; our map with the scores it needs, brought to the image's size and scaled.",
                "Of a class that is given, captum takes about one forward pass, as we do: no map can be had for less.",
                "What the model predicts, captum has to be told, by another pass.",
                "At 224 px bnnr's map and mask take about four forward passes: one pass cannot be eight times faster.",
                *notes,
            ),
            tuple(maps),
        ),
    ]


def whole_steps(ready: Bench) -> list[Row]:
    """The step with ``collect = clean`` against one forward pass, and against the same done with libraries."""
    on_cpu = ready.effort.device.type == "cpu"
    contestants: dict[str, Callable[[], object]] = {
        "forward": lambda: rivals.forward(ready.classifier, ready.images, precision=ready.size.precision)
    }
    contestants |= {f"step {fraction}": lambda f=fraction: ready.clean(f) for fraction in FRACTIONS}
    middle = FRACTIONS[1]
    found = race(contestants, ready.effort)
    rows = [
        found.row(
            f"{ready.name}: step, {fraction:.0%} wrong, against one forward pass",
            ours=f"step {fraction}",
            rival="forward",
            measure=THE_TIME,
            images=len(ready.images),
            target=Target("at most", 1.15) if on_cpu and fraction == middle else None,
        )
        for fraction in FRACTIONS
    ]
    # libraries give their maps as NumPy arrays or with a graph: fp32 on both sides
    exact = dataclasses.replace(ready, config=dataclasses.replace(ready.config, precision="fp32"))
    wrong = exact.wrong(middle)
    libraries = _libraries(exact)
    found = race(
        {"step": lambda: exact.clean(middle)}
        | {
            name: lambda m=maps: rivals.step_with(m, exact.classifier, exact.images, exact.config, wrong=wrong)
            for name, maps in libraries.items()
        },
        exact.effort,
    )
    return rows + [
        found.row(
            f"{exact.name}: step, {middle:.0%} wrong, against the same with {name}",
            ours="step",
            rival=name,
            measure=AS_FAST,
            images=len(exact.images),
        )
        for name in libraries
    ]


def _libraries(ready: Bench) -> dict[str, rivals.Maps]:
    """The makers of maps that are there and can explain this model."""
    found = {}
    if installed(NAMED["grad-cam"]):
        found["grad-cam"] = rivals.grad_cam(ready.classifier)
    if installed(NAMED["captum"]) and "vit" not in ready.size.model:  # it averages over the wrong axes of tokens
        found["captum"] = rivals.captum(ready.classifier)
    return found


def our_maps(ready: Bench, images: torch.Tensor, labels: torch.Tensor, *, explain: str = "true") -> torch.Tensor:
    """Our maps of a batch, (N, S, S) in [0, 1]."""
    low = classify_and_explain(ready.classifier, images, true=labels, saliency="gradcam", explain=explain)[1]
    return scale(upsample(low, ready.size.image_size))[0]


def maps_alone(ready: Bench) -> list[Row]:
    """Maps of a ready batch against grad-cam's and captum's."""
    images, labels = ready.ready(ready.size.ready)
    libraries = _libraries(ready)
    targets = {"grad-cam": 3.0, "captum": 1.8} if ready.effort.device.type == "cpu" else {}
    rows = []
    for explain, classes in (("predicted", None), ("true", labels)):
        contestants: dict[str, Callable[[], object]] = {
            "ours": lambda e=explain: our_maps(ready, images, labels, explain=e)
        }
        contestants |= {name: lambda m=maps, c=classes: m(images, c) for name, maps in libraries.items()}
        found = race({name: again(work, ready.size.repeats) for name, work in contestants.items()}, ready.effort)
        rows += [
            found.row(
                f"{ready.name}: maps of the {explain} classes of a batch of {len(images)} against {name}",
                ours="ours",
                rival=name,
                measure=AS_FAST,
                images=len(images) * ready.size.repeats,
                target=Target("at least", targets[name]) if name in targets and classes is None else None,
            )
            for name in libraries
        ]
    return rows


def thesis_way(ready: Bench) -> list[Row]:
    """The step with ``collect = online`` against the thesis' way, with both of its explanations."""
    if not installed(NAMED["grad-cam"]):
        return []
    fraction = FRACTIONS[1]
    wrong = ready.wrong(fraction)
    batches = [as_float(ready.images[part]) for part in wrong.split(ready.config.batch_size)]
    rows = []
    for saliency, method in (("gradcam", "GradCAM"), ("gradcam++", "GradCAMPlusPlus")):
        folder = Path(tempfile.mkdtemp(prefix="speed-"))
        found = race(
            {
                "step": lambda s=saliency: ready.online(fraction, s),
                "step and file": lambda s=saliency, f=folder: _write(ready.online(fraction, s), f / "proxies.u8"),
                "thesis": lambda m=method, f=folder: rivals.thesis_step(
                    ready.classifier, batches, ready.config, method=m, folder=f
                ),
            },
            ready.effort,
        )
        shutil.rmtree(folder)
        rows += [
            found.row(
                f"{ready.name}: `online` step, {saliency}{words}, against the thesis' way",
                ours=ours,
                rival="thesis",
                measure=AS_FAST,
                images=len(wrong),
                target=target,
            )
            for ours, words, target in (
                ("step", "", Target("at least", 3.0)),
                ("step and file", " and its array written to disk", None),
            )
        ]
    return rows


def _write(step: ProxyStep, file: Path) -> None:
    content = step.training_set.proxies.pixels.numpy().tobytes()
    write_atomic(file, lambda path: path.write_bytes(content) and None)


def masks(ready: Bench) -> list[Row]:
    """Map and mask of a ready batch of bytes against bnnr's ICD, with its GradCAM and with its default."""
    if not installed(NAMED["bnnr"]):
        return []
    rows = []
    slow = dataclasses.replace(ready.effort, rounds=min(ready.effort.rounds, 3))
    for explainer, count, repeats, effort, target in (
        ("gradcam", ready.size.ready, ready.size.repeats, ready.effort, 8.0),
        ("opticam", ready.size.slow, 1, slow, 100.0),
    ):
        ids = ready.order[:count]
        pixels, labels = ready.images[ids], ready.training_set.labels_of(ids)
        arrays = np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy()), labels.numpy()
        dropout = rivals.icd(ready.classifier, explainer=explainer)
        found = race(
            {
                "ours": again(lambda p=pixels, y=labels: our_masks(ready, p, y), repeats),
                "bnnr": again(lambda d=dropout, a=arrays: d(*a), repeats),
            },
            effort,
        )
        rows.append(
            found.row(
                f"{ready.name}: map and mask of a batch of {count} against bnnr's ICD, {explainer}",
                ours="ours",
                rival="bnnr",
                measure=AS_FAST,
                images=count * repeats,
                target=Target("at least", target),
            )
        )
    return rows


def our_masks(ready: Bench, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """From bytes to bytes: map, threshold, replace."""
    images = as_float(pixels)
    maps = our_maps(ready, images, labels)
    changed = changed_pixels(maps, threshold=ready.config.threshold, max_area=ready.config.max_area)
    made = replace(images, maps, changed, weight=ready.config.weight, replacement="multiply", stats=None, noise=None)
    return (made * 255).round().to(torch.uint8)
