"""Draw the images to train on, those that choose (val) and those measured once at the end (test); knows no pixels."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

from proxy_attention.config import LEAKING, TrialConfig
from proxy_attention.data.catalogue import named
from proxy_attention.data.groups import Groups
from proxy_attention.data.images import ImageSet
from proxy_attention.errors import ConfigError, DataError
from proxy_attention.seeds import derive_seed
from proxy_attention.shortcut import NO_SHORTCUT

SPLITS = ("fixed", "redrawn", "merged")

MOST_ASKED = 10_000
"""The most images of a class that an error asks for."""


@dataclass(frozen=True, eq=False)
class Split:
    """Numbers of the images of each split, (M,) int64 ascending; disjoint unless ``config.split`` is in ``LEAKING``."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def digest(self) -> str:
        """Hash the three sets with SHA-256: trials with the same digest used the same images in the same roles."""
        sha = hashlib.sha256()
        for part in (self.train, self.val, self.test):
            sha.update(len(part).to_bytes(8, "big") + part.astype(">i8").tobytes())
        return sha.hexdigest()


def draw_split(
    labels: np.ndarray,
    own_test: np.ndarray,
    config: TrialConfig,
    classes: Sequence[str] = (),
    *,
    own_val: np.ndarray | None = None,
) -> Split:
    """Draw train, val and test from the config's split seed: stratified, once for the whole trial.

    A data set's own test split is kept, and val is then ``val_fraction`` of the rest; else both fractions are of all
    images. With ``folds = k``, val is fold number ``fold`` of what is not test. A data set's own val is kept as val,
    whole, and nothing else is; it is never trained on, not even by an audit.

    Args:
        labels: (N,) class numbers.
        own_test: (N,) bool.
        classes: the names of the classes, for errors; without them they are numbered.
        own_val: (N,) bool; None where a data set has no val of its own.
    Raises: DataError that names a class without an image in train, val or test, also where ``split = redrawn`` draws
        again; ConfigError for folds under an audit protocol, and for either with an own val.
    """
    _check_fields(config, has_own_val=own_val is not None)
    seed, lot = config.effective_split_seed, _Lot(labels, own_test, config, tuple(classes))
    everything = np.arange(len(labels))
    if own_val is not None:
        everything, val = everything[~own_val], everything[own_val]
        lot.check_own(val, everything, "val")
    if own_test.any():
        pool, test = everything[~own_test[everything]], everything[own_test[everything]]
        val_share = config.val_fraction
        lot.check_own(test, pool, "test")
    else:
        test_seed = derive_seed(seed, "split", "test")
        pool, test = lot.part(everything, config.test_fraction, test_seed, "test_fraction")
        val_share = config.val_fraction / (1 - config.test_fraction)
    if own_val is not None:
        lot.check_own(pool, val, "train")
        train = pool
    elif config.folds:
        train, val = lot.fold(pool, derive_seed(seed, "split", "folds"))
    else:
        train, val = lot.part(pool, val_share, derive_seed(seed, "split", "val"), "val_fraction")
    if config.train_fraction < 1:
        part = derive_seed(seed, "split", "train_fraction")
        _, train = lot.part(train, config.train_fraction, part, "train_fraction")
    if config.split == "merged":
        train = np.sort(np.concatenate([train, val]))
    drawn = Split(train=train, val=val, test=test)
    if config.split == "redrawn":
        for item in range(1, len(config.planned.items)):
            _redrawn(drawn, lot, item)
    return drawn


def _check_fields(config: TrialConfig, *, has_own_val: bool) -> None:
    """Check that the fields of the split go together, and with the data set.

    Raises: ConfigError.
    """
    if config.split in LEAKING and config.folds:
        raise ConfigError(f"folds must be 0 with split = {config.split}; got {config.folds}")
    if config.split in LEAKING and config.shortcut != NO_SHORTCUT:
        raise ConfigError(f"split must be fixed with a shortcut, which is planted by the split; got {config.split!r}")
    if has_own_val and config.folds:
        raise ConfigError(f"folds must be 0 with dataset {config.dataset!r}, which has its own val; got {config.folds}")
    if has_own_val and config.split in LEAKING:
        own = f"dataset {config.dataset!r}, whose own val is never trained on"
        raise ConfigError(f"split must be fixed with {own}; got {config.split!r}")


def split_of(images: ImageSet, config: TrialConfig) -> Split:
    """Draw the split of a data set; see ``draw_split``."""
    own_val = None if images.own_val is None else images.own_val.numpy()
    return draw_split(images.labels.cpu().numpy(), images.own_test.numpy(), config, images.classes, own_val=own_val)


def emptied_groups(groups: Groups, split: Split) -> str:
    """Name in one line the groups of which train, val or test has no image; empty if each has one of every group."""
    texts = []
    for part, images in vars(split).items():
        if lost := [groups.names[number] for number in np.flatnonzero(groups.counts(images) == 0)]:
            texts.append(f"no {part} image of {named(lost)}")
    return "; ".join(texts)


def redraw(split: Split, labels: np.ndarray, config: TrialConfig, item: int) -> Split:
    """AUDIT ONLY: draw train and val again from their union, as the thesis did at every item of its schedule.

    Item 0 keeps the split as it was drawn. The sizes and the test images never change.
    Raises: DataError for a class without an image in train or val; ``draw_split`` has raised it before.
    """
    return split if item == 0 else _redrawn(split, _Lot(labels, np.zeros(len(labels), dtype=bool), config, ()), item)


def _redrawn(split: Split, lot: "_Lot", item: int) -> Split:
    union = np.sort(np.concatenate([split.train, split.val]))
    seed = derive_seed(lot.config.effective_split_seed, "split", "redrawn", item)
    train, val = lot.part(union, len(split.val), seed, "val_fraction")
    return dataclasses.replace(split, train=train, val=val)


@dataclass(frozen=True, eq=False)
class _Lot:
    """The images that are drawn from; refuses a draw that leaves a class without an image."""

    labels: np.ndarray
    own_test: np.ndarray
    config: TrialConfig
    classes: tuple[str, ...]

    def part(self, pool: np.ndarray, share: float | int, seed: int, field: str) -> tuple[np.ndarray, np.ndarray]:
        """Draw a stratified part of this share; returns the rest and the part, both sorted."""
        size = share if isinstance(share, int) else round(share * len(pool))
        kinds, counts = np.unique(self.labels[pool], return_counts=True)
        if size >= len(pool) and field == "train_fraction":
            return pool[:0], pool
        if min(size, len(pool) - size) < len(kinds) or counts.min() < 2:  # no draw can be stratified
            raise self._too_few(field, size, pool, kinds[counts == counts.min()].tolist())
        rest, part = train_test_split(pool, test_size=size, stratify=self.labels[pool], random_state=seed % 2**32)
        sides = (part,) if field == "train_fraction" else (rest, part)
        if missing := [kind for side in sides for kind in self.missing(pool, side)]:
            raise self._too_few(field, size, pool, missing)
        return np.sort(rest), np.sort(part)

    def fold(self, pool: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Take val from the configured fold; returns train and val, both sorted."""
        count = self.config.folds
        kinds, counts = np.unique(self.labels[pool], return_counts=True)
        if count > counts.min():
            raise DataError(
                f"folds must be at most the images of the smallest class ({counts.min()}); got {count}, where "
                f"{self._what_it_takes(kinds[counts == counts.min()].tolist())}, or fewer folds"
            )
        folds = StratifiedKFold(n_splits=count, shuffle=True, random_state=seed % 2**32)
        train, val = list(folds.split(pool, self.labels[pool]))[self.config.fold]
        return np.sort(pool[train]), np.sort(pool[val])

    def check_own(self, part: np.ndarray, rest: np.ndarray, name: str) -> None:
        """Check that a part of a data set's own split has every class of the rest.

        Raises: DataError.
        """
        if missing := self.missing(rest, part):
            raise DataError(
                f"{name} must have an image of every class; {self.named(missing, rest)}, and none in {name}"
            )

    def missing(self, pool: np.ndarray, side: np.ndarray) -> list[int]:
        """List the classes of the pool without an image in this part of it."""
        return [int(kind) for kind in np.setdiff1d(self.labels[pool], self.labels[side])]

    def named(self, kinds: list[int], pool: np.ndarray) -> str:
        """Name the class of these that has the fewest images in the pool, count them, and count the other classes."""
        counts = {kind: int(np.count_nonzero(self.labels[pool] == kind)) for kind in kinds}
        first = min(counts, key=lambda kind: counts[kind])
        name = repr(self.classes[first]) if self.classes else str(first)
        more = f", and {len(counts) - 1} more lack one" if len(counts) > 1 else ""
        return f"class {name} has {counts[first]} image{'s' * (counts[first] != 1)}{more}"

    def _too_few(self, field: str, size: int, pool: np.ndarray, kinds: list[int]) -> DataError:
        """Make the error for a draw that leaves these classes without an image."""
        return DataError(
            f"{field} must leave every class an image on both sides; got a part of {size} out of {len(pool)} images, "
            f"where {self._what_it_takes(kinds)}, or another {field}"
        )

    def _what_it_takes(self, kinds: list[int]) -> str:
        """Name the class of these that has the fewest images, and say how many are enough; an own test is not meant."""
        everything = np.flatnonzero(~self.own_test)
        _, counts = np.unique(self.labels[everything], return_counts=True)
        return f"{self.named(kinds, everything)}: {_enough(counts, self)} of each class"


def _enough(counts: np.ndarray, lot: _Lot) -> str:
    """Say how many images of each class are surely enough.

    Args:
        counts: of each class, without the data set's own test.
    """
    return next(
        (f"it takes {n}" for n in range(2, MOST_ASKED + 1) if _surely(np.maximum(counts, n), lot)),
        f"it takes more than {MOST_ASKED:,}",
    )


def _surely(counts: np.ndarray, lot: _Lot) -> bool:
    """Whether every draw from so many images of each class leaves each one on every side.

    A stratified draw rounds each class' share of the part up or down, and so the rest's.
    """
    config, total = lot.config, int(counts.sum())
    steps = [] if lot.own_test.any() else [config.test_fraction]
    steps += [1 / config.folds if config.folds else config.val_fraction / (1 - sum(steps))]
    for share in steps:
        size = round(share * total)
        if min(size, total - size) < len(counts) or (counts * size // total).min() < 1:
            return False
        counts, total = counts * (total - size) // total, total - size
    size = round(config.train_fraction * total)
    if size < total and min(size, total - size) < len(counts):
        return False
    return bool((counts * size // total).min() >= 1)
