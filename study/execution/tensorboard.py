"""Writes what TensorBoard shows of a trial: curves, proxies beside their originals, the confusion matrix."""

from pathlib import Path
from types import TracebackType

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from tensorboardX import SummaryWriter
from torchvision.utils import make_grid

from proxy_attention.proxies.step import Examples
from proxy_attention.records import EpochRecord, TrialReport
from study.foreign_text import printable

PADDING = 4
"""White pixels around every picture of a sheet."""


class TensorBoardLog:
    """Writes the event file of one trial into its folder."""

    def __init__(self, folder: Path) -> None:
        self._writer = SummaryWriter(str(folder))

    def __enter__(self) -> "TensorBoardLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def epoch(self, record: EpochRecord) -> None:
        """Add a point to each curve; epochs are counted from 1."""
        for tag, value in {
            "accuracy/train": record.train_accuracy,
            "accuracy/val": record.val_accuracy,
            "loss/train": record.train_loss,
            "loss/val": record.val_loss,
            "learning_rate": record.lr,
            "proxies/in_use": record.proxy_images,
        }.items():
            self._writer.add_scalar(tag, value, record.epoch + 1)
        if record.proxy_step:
            self._writer.add_scalar("proxies/wrong", record.wrong_images, record.epoch + 1)
            self._writer.add_scalar("proxies/made", record.made_images, record.epoch + 1)
            self._writer.add_scalar("proxies/subset", record.step_subset, record.epoch + 1)
        for tag, share in {"precision": record.error_set_precision, "recall": record.error_set_recall}.items():
            if share is not None:
                self._writer.add_scalar(f"error_set/{tag}", share, record.epoch + 1)
        self._writer.flush()

    def examples(self, record: EpochRecord, examples: Examples) -> None:
        """Add the pictures of a proxy step, one row per image: original, map, proxy."""
        if len(examples.ids):
            self._writer.add_image("proxies/original_map_proxy", sheet(examples), record.epoch + 1)

    def end(self, record: EpochRecord, report: TrialReport) -> None:
        """Add the test result; called once."""
        self._writer.add_scalar("accuracy/test", report.test_accuracy, record.epoch + 1)
        self._writer.add_figure("confusion/test", confusion_figure(report), record.epoch + 1)


def sheet(examples: Examples, *, side: int = 96) -> np.ndarray:
    """Draw original, map and proxy side by side, one row per image.

    Returns: (3, H, W) uint8 on white.
    """
    heat = torch.from_numpy(matplotlib.colormaps["inferno"](examples.maps.numpy())[..., :3]).permute(0, 3, 1, 2)
    columns = [examples.originals / 255, heat.float(), examples.proxies / 255]
    cells = torch.stack(columns, dim=1).flatten(0, 1)  # original, map, proxy, original, ...
    large = torch.nn.functional.interpolate(cells, size=(side, side), mode="nearest")
    grid = make_grid(large, nrow=len(columns), padding=PADDING, pad_value=1.0)
    drawn: np.ndarray = (grid * 255).round().to(torch.uint8).numpy()
    return drawn


@matplotlib.rc_context({"text.parse_math": False})  # a class may be called $x$
def confusion_figure(report: TrialReport) -> Figure:
    """Draw the confusion matrix of the test images, each true class scaled to 1; up to 20 classes with their counts."""
    counts = np.array(report.confusion)
    shown = [printable(name) for name in report.classes]
    names = [name if len(name) <= 16 else f"{name[:15]}…" for name in shown]
    few = len(names) <= 20
    figure = Figure(figsize=(8, 7) if few else (12, 11), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, label="part of the true class")
    axes.set(xlabel="predicted", ylabel="true", title=f"test accuracy {report.test_accuracy:.1f} %")
    if few:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        for (y, x), count in np.ndenumerate(counts):
            axes.text(x, y, str(count), ha="center", va="center", color="white" if shares[y, x] > 0.5 else "black")
    return figure
