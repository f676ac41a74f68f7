"""The same work as others do it: grad-cam, captum, bnnr, the thesis, a bare loop, timm, torchvision; times nothing.

A rival's library is imported where it is used, so that the others run where it is missing.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import timm.data
import torch
import torch.nn.functional as F
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.random_erasing import RandomErasing
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.utils import AverageMeter
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

from proxy_attention.augment.blending import MIXUP_ALPHA
from proxy_attention.augment.erasing import ERASE_AREA, ERASE_PROBABILITY, ERASE_RATIO
from proxy_attention.augment.pasting import CUTMIX_ALPHA
from proxy_attention.augment.transforms import MAX_DEGREES
from proxy_attention.config import TrialConfig
from proxy_attention.models.classifier import Classifier, as_float, autocast, eval_batch

Maps = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
"""Images (N, 3, S, S) float in [0, 1] and the classes (N,) to explain (None: the predicted), to maps (N, S, S)."""


class Whole(nn.Module):
    """A classifier as the module that a rival asks for: it takes images in [0, 1], too."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.module, self._classifier = classifier.module, classifier
        self.layer = classifier.module.get_submodule(classifier.feature_layer)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self._classifier(images)


def forward(classifier: Classifier, images: torch.Tensor, *, precision: str) -> None:
    """One pass over uint8 images without a graph, in batches as the scoring pass has them."""
    classifier.module.eval()
    with torch.no_grad(), autocast(images.device, precision):
        for part in images.split(eval_batch(images.shape[-1])):
            classifier(as_float(part))


def grad_cam(classifier: Classifier, *, method: str = "GradCAM") -> Maps:
    """Maps by grad-cam 1.5.7: a full forward, a full backward, NumPy and OpenCV for the rest."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    whole = Whole(classifier)

    def maps(images: torch.Tensor, classes: torch.Tensor | None) -> torch.Tensor:
        targets = None if classes is None else [ClassifierOutputTarget(label) for label in classes.tolist()]
        explainer = getattr(pytorch_grad_cam, method)
        # as_map makes a picture of tokens; a feature map it hands back as it is
        with explainer(model=whole, target_layers=[whole.layer], reshape_transform=classifier.as_map) as cam:
            return torch.from_numpy(cam(input_tensor=images, targets=targets)).to(images.device)

    return maps


def captum(classifier: Classifier) -> Maps:
    """Maps by captum's LayerGradCam, brought to the image's size by its own interpolation; it does not scale them."""
    from captum.attr import LayerAttribution, LayerGradCam

    whole = Whole(classifier)
    explainer = LayerGradCam(whole, whole.layer)

    def maps(images: torch.Tensor, classes: torch.Tensor | None) -> torch.Tensor:
        if classes is None:  # captum must be told what is to be explained
            with torch.no_grad():
                classes = whole(images).argmax(dim=1)
        found = explainer.attribute(images, target=classes, relu_attributions=True)
        return LayerAttribution.interpolate(found, tuple(images.shape[-2:]), "bilinear")[:, 0].detach()

    return maps


def step_with(
    maps: Maps, classifier: Classifier, images: torch.Tensor, config: TrialConfig, *, wrong: torch.Tensor
) -> torch.Tensor:
    """A proxy step as one writes it with a library of maps: score all, explain the wrong, turn down, keep.

    Args:
        images: (N, 3, S, S) uint8.
        wrong: (W,) the images that count as wrong.
    Returns: proxies, (W, 3, S, S) uint8.
    """
    classifier.module.eval()
    with torch.no_grad():
        parts = images.split(eval_batch(images.shape[-1]))
        guessed = torch.cat([classifier(as_float(part)).argmax(dim=1) for part in parts])
    made = []
    for part in wrong.split(config.batch_size):
        pixels = as_float(images[part])
        found = maps(pixels, guessed[part])[:, None]
        turned = torch.where(found >= config.threshold, (1 - config.weight * found) * pixels, pixels)
        made.append((turned * 255).round().to(torch.uint8))
    return torch.cat(made)


def thesis_step(
    classifier: Classifier, batches: Sequence[torch.Tensor], config: TrialConfig, *, method: str, folder: Path
) -> None:
    """The thesis' proxy step, restated: explain the wrong images that training collected, turn down, save as JPEG.

    Its wrong batches lay in memory already, so that it had no pass to find them; the class is the predicted one.

    Args:
        batches: wrong images, (B, 3, S, S) float in [0, 1] each.
        method: ``GradCAM`` or ``GradCAMPlusPlus`` of grad-cam.
    """
    import pytorch_grad_cam

    whole = Whole(classifier)
    number = 0
    for batch in batches:
        with getattr(pytorch_grad_cam, method)(model=whole, target_layers=[whole.layer]) as cam:
            found = torch.from_numpy(cam(input_tensor=batch, targets=None)).to(batch.device)[:, None]
        turned = torch.where(found > config.threshold, (1 - config.weight * found) * batch, batch)
        for image in turned.cpu():
            to_pil_image(image).save(folder / f"proxy-{number}.jpeg")
            number += 1


def icd(classifier: Classifier, *, explainer: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """bnnr's Intelligent Coarse Dropout: images (N, S, S, 3) uint8 and classes (N,) to masked images."""
    from bnnr.icd import ICD

    whole = Whole(classifier)
    logging.getLogger("bnnr").setLevel(logging.ERROR)  # without its cache every batch is a miss, and is said to be
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that maps are slow without its cache; here they are what is timed
        dropout = ICD(whole, [whole.layer], explainer=explainer, use_cuda=False, random_state=0)
    return lambda images, classes: dropout.apply_batch_with_labels(images, classes)


def normalised(images: torch.Tensor) -> torch.Tensor:
    """Images (N, 3, S, S) in [0, 1] as a network without weights of its own wants them, channels last."""
    mean, std = (
        torch.tensor(values, device=images.device).view(1, 3, 1, 1)
        for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    )
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def bare_epoch(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    batch_size: int,
    precision: str,
) -> None:
    """Forward, backward, step over a tensor that is ready: float, normalised, in the model's layout."""
    module.train()
    for pixels, classes in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        with autocast(images.device, precision):
            loss = F.cross_entropy(module(pixels), classes)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


@contextmanager
def timm_script(module: nn.Module, folder: Path, config: TrialConfig, *, workers: int) -> Iterator[Callable[[], int]]:
    """timm's train.py on a folder: its loader, transforms, loss and step; calling it trains an epoch.

    As ``train.py FOLDER --img-size S --batch-size B --opt adamw --channels-last --workers W --device cpu``, the rest by
    default: random resized crop, flip, colour jitter, label smoothing, a prefetching loader whose workers persist.
    """
    dataset = timm.data.create_dataset("", root=str(folder), split="train", is_training=True)
    loader = timm.data.create_loader(
        dataset,
        input_size=(3, config.image_size, config.image_size),
        batch_size=config.batch_size,
        is_training=True,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        re_mode="pixel",
        interpolation="random",
        num_workers=workers,
        device=torch.device("cpu"),
    )
    module.to(memory_format=torch.channels_last)
    smoothed = LabelSmoothingCrossEntropy(0.1)
    optimizer = create_optimizer_v2(module, opt="adamw", lr=config.lr, weight_decay=config.weight_decay)

    def epoch() -> int:
        seen, losses = 0, AverageMeter()
        module.train()
        optimizer.zero_grad()
        for pixels, classes in loader:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            loss = smoothed(module(pixels), classes)
            loss.backward()
            optimizer.step()
            losses.update(loss.item(), len(pixels))
            optimizer.zero_grad()
            seen += len(pixels)
        return seen

    try:
        yield epoch
    finally:
        _end(loader)


def _end(loader: Any) -> None:
    """End the loader's workers now: collected later, they would be counted among a neighbour's threads."""
    inner = getattr(loader, "loader", loader)
    if inner._iterator is not None:
        inner._iterator._shutdown_workers()
        inner._iterator = None


def flip_rotate() -> Callable[[Any], Any]:
    """torchvision's flip and rotation of one image, PIL or tensor, by as much and as smoothly as ours."""
    transform: Callable[[Any], Any] = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomRotation(MAX_DEGREES, interpolation=v2.InterpolationMode.BILINEAR),
        ]
    )
    return transform


def timm_erasing() -> Callable[[torch.Tensor], torch.Tensor]:
    """timm's random erasing of a batch, in place: boxes as often and as large as ours, filled pixel by pixel."""
    erasing: Callable[[torch.Tensor], torch.Tensor] = RandomErasing(
        probability=ERASE_PROBABILITY,
        min_area=ERASE_AREA[0],
        max_area=ERASE_AREA[1],
        min_aspect=ERASE_RATIO[0],
        mode="pixel",
        device="cpu",
    )
    return erasing


def timm_mixing(
    kind: str, *, classes: int
) -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """timm's mixup or cutmix of a batch, in place, a part of its own for each image; to images and labels (B, C)."""
    mixing: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]] = timm.data.Mixup(
        mixup_alpha=MIXUP_ALPHA if kind == "mixup" else 0,
        cutmix_alpha=CUTMIX_ALPHA if kind == "cutmix" else 0,
        mode="elem",
        label_smoothing=0,
        num_classes=classes,
    )
    return mixing


def seeded(
    transform: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, seeds: Sequence[int]
) -> list[torch.Tensor]:
    """A transform that draws from the global generator, of each image under a seed."""
    made = []
    for image, seed in zip(images, seeds, strict=True):
        torch.default_generator.manual_seed(seed)
        made.append(transform(image))
    return made
