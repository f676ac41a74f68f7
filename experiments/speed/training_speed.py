"""What training costs: our epoch against a bare loop on a ready tensor, and against timm's script on a folder."""

import copy
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from experiments.speed import rivals
from experiments.speed.measure import AS_FAST, Effort, Row, Section, Target, race
from experiments.speed.proxy_speed import MODELS_ON_GPU, TINY_MODELS_ON_GPU, some
from proxy_attention.config import TrialConfig
from proxy_attention.data.embedded.sample import open_sample
from proxy_attention.data.folder import list_folder
from proxy_attention.data.images import ImageSet, load
from proxy_attention.data.training_set import Proxies, TrainingSet
from proxy_attention.models.build import build
from proxy_attention.models.classifier import Classifier, as_float
from proxy_attention.training import new_state, train_epoch

EPOCHS = 1000
"""Of the schedule on paper, so that no learning rate ends within the race."""


@dataclass(frozen=True)
class Size:
    """What is trained on; ``images`` is a whole number of batches, because timm drops the rest."""

    model: str
    image_size: int
    images: int
    batch_size: int
    precision: str = "fp32"


CPU = (Size("resnet18", 64, 640, 32), Size("test_resnet", 64, 1920, 32))
"""A common model, and a light one, with which the pixels cost as much as the network."""
TINY = Size("test_resnet", 32, 20, 10)
ON_GPU = tuple(Size(model, 224, 1024, 64, "bf16") for model in MODELS_ON_GPU)
TINY_ON_GPU = tuple(Size(model, 32, 20, 10, "bf16") for model in TINY_MODELS_ON_GPU)
WORKERS = 2
SIDES = (400, 300)
"""Width and height of a file."""


def training(effort: Effort, *, sizes: Sequence[Size] | None = None) -> list[Section]:
    """Our epoch against a bare loop, and on the CPU against timm's loader and step."""
    before = torch.get_num_threads()
    torch.set_num_threads(effort.threads)
    try:
        measured = sizes or ((TINY,) if effort.tiny else CPU)
        rows = [against_bare(size, effort) for size in measured]
        notes = ["Images per second of an epoch; flip and rotation on our side, none on the bare side."]
        if sizes is None:
            notes.append(
                "The folder holds JPEGs of 400 x 300, quality 90; timm's script with its default augmentation, AdamW, "
                f"channels_last and {WORKERS} workers, from its second epoch on."
            )
            for size in measured:
                row, said = against_timm(size, effort)
                rows.append(row)
                notes.append(said)
        return [Section("An epoch of training", tuple(notes), tuple(rows))]
    finally:
        torch.set_num_threads(before)


def _config(size: Size, effort: Effort, **changes: str) -> TrialConfig:
    return TrialConfig(
        model=size.model,
        image_size=size.image_size,
        batch_size=size.batch_size,
        precision=size.precision,
        schedule=str(EPOCHS),
        threads=effort.threads,
        **changes,
    )


class _Ours:
    """Our training on these images, an epoch a call."""

    def __init__(self, classifier: Classifier, images: ImageSet, config: TrialConfig) -> None:
        self.training_set = TrainingSet(
            images.images,
            images.labels,
            train=torch.arange(len(images)).numpy(),
            proxies=Proxies.none(images.images),
            substitute="replace",
        )
        self.state = new_state(classifier, config, images=len(images), device=classifier.device)
        self.config = config

    def __call__(self) -> None:
        train_epoch(self.state, self.training_set, self.config, epoch=self.state.epochs_done)


def against_bare(size: Size, effort: Effort) -> Row:
    """Our epoch against forward, backward and step on a tensor that is ready."""
    config = _config(size, effort)
    images = load(some(open_sample(), size.images), size.image_size).on(effort.device)
    classifier = _classifier(size, images, config, effort)
    twin = copy.deepcopy(classifier)
    # the same optimiser, from where ours comes from
    bare = new_state(twin, config, images=len(images), device=effort.device)
    pixels = rivals.normalised(as_float(images.images))
    found = race(
        {
            "ours": _Ours(classifier, images, config),
            "bare": lambda: rivals.bare_epoch(
                twin.module,
                bare.optimizer,
                pixels,
                images.labels,
                batch_size=size.batch_size,
                precision=size.precision,
            ),
        },
        effort,
    )
    what = f"{size.model}, {size.image_size} px, batches of {size.batch_size}, {size.precision}"
    return found.row(
        f"{what}: epoch against a bare loop",
        ours="ours",
        rival="bare",
        measure=AS_FAST,
        images=len(images),
        target=Target("at least", 0.95) if effort.device.type == "cpu" else None,
    )


def _classifier(size: Size, images: ImageSet, config: TrialConfig, effort: Effort) -> Classifier:
    built = build(size.model, classes=len(images.classes), image_size=size.image_size, weights="none", seed=config.seed)
    return built.to(effort.device)


def against_timm(size: Size, effort: Effort) -> tuple[Row, str]:
    """Our epoch against timm's script on the same folder; beside the row, what decoding the folder took us, once."""
    config = _config(size, effort)
    root = Path(tempfile.mkdtemp(prefix="speed-"))
    try:
        write_jpegs(root / "train", size.images)
        held = sum(file.stat().st_size for file in root.rglob("*.jpg")) / size.images / 1000
        started = time.perf_counter()
        images = load(list_folder(root / "train"), size.image_size)
        decode = time.perf_counter() - started
        classifier = _classifier(size, images, config, effort)
        twin = copy.deepcopy(classifier)
        with rivals.timm_script(twin.module, root, config, workers=WORKERS) as epoch:
            found = race({"ours": _Ours(classifier, images, config), "timm": epoch}, effort)
    finally:
        shutil.rmtree(root)
    row = found.row(
        f"{size.model}, {size.image_size} px, folder of JPEGs: epoch against timm's loader and step",
        ours="ours",
        rival="timm",
        measure=AS_FAST,
        images=size.images,
        target=Target("at least", 2.0),
    )
    said = f"{size.images} files of {held:.0f} kB each: our one decoding took {decode:.1f} s"
    return row, f"{said}, {size.images / decode:,.0f} images/s."


def write_jpegs(root: Path, count: int) -> None:
    """Files as photographs of 400 x 300 are: mosaics of real images of a class, about as large, as slow to decode."""
    catalogue = open_sample()
    tiles = load(catalogue, 32).images.permute(0, 2, 3, 1).numpy()
    columns, rows = SIDES[0] // 32, SIDES[1] // 32
    by_class = [np.flatnonzero(np.array(catalogue.labels) == label) for label in range(len(catalogue.classes))]
    rng = np.random.default_rng(0)
    for number in range(count):
        label = number % len(by_class)
        folder = root / catalogue.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        chosen = tiles[rng.choice(by_class[label], (rows, columns))]
        mosaic = chosen.transpose(0, 2, 1, 3, 4).reshape(rows * 32, columns * 32, 3)
        Image.fromarray(mosaic).resize(SIDES).save(folder / f"{number:05d}.jpg", quality=90)
