"""Draw what each setting does on real images: train small classifiers, make proxies, and write grids of images.

Every map and every proxy is made by ``proxy_step``, as in a trial.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from proxy_attention.config import REGION
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
from study.reporting.gallery_models import (
    GallerySize,
    Report,
    TrainedNetwork,
    config_of,
    photograph_config,
    photograph_crops,
    proxies_of,
    train,
    wrong_images,
)
from study.reporting.image_grid import GridRow, ImageGrid, LabelledImage, heatmap, in_columns, png

THRESHOLDS, WEIGHTS = (0.2, 0.4, 0.6, 0.8), (0.25, 0.5, 0.75, 1.0)
SMOOTHINGS, AREAS = (0.0, 2.0, 4.0, 8.0, 16.0), (1.0, 0.3, 0.1, 0.03, 0.01)
TRANSFORMER = "test_vit"
SMOOTHED = 3.0
"""Smoothing of the maps of every method: those by pixel gradients are single points, which can hardly be seen."""
NOISE = "/"
"""Sign in the name of a method that averages another over noisy copies of the image."""


def draw_gallery(
    folder: Path, *, size: GallerySize | None = None, report: Report = lambda text: None
) -> dict[str, ImageGrid]:
    """Write the gallery into a folder, and return its grids by file name.

    It runs on one thread, so that machines with other numbers of cores draw the same pixels.

    Args:
        size: how much is trained and drawn; default: all.
        report: called with a line of progress.
    Raises: ConfigError if the folder cannot be written to.
    """
    _require_writable(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        grids = _grids(size or GallerySize(), report)
    finally:
        torch.set_num_threads(threads)
    for name, grid in grids.items():
        _write(folder / name, png(grid))
    return grids


def _write(file: Path, content: bytes) -> None:
    def write(path: Path) -> None:
        path.write_bytes(content)

    write_atomic(file, write)


def _grids(size: GallerySize, report: Report) -> dict[str, ImageGrid]:
    photographs = train(photograph_config(size), photograph_crops(size), report=report)
    images = load(open_source("fashion-mnist-sample"), size.image_size)
    convolutional = train(config_of(size, "test_resnet"), images, report=report)
    grids = {
        "replacements.png": replacements(photographs),
        "thresholds.png": thresholds(photographs),
        "masks.png": masks(convolutional),
    }
    supported = [name for name in size.methods if METHODS[name].lacks(convolutional.model) is None]
    noisy = [name for name in supported if NOISE in name]
    without = [name for name in supported if name not in noisy]
    grids["methods.png"] = methods(convolutional, without, size=size, report=report)
    if noisy:
        what = "asked many times, with noise on the image"
        grids["methods-noise.png"] = methods(convolutional, noisy, size=size, report=report, what=what)
    transformer = train(config_of(size, TRANSFORMER), images, report=report)
    others = [name for name in size.methods if name not in supported and METHODS[name].lacks(transformer.model) is None]
    what = f"by GradCAM, and by the methods that {convolutional.config.model} lacks something for"
    grids["methods-vit.png"] = methods(transformer, ["gradcam", *others], size=size, report=report, what=what)
    return grids


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"the gallery's folder must be one that can be written to; got {str(folder)!r} ({error.strerror})"
        ) from None


# ---- the grids


def replacements(network: TrainedNetwork) -> ImageGrid:
    """Show every replacement on one crop of a photograph, at every scope that it takes statistics over."""
    place, ids = _shown_crop(network)
    fields = {"threshold": 0.6, "weight": 1.0}
    examples = proxies_of(network, ids, **fields)

    def cell(name: str, scope: str) -> LabelledImage:
        return LabelledImage(
            _as_array(proxies_of(network, ids, **fields, replacement=name, scope=scope).proxies[place]), name
        )

    plain = [cell(name, "image") for name in REPLACEMENTS if name not in NEED_STATISTICS]
    rows = [
        GridRow(
            "",
            (
                LabelledImage(_as_array(examples.originals[place]), "original"),
                LabelledImage(_heatmap(examples.maps[place]), "map"),
                *plain,
            ),
        )
    ]
    for scope in SCOPES:
        cells = tuple(cell(name, scope) for name in REPLACEMENTS if name in NEED_STATISTICS)
        rows.append(GridRow(f"scope =\n{scope}", cells))
    title = (
        "replacement and scope: what stands where the map reaches the threshold (0.6), at weight 1\n"
        f"A crop of a photograph. GradCAM of “{network.classes[int(examples.predicted[place])]}”, by a small network "
        "that learned to tell crops of two photographs apart."
    )
    return ImageGrid(title, (tuple(rows),), side=128, margin=62)


def thresholds(network: TrainedNetwork) -> ImageGrid:
    """Show thresholds by weights, then smoothings and largest areas, on the same crop."""
    place, ids = _shown_crop(network)
    rows = []
    for threshold in THRESHOLDS:
        examples = [proxies_of(network, ids, threshold=threshold, weight=weight) for weight in WEIGHTS]
        cells = [LabelledImage(_changed_pixels(examples[0], place, threshold=threshold), "the pixels that change")]
        cells += [
            LabelledImage(_as_array(one.proxies[place]), f"weight = {weight}")
            for weight, one in zip(WEIGHTS, examples, strict=True)
        ]
        rows.append(GridRow(f"threshold\n= {threshold}", tuple(cells)))
    labelled = [
        rows[0],
        *(GridRow(row.name, tuple(LabelledImage(cell.pixels) for cell in row.images)) for row in rows[1:]),
    ]
    smoothed = [
        LabelledImage(
            _changed_pixels(proxies_of(network, ids, smoothing=sigma), place, threshold=0.5), f"smoothing = {sigma:g}"
        )
        for sigma in SMOOTHINGS
    ]
    smallest = [
        LabelledImage(
            _changed_pixels(proxies_of(network, ids, max_area=area), place, threshold=0.2, max_area=area),
            f"max_area = {area:g}",
        )
        for area in AREAS
    ]
    rows = [*labelled, GridRow("threshold\n= 0.5", tuple(smoothed)), GridRow("threshold\n= 0.2", tuple(smallest))]
    title = (
        "threshold, weight, smoothing and max_area: which pixels change, and how much\n"
        "replacement = multiply: a pixel becomes (1 - weight × map) × pixel. In colours: the map where pixels change."
    )
    return ImageGrid(title, (tuple(rows),), side=128, margin=76)


def masks(network: TrainedNetwork) -> ImageGrid:
    """Show the map and the proxy of every mask but ``region``, then of every class that can be explained."""
    ids = wrong_images(network, EXAMPLES)
    fields = {"threshold": 0.5, "weight": 1.0, "replacement": "halfmax"}
    rows: list[GridRow] = []
    of_maps = [mask for mask in MASKS if mask != REGION]  # the embedded images tell no place
    for name, table, images in (("mask", of_maps, 2), ("explain", list(EXPLAIN), 1)):
        examples = {value: proxies_of(network, ids, **{**fields, name: value}) for value in table}
        # a flat map changes nothing
        drawn = [place for place in range(len(ids)) if all(one.maps[place].any() for one in examples.values())]
        for place in (drawn or [0])[:images]:
            one = next(iter(examples.values()))
            original = LabelledImage(_as_array(one.originals[place]), _label(network, one, place))
            maps = [
                LabelledImage(_heatmap(found.maps[place]), f"{name} = {value}") for value, found in examples.items()
            ]
            proxies = [LabelledImage(_as_array(found.proxies[place])) for found in examples.values()]
            rows += [
                GridRow("map", (original, *maps)),
                GridRow("proxy", (LabelledImage(_blank(original.pixels)), *proxies)),
            ]
    title = (
        "mask and explain: the controls of the map, and the class whose evidence it shows\n"
        "Training images that a small network got wrong; threshold = 0.5, weight = 1, replacement = halfmax."
    )
    return ImageGrid(title, (tuple(rows),), side=112, margin=50)


def methods(
    network: TrainedNetwork, names: Sequence[str], *, size: GallerySize, report: Report, what: str = "by every method"
) -> ImageGrid:
    """Show the maps of a few wrong images by each of these methods."""
    ids = wrong_images(network, size.columns)
    first = proxies_of(network, ids)
    rows: list[GridRow] = []
    header = GridRow(
        "", tuple(LabelledImage(_as_array(first.originals[i]), _label(network, first, i)) for i in range(len(ids)))
    )
    for name in dict.fromkeys(names):
        report(f"{network.config.model} explained by {name}: {len(rows) + 1} of {len(names)}")
        examples = proxies_of(network, ids, saliency=name, smoothing=SMOOTHED)
        rows.append(
            GridRow(
                _method_label(name, network.model), tuple(LabelledImage(_overlay(examples, i)) for i in range(len(ids)))
            )
        )
    title = (
        f"saliency: where {network.config.model} looked, {what}\n"
        f"Maps of the class that a wrong training image was taken for; smoothing = {SMOOTHED:g}."
    )
    return ImageGrid(title, in_columns(header, rows, 3), side=56, margin=128)


# ---- images and labels


def _shown_crop(network: TrainedNetwork) -> tuple[int, torch.Tensor]:
    """Return the place of the shown crop in a batch, after two of the other photograph, and the ids of the batch."""
    first = len(network.scores.ids) // 2
    return 2, torch.cat([torch.arange(2), torch.arange(first, first + EXAMPLES - 2)])


def _label(network: TrainedNetwork, examples: Examples, place: int) -> str:
    return f"{network.classes[int(examples.true[place])]}\ntaken for\n{network.classes[int(examples.predicted[place])]}"


def _as_array(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def _blank(like: np.ndarray) -> np.ndarray:
    return np.full_like(like, 255)


def _heatmap(one: torch.Tensor) -> np.ndarray:
    return heatmap(one.numpy())


def _overlay(examples: Examples, place: int) -> np.ndarray:
    """Lay a map over its image, which stays visible where the map is dark."""
    dimmed = 0.4 * _as_array(examples.originals[place])
    overlaid: np.ndarray = np.maximum(dimmed, _heatmap(examples.maps[place])).round().astype(np.uint8)
    return overlaid


def _changed_pixels(examples: Examples, place: int, *, threshold: float, max_area: float = 1.0) -> np.ndarray:
    """Show the map where it changes a pixel, and the image in pale grey elsewhere."""
    changed = changed_pixels(examples.maps[place : place + 1], threshold=threshold, max_area=max_area)[0].numpy()
    grey = 128 + _as_array(examples.originals[place]).mean(axis=2, keepdims=True) / 2
    return np.where(changed[..., None], _heatmap(examples.maps[place]), grey).round().astype(np.uint8)


def _method_label(name: str, model: Classifier, longest: int = 20) -> str:
    """Write a method's name, a long one on two lines, and below it the method that it equals for this model."""
    joint = NOISE if NOISE in name else "-"
    head, cut, tail = name.partition(joint) if len(name) > longest or joint == NOISE else (name, "", "")
    same = METHODS[name].pooled if model.linear_head is not None else ""
    return "\n".join(line for line in (head + cut, tail, f"(here {same})" if same else "") if line)
