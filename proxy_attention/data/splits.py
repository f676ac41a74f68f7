"""Draw the images to train on, those that choose (val) and those measured once at the end (test); knows no pixels."""

import dataclasses
import hashlib
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

from proxy_attention.config import LEAKING, TrialConfig
from proxy_attention.errors import ConfigError, DataError
from proxy_attention.seeds import derive_seed

SPLITS = ("fixed", "redrawn", "merged")


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


def draw_split(labels: np.ndarray, own_test: np.ndarray, config: TrialConfig) -> Split:
    """Draw train, val and test from the config's split seed: stratified, once for the whole trial.

    A data set's own test split is kept, and val is then ``val_fraction`` of the rest; else both fractions are of all
    images. With ``folds = k``, val is fold number ``fold`` of what is not test.

    Args:
        labels: (N,) class numbers.
        own_test: (N,) bool.
    Raises: DataError if a class has too few images; ConfigError for folds under an audit protocol.
    """
    if config.split in LEAKING and config.folds:
        raise ConfigError(f"folds must be 0 with split = {config.split}; got {config.folds}")
    seed = config.effective_split_seed
    everything = np.arange(len(labels))
    if own_test.any():
        pool, test = everything[~own_test], everything[own_test]
        val_share = config.val_fraction
    else:
        pool, test = _draw_part(
            everything, labels, config.test_fraction, derive_seed(seed, "split", "test"), "test_fraction"
        )
        val_share = config.val_fraction / (1 - config.test_fraction)
    if config.folds:
        train, val = _fold(pool, labels, config, derive_seed(seed, "split", "folds"))
    else:
        train, val = _draw_part(pool, labels, val_share, derive_seed(seed, "split", "val"), "val_fraction")
    if config.train_fraction < 1:
        part = derive_seed(seed, "split", "train_fraction")
        _, train = _draw_part(train, labels, config.train_fraction, part, "train_fraction")
    if config.split == "merged":
        train = np.sort(np.concatenate([train, val]))
    return Split(train=train, val=val, test=test)


def redraw(split: Split, labels: np.ndarray, config: TrialConfig, item: int) -> Split:
    """AUDIT ONLY: draw train and val again from their union, as the thesis did at every item of its schedule.

    Item 0 keeps the split as it was drawn. The sizes and the test images never change.
    """
    if item == 0:
        return split
    union = np.sort(np.concatenate([split.train, split.val]))
    seed = derive_seed(config.effective_split_seed, "split", "redrawn", item)
    train, val = _draw_part(union, labels, len(split.val), seed, "val_fraction")
    return dataclasses.replace(split, train=train, val=val)


def _draw_part(
    pool: np.ndarray, labels: np.ndarray, share: float | int, seed: int, field: str
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a stratified part of this share; returns the rest and the part, both sorted."""
    size = share if isinstance(share, int) else round(share * len(pool))
    classes = np.unique(labels[pool])
    if size >= len(pool) and field == "train_fraction":
        return pool[:0], pool
    if min(size, len(pool) - size) < len(classes) or np.bincount(labels[pool])[classes].min() < 2:
        raise DataError(
            f"{field} must leave every class an image on both sides; got a part of {size} out of {len(pool)} images "
            f"in {len(classes)} classes"
        )
    rest, part = train_test_split(pool, test_size=size, stratify=labels[pool], random_state=seed % 2**32)
    return np.sort(rest), np.sort(part)


def _fold(pool: np.ndarray, labels: np.ndarray, config: TrialConfig, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Take val from the configured fold; returns train and val, both sorted."""
    fewest = int(np.bincount(labels[pool])[np.unique(labels[pool])].min())
    if config.folds > fewest:
        raise DataError(f"folds must be at most the images of the smallest class ({fewest}); got {config.folds}")
    folds = StratifiedKFold(n_splits=config.folds, shuffle=True, random_state=seed % 2**32)
    train, val = list(folds.split(pool, labels[pool]))[config.fold]
    return np.sort(pool[train]), np.sort(pool[val])
