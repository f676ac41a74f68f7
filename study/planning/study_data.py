"""The data of a study: each data set is opened and inspected once, each split is drawn once; knows no model."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from proxy_attention.config import AUTO, DEFAULTS, TrialConfig, fields_with
from proxy_attention.config_fields import Role
from proxy_attention.data.cache import LIMIT_MB
from proxy_attention.data.catalogue import Catalogue
from proxy_attention.data.groups import Groups
from proxy_attention.data.image_files import MAX_PIXELS
from proxy_attention.data.images import Inspection, UnreadableImagesError, inspect
from proxy_attention.data.sources import open_source
from proxy_attention.data.splits import Split, draw_split
from proxy_attention.data.white_level import WhiteLevel
from proxy_attention.errors import DataError
from proxy_attention.shortcut import NO_SHORTCUT

CATALOGUE_FIELDS = fields_with(Role.CATALOGUE)
"""The fields that decide which images there are."""
SPLIT_FIELDS = fields_with(Role.SPLIT)
"""The fields that decide how a data set is split."""


class StudyData:
    """Opens each data set of a study once and keeps what was found.

    Args:
        root: where the data set lies, or None.
        progress: called with (what is being done, images read, images in all) while a data set is read.
        cache: a folder in which decoded images are kept for the trials; None keeps none.
        cache_mb: disk space that they may take, in MiB.
        max_pixels: the most pixels of an image.
    """

    def __init__(
        self,
        root: Path | None,
        *,
        progress: Callable[[str, int, int], None] | None = None,
        cache: Path | None = None,
        cache_mb: int = LIMIT_MB,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._max_pixels = max_pixels
        self._root, self._progress, self._cache, self._cache_mb = root, progress, cache, cache_mb
        self._opened: dict[tuple[Any, ...], tuple[Catalogue, Inspection]] = {}
        self._cached: set[tuple[Any, ...]] = set()  # the data sets and sizes that lie in the cache
        self._splits: dict[tuple[Any, ...], Split] = {}

    def inspection(self, config: TrialConfig) -> Inspection:
        """Inspect the config's data set: decode every image once, or once per size if images are cached.

        Raises: DataError, ConfigError.
        """
        return self._open(config)[1]

    def catalogue(self, config: TrialConfig) -> Catalogue:
        """Open the config's data set.

        Raises: DataError, ConfigError.
        """
        return self._open(config)[0]

    def with_white_level(self, config: TrialConfig) -> TrialConfig:
        """Return the config with the white that was found in its images, if they need one and it names none.

        So every trial, and whoever predicts with its model, decodes the images alike.
        Raises: DataError, ConfigError.
        """
        white = self.inspection(config).white
        if white is None or config.white_level != AUTO:
            return config
        pinned = replace(config, white_level=white.value)
        key, size = _data_key(pinned), config.image_size if self._cache is not None else None
        self._opened[key] = self._open(config)
        self._cached.add((*key, size))
        return pinned

    @property
    def white_levels(self) -> list[WhiteLevel]:
        """The whites that were found, over all data sets opened."""
        found = (inspection.white for _, inspection in self._opened.values() if inspection.white is not None)
        return list(dict.fromkeys(found))

    @property
    def skipped(self) -> list[str]:
        """Names of the unreadable images that are left out, over all data sets opened."""
        names = (name for _, inspection in self._opened.values() for name in inspection.skipped)
        return list(dict.fromkeys(names))

    def split(self, config: TrialConfig) -> Split:
        """Draw the config's split of its readable images."""
        canonical = config.canonical()  # its split seed is a number, never None
        key = (*_data_key(config), *(getattr(canonical, field) for field in SPLIT_FIELDS))
        key += (config.schedule,) if config.split == "redrawn" else ()  # it is drawn again at every item
        if key not in self._splits:
            catalogue, inspection = self._open(config)
            kept = _kept(catalogue, inspection)
            labels = np.array(catalogue.labels)[kept]
            own_test = np.array(catalogue.own_test)[kept]
            own_val = np.array(catalogue.own_val)[kept] if catalogue.own_val else None
            self._splits[key] = draw_split(labels, own_test, config, catalogue.classes, own_val=own_val)
        return self._splits[key]

    def tells_places(self, config: TrialConfig) -> bool:
        """Whether places in the images are known: by the data set, or because a shortcut is planted there."""
        return config.shortcut != NO_SHORTCUT or self.catalogue(config).region is not None

    def groups(self, config: TrialConfig) -> Groups | None:
        """Return the groups of the readable images; None for a data set without groups."""
        catalogue, inspection = self._open(config)
        return None if catalogue.groups is None else catalogue.groups.at(_kept(catalogue, inspection))

    def train_and_val_images(self, config: TrialConfig) -> tuple[int, int]:
        """Count the images that an epoch trains on, and those that it evaluates on."""
        split = self.split(config)
        return len(split.train), len(split.val)

    def _open(self, config: TrialConfig) -> tuple[Catalogue, Inspection]:
        """Open and inspect the config's data set, unless that was done before."""
        key = _data_key(config)
        size = config.image_size if self._cache is not None else None
        if (*key, size) in self._cached:
            return self._opened[key]
        known = self._opened.get(key)
        catalogue = known[0] if known else self._catalogue(config)

        def report(done: int, total: int) -> None:
            if self._progress is not None:
                self._progress(f"checking {config.dataset}", done, total)

        try:
            inspection = inspect(
                catalogue,
                config.on_bad_image,
                report,
                size=size,
                cache=self._cache,
                limit_mb=self._cache_mb,
            )
        except UnreadableImagesError as error:
            text = str(error).replace("max_pixels", "--max-pixels")
            raise DataError(f"{text}; {self._check_command(config)} reads and names all") from error
        if known and inspection != known[1]:
            raise DataError(f"the images of {config.dataset} must not change while a study is planned; they have")
        self._opened[key] = catalogue, inspection
        self._cached.add((*key, size))
        return self._opened[key]

    def _check_command(self, config: TrialConfig) -> str:
        """Return the command that checks every image of the config's data set."""
        words = ["python", "study/data.py", "check", str(self._root or Path("data") / config.dataset)]
        if config.dataset != "folder":
            words += ["--dataset", config.dataset]
        elif config.label_function != DEFAULTS["label_function"]:
            words += ["--label-function", config.label_function]
        return shlex.join(words)

    def _catalogue(self, config: TrialConfig) -> Catalogue:
        return open_source(
            config.dataset,
            self._root,
            config.label_function,
            max_pixels=self._max_pixels,
            white_level=config.white_level,
        )


def _kept(catalogue: Catalogue, inspection: Inspection) -> list[int]:
    """List the numbers of the readable images."""
    bad = set(inspection.skipped)
    return [i for i, name in enumerate(catalogue.names) if name not in bad]


def _data_key(config: TrialConfig) -> tuple[Any, ...]:
    return tuple(getattr(config, field) for field in CATALOGUE_FIELDS)
