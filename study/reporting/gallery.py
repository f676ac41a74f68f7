"""Pictures of what the settings do: trains small classifiers, asks the proxy step itself, and lays the answers out.

Every map and every proxy here is made by ``proxy_step``, as in a trial; nothing of the method is done again.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from proxy_attention.data.images import load
from proxy_attention.data.sources import open_source
from proxy_attention.errors import ConfigError
from proxy_attention.files import write_atomic
from proxy_attention.models.classifier import Classifier
from proxy_attention.proxies.masks import MASKS, changed_pixels
from proxy_attention.proxies.replacement import NEED_STATISTICS, REPLACEMENTS, SCOPES
from proxy_attention.proxies.step import EXAMPLES, Examples
from proxy_attention.saliency.maps import EXPLAIN
from proxy_attention.saliency.registry import METHODS
from study.reporting.gallery_subject import (
    Size,
    Subject,
    Tell,
    learn,
    photograph_config,
    photograph_crops,
    step,
    subject_config,
    wrong_images,
)
from study.reporting.image_grid import Cell, Page, Row, heat, in_blocks, png

THRESHOLDS, WEIGHTS = (0.2, 0.4, 0.6, 0.8), (0.25, 0.5, 0.75, 1.0)
SMOOTHINGS, AREAS = (0.0, 2.0, 4.0, 8.0, 16.0), (1.0, 0.3, 0.1, 0.03, 0.01)
TRANSFORMER = "test_vit"
SMOOTHED = 3.0
"""Of the maps of every method: those of pixels are single bright points, of which little is seen, and changed."""
NOISE = "/"
"""In the name of a method that asks another many times, with noise."""


def draw(folder: Path, *, size: Size | None = None, tell: Tell = lambda text: None) -> dict[str, Page]:
    """Write every picture of the gallery, and return what is on each, by the name of its file.

    On one thread: the same pixels on machines with more cores and with fewer.

    Raises: ConfigError for a folder that cannot be written to.
    """
    _check(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pages = _pages(size or Size(), tell)
    finally:
        torch.set_num_threads(threads)
    for name, page in pages.items():
        _write(folder / name, png(page))
    return pages


def _write(file: Path, content: bytes) -> None:
    def write(path: Path) -> None:
        path.write_bytes(content)

    write_atomic(file, write)


def _pages(size: Size, tell: Tell) -> dict[str, Page]:
    photographs = learn(photograph_config(size), photograph_crops(size), tell=tell)
    images = load(open_source("fashion-mnist-sample"), size.image_size)
    clothes = learn(subject_config(size, "test_resnet"), images, tell=tell)
    pages = {
        "replacements.png": replacements(photographs),
        "thresholds.png": thresholds(photographs),
        "masks.png": masks(clothes),
    }
    able = [name for name in size.methods if METHODS[name].lacks(clothes.model) is None]
    through_noise = [name for name in able if NOISE in name]
    without = [name for name in able if name not in through_noise]
    pages["methods.png"] = methods(clothes, without, size=size, tell=tell)
    if through_noise:
        what = "asked many times, with noise on the image"
        pages["methods-noise.png"] = methods(clothes, through_noise, size=size, tell=tell, what=what)
    transformer = learn(subject_config(size, TRANSFORMER), images, tell=tell)
    others = [name for name in size.methods if name not in able and METHODS[name].lacks(transformer.model) is None]
    what = f"by GradCAM, and by the methods that {clothes.config.model} lacks something for"
    pages["methods-vit.png"] = methods(transformer, ["gradcam", *others], size=size, tell=tell, what=what)
    return pages


def _check(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"--gallery must name a folder that can be written to; got {str(folder)!r} ({error.strerror})"
        ) from None


# ---- what is looked at


# ---- pages


def replacements(subject: Subject) -> Page:
    """Every replacement at every scope that it takes statistics over, on one crop of a photograph."""
    place, ids = _shown_crop(subject)
    fields = {"threshold": 0.6, "weight": 1.0}
    seen = step(subject, ids, **fields)

    def cell(name: str, scope: str) -> Cell:
        return Cell(_picture(step(subject, ids, **fields, replacement=name, scope=scope).proxies[place]), name)

    plain = [cell(name, "image") for name in REPLACEMENTS if name not in NEED_STATISTICS]
    rows = [Row("", (Cell(_picture(seen.originals[place]), "original"), Cell(_heat(seen.maps[place]), "map"), *plain))]
    for scope in SCOPES:
        cells = tuple(cell(name, scope) for name in REPLACEMENTS if name in NEED_STATISTICS)
        rows.append(Row(f"scope =\n{scope}", cells))
    title = (
        "replacement and scope: what stands where the map reaches the threshold (0.6), at weight 1\n"
        f"A crop of a photograph. GradCAM of “{subject.classes[int(seen.predicted[place])]}”, by a small network that "
        "learned to tell crops of two photographs apart."
    )
    return Page(title, (tuple(rows),), side=128, margin=62)


def thresholds(subject: Subject) -> Page:
    """Thresholds by weights, then smoothing and the largest area, on the same crop."""
    place, ids = _shown_crop(subject)
    rows = []
    for threshold in THRESHOLDS:
        seen = [step(subject, ids, threshold=threshold, weight=weight) for weight in WEIGHTS]
        cells = [Cell(_chosen(seen[0], place, threshold=threshold), "the pixels that change")]
        cells += [
            Cell(_picture(one.proxies[place]), f"weight = {weight}") for weight, one in zip(WEIGHTS, seen, strict=True)
        ]
        rows.append(Row(f"threshold\n= {threshold}", tuple(cells)))
    labelled = [rows[0], *(Row(row.name, tuple(Cell(cell.pixels) for cell in row.cells)) for row in rows[1:])]
    smoothed = [
        Cell(_chosen(step(subject, ids, smoothing=sigma), place, threshold=0.5), f"smoothing = {sigma:g}")
        for sigma in SMOOTHINGS
    ]
    smallest = [
        Cell(
            _chosen(step(subject, ids, max_area=area), place, threshold=0.2, max_area=area),
            f"max_area = {area:g}",
        )
        for area in AREAS
    ]
    rows = [*labelled, Row("threshold\n= 0.5", tuple(smoothed)), Row("threshold\n= 0.2", tuple(smallest))]
    title = (
        "threshold, weight, smoothing and max_area: which pixels change, and how much\n"
        "replacement = multiply: a pixel becomes (1 - weight × map) × pixel. In colours: the map where pixels change."
    )
    return Page(title, (tuple(rows),), side=128, margin=76)


def masks(subject: Subject) -> Page:
    """Every mask, then every class that can be explained: the map, and the proxy that is made by it."""
    ids = wrong_images(subject, EXAMPLES)
    fields = {"threshold": 0.5, "weight": 1.0, "replacement": "halfmax"}
    rows: list[Row] = []
    for name, table, images in (("mask", MASKS, 2), ("explain", EXPLAIN, 1)):
        seen = {value: step(subject, ids, **{**fields, name: value}) for value in table}
        # a map without a range changes nothing, and shows as little
        drawn = [place for place in range(len(ids)) if all(one.maps[place].any() for one in seen.values())]
        for place in (drawn or [0])[:images]:
            one = next(iter(seen.values()))
            original = Cell(_picture(one.originals[place]), _taken_for(subject, one, place))
            maps = [Cell(_heat(found.maps[place]), f"{name} = {value}") for value, found in seen.items()]
            proxies = [Cell(_picture(found.proxies[place])) for found in seen.values()]
            rows += [Row("map", (original, *maps)), Row("proxy", (Cell(_blank(original.pixels)), *proxies))]
    title = (
        "mask and explain: the controls of the map, and the class whose evidence it shows\n"
        "Training images that a small network got wrong; threshold = 0.5, weight = 1, replacement = halfmax."
    )
    return Page(title, (tuple(rows),), side=112, margin=50)


def methods(subject: Subject, names: Sequence[str], *, size: Size, tell: Tell, what: str = "by every method") -> Page:
    """Maps of a few wrong images by every one of these methods."""
    ids = wrong_images(subject, size.columns)
    first = step(subject, ids)
    rows: list[Row] = []
    header = Row("", tuple(Cell(_picture(first.originals[i]), _taken_for(subject, first, i)) for i in range(len(ids))))
    for name in dict.fromkeys(names):
        tell(f"{subject.config.model} explained by {name}: {len(rows) + 1} of {len(names)}")
        seen = step(subject, ids, saliency=name, smoothing=SMOOTHED)
        rows.append(Row(_named(name, subject.model), tuple(Cell(_overlay(seen, i)) for i in range(len(ids)))))
    title = (
        f"saliency: where {subject.config.model} looked, {what}\n"
        f"Maps of the class that a wrong training image was taken for; smoothing = {SMOOTHED:g}."
    )
    return Page(title, in_blocks(header, rows, 3), side=56, margin=128)


# ---- cells


def _shown_crop(subject: Subject) -> tuple[int, torch.Tensor]:
    """The place of the crop that is shown in a batch, two of the other photograph before it; and their numbers."""
    first = len(subject.scores.ids) // 2
    return 2, torch.cat([torch.arange(2), torch.arange(first, first + EXAMPLES - 2)])


def _taken_for(subject: Subject, seen: Examples, place: int) -> str:
    return f"{subject.classes[int(seen.true[place])]}\ntaken for\n{subject.classes[int(seen.predicted[place])]}"


def _picture(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def _blank(like: np.ndarray) -> np.ndarray:
    return np.full_like(like, 255)


def _heat(one: torch.Tensor) -> np.ndarray:
    return heat(one.numpy())


def _overlay(seen: Examples, place: int) -> np.ndarray:
    """The map laid over its image, which stays in sight where the map is dark."""
    dimmed = 0.4 * _picture(seen.originals[place])
    return np.maximum(dimmed, _heat(seen.maps[place])).round().astype(np.uint8)


def _chosen(seen: Examples, place: int, *, threshold: float, max_area: float = 1.0) -> np.ndarray:
    """The map where it changes a pixel; the image in pale grey where not."""
    changed = changed_pixels(seen.maps[place : place + 1], threshold=threshold, max_area=max_area)[0].numpy()
    grey = 128 + _picture(seen.originals[place]).mean(axis=2, keepdims=True) / 2
    return np.where(changed[..., None], _heat(seen.maps[place]), grey).round().astype(np.uint8)


def _named(name: str, model: Classifier, longest: int = 20) -> str:
    """A method's name, a long one cut where two are joined; below it which other it is for this model."""
    joint = NOISE if NOISE in name else "-"
    head, cut, tail = name.partition(joint) if len(name) > longest or joint == NOISE else (name, "", "")
    same = METHODS[name].pooled if model.linear_head is not None else ""
    return "\n".join(line for line in (head + cut, tail, f"(here {same})" if same else "") if line)
