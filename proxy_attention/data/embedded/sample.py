"""The sample of Fashion-MNIST that ships inside the package, so that a study runs without a download."""

import hashlib
import io
from importlib.resources import files

import numpy as np
from PIL import Image

from proxy_attention.data.catalogue import Catalogue
from proxy_attention.errors import DataError

SAMPLE_SHA256 = "f08d351056d93c7431ac62fdddb02e00904ddfcfadff56b54f8ef1e336b87ce3"
SAMPLE_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot",
)  # fmt: skip


def open_sample() -> Catalogue:
    """Open the embedded sample: 3,000 training and 1,000 test images of Fashion-MNIST, 28x28 grey, 10 balanced classes.

    Raises: DataError if the file is not, byte for byte, the one that shipped.
    """
    content = files("proxy_attention.data.embedded").joinpath("fashion_mnist_sample.npz").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != SAMPLE_SHA256:
        raise DataError(f"fashion_mnist_sample.npz must have SHA-256 {SAMPLE_SHA256}; got {sha256} (install again)")
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
