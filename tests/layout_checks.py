"""What the small trees of every data set hold, and what a damaged one is refused with."""

from pathlib import Path

import pytest

from proxy_attention.data.registry import SOURCES
from proxy_attention.data.sources import open_source
from proxy_attention.errors import DataError

ROWS = [name for name, source in SOURCES.items() if source.needs_root]

CLASSES = {
    "cifar10": ("airplane", "automobile"),
    "cifar100": ("apple", "aquarium_fish"),
    "caltech101": ("accordion", "airplanes"),
    "caltech256": ("ak47", "american-flag"),
    "places365": ("airfield", "apartment_building/outdoor"),
    "stanford-dogs": ("Chihuahua", "soft-coated_wheaten_terrier"),
    "tsinghua-dogs": ("Shiba_Dog", "flat_coated-retriever"),
    "oxford-iiit-pets": ("Abyssinian", "american_bulldog"),
    "imagenette": ("English springer", "tench"),
    "imagewoof": ("Rhodesian ridgeback", "Shih-Tzu"),
    "tiny-imagenet": ("crane (n02012849)", "crane (n03126707)", "goldfish"),
    "food101": ("apple_pie", "baby_back_ribs"),
    "flowers102": ("001", "002"),
    "asl-alphabet": ("A", "del"),
    "plant-village": ("Apple___Apple_scab", "Corn_(maize)___healthy"),
    "fer2013": ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
    "cub200": ("Black_footed_Albatross", "Laysan_Albatross"),
    "folder": ("cat", "dog"),
}
"""The classes of each tree, in the order of its catalogue."""


def refusal(dataset: str, root: Path) -> str:
    """The error of a data set that is not as its publisher ships it; it must be one short line."""
    with pytest.raises(DataError) as refused:
        open_source(dataset, root)
    text = str(refused.value)
    assert "\n" not in text
    assert len(text) < 900
    return text


def find_file(root: Path, name: str) -> Path:
    """Where the one file of this name lies."""
    (path,) = root.rglob(name)
    return path


def add_line(path: Path, line: str) -> None:
    """Append a line to a list."""
    with path.open("a") as file:
        file.write(line + "\n")
