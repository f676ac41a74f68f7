"""The part of a trial that never changes: config, images, split, planned epochs and judge; trains nothing."""

import logging
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from proxy_attention.config import TrialConfig
from proxy_attention.data.images import ImageSet
from proxy_attention.data.shortcuts import with_shortcut
from proxy_attention.data.splits import Split, emptied_groups, redraw, split_of
from proxy_attention.data.training_set import Proxies, TrainingSet
from proxy_attention.explanation_metrics import check_regions, judge_of, judged_ids
from proxy_attention.memory import reset_peak
from proxy_attention.models.build import build_for
from proxy_attention.models.classifier import Classifier
from proxy_attention.models.weights import weights_digest
from proxy_attention.region_maps import check_regions_known
from proxy_attention.saliency.registry import check_method
from proxy_attention.schedule import PlannedEpoch
from proxy_attention.training import TrainState, new_state
from proxy_attention.validation import check

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrialSetup:
    """A checked trial before its first epoch; nothing in it changes while the trial runs.

    Attributes:
        images: the whole data set, on the trial's device.
        weights: content digest of a weights file; None if ``weights`` is a name, not a file.
        split: train, val and test as they are drawn at the start.
    """

    config: TrialConfig
    images: ImageSet
    device: torch.device
    weights: str | None
    split: Split

    @classmethod
    def of(cls, config: TrialConfig, images: ImageSet, device: torch.device) -> "TrialSetup":
        """Check the names in the config, set the threads and kernels of this process, and draw the split.

        Raises: ConfigError, DataError.
        """
        weights = weights_digest(check(config).weights)
        config.digest(data=images.digest, weights=weights)  # raises if a field is still ``auto``
        _make_deterministic(int(config.threads))
        reset_peak(device)
        split = split_of(images, config)
        images = with_shortcut(images, split, config).on(device)
        if images.groups is not None and (lost := emptied_groups(images.groups, split)):
            log.warning("groups of %s: %s", config.dataset, lost)
        check_regions_known(config, known=images.region is not None)
        if config.has_proxies and not config.has_maps:
            check_regions(images, split.train)  # now, because the trial reads them only at its proxy steps
        return cls(config, images, device, weights, split)

    @cached_property
    def identity(self) -> str:
        """The trial's digest: of its config and of the contents of its images and weights."""
        return self.config.digest(data=self.images.digest, weights=self.weights)

    @cached_property
    def epochs(self) -> tuple[PlannedEpoch, ...]:
        """The epochs of the schedule, in order."""
        return tuple(self.config.planned.epochs())

    @cached_property
    def judge(self) -> str | None:
        """The saliency method that judges the trained model's explanations; None if none does."""
        return judge_of(self.config)

    @cached_property
    def judged_ids(self) -> np.ndarray:
        """Numbers of the test images on which explanations are judged."""
        return judged_ids(self.split.test, self.config)

    def split_at(self, item: int) -> Split:
        """Return the split at an item of the schedule; ``split = redrawn`` (an audit) draws it again at each item."""
        if self.config.split != "redrawn":
            return self.split
        return redraw(self.split, self.images.labels.cpu().numpy(), self.config, item)

    def originals(self) -> TrainingSet:
        """Return the training images before any proxy step."""
        pixels, labels = self.images.images, self.images.labels
        return TrainingSet(
            pixels,
            labels,
            train=self.split.train,
            proxies=Proxies.none(pixels),
            substitute=self.config.substitute,
            repeats=self.config.repeats,
        )

    def new_training(self, *, epochs: int | None = None) -> TrainState:
        """Build the classifier and its optimizer, and check that the config's saliency methods can explain it.

        Args:
            epochs: how many epochs will be trained; None for the whole schedule.
        Raises: ConfigError, DataError.
        """
        model, images = self._classifier().to(self.device), len(self.split.train)
        return new_state(model, self.config, images=images, device=self.device, epochs=epochs)

    def _classifier(self) -> Classifier:
        config = self.config
        model = build_for(config, classes=len(self.images.classes))
        if config.has_maps:
            check_method(config.saliency, model, name=config.model, eigen_smooth=config.eigen_smooth)
        if self.judge is not None:
            check_method(self.judge, model, name=config.model, field="judge")
            check_regions(self.images, self.judged_ids)  # now, because the trial reads them only at its end
        log.info("%s at %d px: map %dx%d, %s", config.model, config.image_size, *model.grid, model.note)
        return model


def _make_deterministic(threads: int) -> None:
    """Set the threads and the deterministic kernels of this process."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False  # it would choose kernels by timing them
    torch.backends.cudnn.deterministic = True
