"""Images are put to trained models of a study, in the pixels, precision and mode of its evaluation; prints nothing."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.torch import load_file

from proxy_attention.config import TrialConfig
from proxy_attention.data.decoding import UNREADABLE, open_image, to_square
from proxy_attention.data.folder import (
    EXTENSIONS,
    LABEL_FUNCTIONS,
    file_prefix,
    hidden,
    is_image,
    numbered_folder,
    parent_folder,
)
from proxy_attention.data.layouts import WORDNET
from proxy_attention.data.loading import CHUNK, THREADS, Report
from proxy_attention.data.pixels import map_prefetched
from proxy_attention.errors import ConfigError
from proxy_attention.models.build import untrained
from proxy_attention.models.classifier import Classifier, as_float, autocast, eval_batch
from proxy_attention.models.weights import not_finite
from study.inference.selection import Picked
from study.run_folder import RunFolder

NOT_FINITE = "the classifier's logits for it are not finite"


@dataclass(frozen=True, eq=False)
class Model:
    """A classifier as a trial left it.

    Attributes:
        name: the trial, for people.
        precision: a key of ``PRECISIONS``, the trial's own where this device has it.
    """

    name: str
    arm: str
    config: TrialConfig
    classes: tuple[str, ...]
    classifier: Classifier
    precision: str


@dataclass(frozen=True)
class ImageFile:
    """An image that was asked for: the name that people gave it, and where it lies."""

    name: str
    path: Path


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image at every size that is needed, (3, S, S) uint8 by S; or why it has none."""

    image: ImageFile
    squares: dict[int, np.ndarray]
    error: str = ""


@dataclass(frozen=True)
class Answer:
    """What one model says of one image.

    Attributes:
        top: classes and their probabilities, the likeliest first; empty where there is no answer.
        true: the class that its folder or name tells; empty if the model knows no such class.
        error: why there is no answer.
    """

    image: str
    trial_id: str
    arm: str
    seed: int
    top: tuple[tuple[str, float], ...]
    true: str = ""
    error: str = ""

    @property
    def predicted(self) -> str:
        """The likeliest class; empty where there is no answer."""
        return self.top[0][0] if self.top else ""

    @property
    def correct(self) -> bool | None:
        """Whether the answer is right; None where there is none, or the truth is not known."""
        return self.predicted == self.true if self.true and self.top else None


# ---- models


def load_model(picked: Picked, device: torch.device) -> Model:
    """The classifier of a complete trial, in eval mode on this device, from its own files alone.

    Raises: ConfigError if its report or its weights are missing, damaged, or of another model.
    """
    config, name = picked.planned.config, picked.name
    run = RunFolder(picked.run)
    report = run.trial(picked.planned.trial_id).report() or {}
    try:
        classes = tuple(str(known) for known in report["classes"])
        twin = str(
            report.get("same_as", picked.planned.trial_id)
        )  # a setting that was suggested twice was trained once
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"report.json of {name} must be one that a trial wrote; it cannot be used") from error
    classifier = untrained(  # the architecture does not depend on where its first weights came from
        config.model, classes=len(classes), image_size=config.image_size, weights=config.weights, seed=config.seed
    )
    _fill(classifier, run.trial(Path(twin).name).weights_file, name)
    classifier.to(device).module.eval()
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True  # as in its trial
    fp16_on_cpu = config.precision == "fp16" and device.type == "cpu"
    precision = "fp32" if fp16_on_cpu else config.precision
    return Model(name, picked.planned.arm, config, classes, classifier, precision)


def _fill(classifier: Classifier, file: Path, name: str) -> None:
    if not file.is_file():
        raise ConfigError(f"a complete trial must hold its weights; {name} has no {str(file)!r}")
    try:
        classifier.module.load_state_dict(load_file(file))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"the weights of {name} must be those of its model; {str(file)!r}: {reason}") from error
    if broken := not_finite(classifier.module):
        raise ConfigError(f"the weights of {name} must be finite numbers; {broken[0]} in {str(file)!r} is not")


# ---- images


def typed(text: str) -> Path:
    """The path that a person typed, with their own folder for a ``~`` before it; nothing that was found is one."""
    return Path(os.path.expanduser(text))  # noqa: PTH111  Path.expanduser raises where there is no such person


def find_images(paths: Sequence[str], root: Path | None = None) -> list[ImageFile]:
    """The files among these paths, and the images below the folders among them, each once, in this order.

    Args:
        root: where relative paths are looked for; names begin there.
    Raises: ConfigError for a path that is not there, or a folder without images.
    """
    found: dict[str, ImageFile] = {}
    for given in paths:
        top = typed(given) if root is None else root / given
        if os.path.isdir(top):  # noqa: PTH112  Path.is_dir raises where a name is too long
            files = [(Path(given) / file, top / file) for file in _below(top)]
            if not files:
                raise ConfigError(f"a folder must hold images ({', '.join(sorted(EXTENSIONS))}); {str(top)!r} has none")
        elif os.path.isfile(top):  # noqa: PTH113  as Path.is_dir
            files = [(Path(given), top)]
        else:
            raise ConfigError(f"IMAGES must be files or folders; there is no {str(top)!r}")
        for name, path in files:
            found.setdefault(os.path.normpath(path.absolute()), ImageFile(_text(name), path))
    return list(found.values())


def _below(top: Path) -> list[Path]:
    """Every image file below a folder, relative to it and sorted; hidden ones are left out, links are followed."""
    files: list[Path] = []
    seen: set[str] = set()
    for folder, children, names in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up, or a second way to the same images
            children.clear()
            continue
        seen.add(real)
        children[:] = sorted(child for child in children if not hidden(child))
        here = Path(folder).relative_to(top)
        files += [here / name for name in names if is_image(name)]
    return sorted(files, key=lambda file: file.as_posix())


def _text(path: Path) -> str:
    """The path as text that every output can hold, also where its bytes are no UTF-8."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def decoded(images: Sequence[ImageFile], sizes: Iterable[int]) -> Iterator[Decoded]:
    """The images in their order at all these sizes; threads decode some batches before they are asked for."""
    wanted = sorted(set(sizes))

    def one(image: ImageFile) -> Decoded:
        try:
            content = image.path.read_bytes()
            if not content:
                return Decoded(image, {}, "the file is empty")
            opened = open_image(content)
            return Decoded(image, {size: to_square(opened, size) for size in wanted})
        except UnidentifiedImageError:  # its text holds an address in memory
            return Decoded(image, {}, "the file is no image, or a damaged one")
        except UNREADABLE as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return Decoded(image, {}, " ".join(f"{type(error).__name__}: {reason}".split())[:200])

    parts = (images[first : first + CHUNK] for first in range(0, len(images), CHUNK))
    for part in map_prefetched(
        lambda chunk: [one(image) for image in chunk], parts, threads=THREADS, depth=2 * THREADS
    ):
        yield from part


def true_class(model: Model, path: Path) -> str:
    """The class that the image's folder or name tells, as the trial's data set is labelled; empty if none."""
    labels = _labels(model.config, PurePosixPath(os.path.normpath(path.absolute())))
    return next((label for label in labels if label in model.classes), "")


def _labels(config: TrialConfig, path: PurePosixPath) -> list[str]:
    """What the class of an image may be called, the likeliest first: as publishers name folders and files."""
    if config.dataset == "folder":
        return [LABEL_FUNCTIONS[config.label_function](path)]
    folder = parent_folder(path)
    found = [file_prefix(path)] if config.dataset == "oxford-iiit-pets" else []
    found += [folder, numbered_folder(path), "/".join(path.parts[-3:-1])]  # Places365 has classes of two folders
    return [*found, WORDNET[folder]] if folder in WORDNET else found


# ---- answers


def answers(models: Sequence[Model], images: Sequence[ImageFile], *, top: int, progress: Report) -> list[Answer]:
    """What each model says of each image: image by image, and for each the models in their order.

    Each model has its images in batches as an evaluation has them, so that it says the same of them.

    Args:
        top: how many classes are told.
        progress: called with (images done, images in all).
    """
    sizes = sorted({model.config.image_size for model in models})
    said: list[list[Answer]] = [[] for _ in models]
    done = 0
    for size in sizes:  # one as a rule
        own = [(model, told) for model, told in zip(models, said, strict=True) if model.config.image_size == size]
        for batch in _batches(decoded(images, [size]), eval_batch(size)):
            for model, told in own:
                told += ask(model, batch, top=top)
            done += len(batch)
            progress(done // len(sizes), len(images))
    return [answer for of_one_image in zip(*said, strict=True) for answer in of_one_image]


def _batches(items: Iterable[Decoded], size: int) -> Iterator[list[Decoded]]:
    """Parts with so many images that can be read, the last with fewer; those that cannot lie between them."""
    batch: list[Decoded] = []
    readable = 0
    for item in items:
        batch.append(item)
        readable += not item.error
        if readable == size:
            yield batch
            batch, readable = [], 0
    if batch:
        yield batch


def ask(model: Model, batch: Sequence[Decoded], *, top: int) -> list[Answer]:
    """What a model says of these images; of one that is not there, why."""
    readable = [item for item in batch if not item.error]
    size = model.config.image_size
    probabilities = classify(model, [item.squares[size] for item in readable])
    finite = probabilities.isfinite().all(dim=1).tolist()
    order = _ranked(probabilities)[:, :top]
    shares = probabilities.gather(1, order).tolist()
    ranked = iter(zip(finite, order.tolist(), shares, strict=True))

    def one(item: Decoded) -> Answer:
        error = item.error
        said: tuple[tuple[str, float], ...] = ()
        if not error:
            sound, classes, values = next(ranked)
            said = tuple((model.classes[c], p) for c, p in zip(classes, values, strict=True)) if sound else ()
            error = "" if sound else NOT_FINITE
        truth = true_class(model, item.image.path)
        return Answer(item.image.name, model.name, model.arm, model.config.seed, said, truth, error)

    return [one(item) for item in batch]


def classify(model: Model, squares: Sequence[np.ndarray]) -> torch.Tensor:
    """Probabilities, as an evaluation has them.

    Args:
        squares: (3, S, S) uint8 each, at the model's image size.
    Returns: (N, C) float32 on the CPU.
    """
    device = model.classifier.device
    parts = [torch.empty(0, len(model.classes))]
    step = eval_batch(model.config.image_size)
    with torch.no_grad(), autocast(device, model.precision):
        for first in range(0, len(squares), step):
            pixels = torch.from_numpy(np.stack(squares[first : first + step])).to(device)
            parts.append(model.classifier(as_float(pixels)).float().softmax(dim=1).cpu())
    return torch.cat(parts)


def _ranked(probabilities: torch.Tensor) -> torch.Tensor:
    """Classes (N, C) by falling probability, the one that ``max`` names first, as in an evaluation."""
    first = probabilities.max(dim=1, keepdim=True).indices
    return probabilities.scatter(1, first, torch.inf).argsort(dim=1, descending=True, stable=True)
