"""Which data sets there are, one row each; knows how to open them, not how they are split or used."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from proxy_attention.data.folder import list_folder
from proxy_attention.data.reading import Catalogue
from proxy_attention.errors import ConfigError, DataError, unknown

SAMPLE_SHA256 = "f08d351056d93c7431ac62fdddb02e00904ddfcfadff56b54f8ef1e336b87ce3"
SAMPLE_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot",
)  # fmt: skip


@dataclass(frozen=True)
class Archive:
    """A file that is downloaded, and unpacked if it is an archive; as torchvision's own classes state it."""

    url: str
    md5: str
    filename: str


@dataclass(frozen=True)
class Source:
    """A row of the table: how to open the data set, and what to tell a person about it.

    Attributes:
        open: from its place and a label function to its catalogue.
        needs_root: False if it ships inside the package.
        licence: as the publisher says it; "not stated" where that is not.
        home: the publisher's page.
        classes: how many there are; None if they are as found.
        split: whose the split is, in a few words.
        layout: what must lie below its place, as the publisher ships it.
        label: how a class is read off.
        archives: what can be downloaded; empty where it is to be got by hand.
        by_hand: then, where to get it and what to put where.
    """

    open: Callable[[Path | None, str], Catalogue]
    needs_root: bool
    licence: str
    home: str
    classes: int | None
    split: str
    layout: str
    label: str
    archives: tuple[Archive, ...] = ()
    by_hand: str = ""


def open_sample(root: Path | None = None, label_function: str = "parent-folder") -> Catalogue:
    """The embedded sample: 3,000 training and 1,000 test images of Fashion-MNIST, 28x28 grey, 10 balanced classes.

    Raises: DataError if the file is not, byte for byte, the one that shipped.
    """
    content = files("proxy_attention.data.embedded").joinpath("fashion_mnist_sample.npz").read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SAMPLE_SHA256:
        raise DataError(f"fashion_mnist_sample.npz must have SHA-256 {SAMPLE_SHA256}; got {found} (install again)")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        pixels = np.concatenate([arrays["train_images"], arrays["test_images"]])
        labels = np.concatenate([arrays["train_labels"], arrays["test_labels"]])
        names = [f"{split}/{i:05d}" for split in ("train", "test") for i in arrays[f"{split}_index"]]
        trained = len(arrays["train_labels"])
    return Catalogue(
        names=tuple(names),
        labels=tuple(labels.tolist()),
        own_test=tuple(i >= trained for i in range(len(labels))),
        classes=SAMPLE_CLASSES,
        read=lambda i: pixels[i].tobytes(),
        decode=lambda raw: Image.frombytes("L", (28, 28), raw).convert("RGB"),
        form="28 x 28 grey bytes",
    )


def open_folder(root: Path | None, label_function: str = "parent-folder") -> Catalogue:
    """Any folder of images below ``root``."""
    if root is None:
        raise ConfigError("dataset 'folder' must be given its place (--data-root DIR); got none")
    return list_folder(root, label_function)


SOURCES: dict[str, Source] = {
    "fashion-mnist-sample": Source(
        open=open_sample,
        needs_root=False,
        licence="MIT",
        home="https://github.com/zalandoresearch/fashion-mnist",
        classes=10,
        split="its own train and test",
        layout="inside the package: 3,000 and 1,000 images, balanced",
        label="the file's label arrays",
    ),
    "folder": Source(
        open=open_folder,
        needs_root=True,
        licence="yours",
        home="--data-root DIR",
        classes=None,
        split="its own where there is DIR/train and DIR/test, else none: drawn",
        layout="DIR/<class>/* or DIR/train|test/<class>/*",
        label="label_function: the parent folder's name, or the file's name up to its last underscore",
        by_hand="put your images into DIR/<class>/* or DIR/train|test/<class>/*",
    ),
}
"""Every data set by name."""


def open_source(dataset: str, root: Path | None = None, label_function: str = "parent-folder") -> Catalogue:
    """Open a data set without decoding an image.

    Raises: ConfigError for an unknown name or a place that is missing or not wanted; DataError for a bad folder.
    """
    if dataset not in SOURCES:
        raise unknown("dataset", dataset, SOURCES)
    source = SOURCES[dataset]
    if root is not None and not source.needs_root:
        raise ConfigError(f"--data-root must not be given with dataset {dataset!r}, which ships inside the package")
    return source.open(root, label_function)
