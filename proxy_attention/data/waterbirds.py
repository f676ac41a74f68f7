"""Open Waterbirds as it is published: landbirds and waterbirds cut out and set before land and water.

Source: Sagawa et al., Distributionally Robust Neural Networks for Group Shifts, ICLR 2020, appendix C.1.
"""

from pathlib import Path

from proxy_attention.data.catalogue import Catalogue
from proxy_attention.data.groups import Groups
from proxy_attention.data.manifests import Item, bad_line, build_catalogue, find_top, relative_path
from proxy_attention.data.tables import METADATA_FILE, read_table

FOLDER = "waterbird_complete95_forest2water2"
COLUMNS = ("img_id", "img_filename", "y", "split", "place", "place_filename")
CLASSES, PLACES = ("landbird", "waterbird"), ("land", "water")
"""By their numbers in the columns ``y`` and ``place``."""
SPLITS = ("train", "val", "test")
"""By their numbers in the column ``split``."""


def open_waterbirds(root: Path) -> Catalogue:
    """Open ``metadata.csv`` and the images that it lists, with the publisher's train, val and test.

    The group of an image is its class and its place, such as ``landbird on water``; it conflicts where they differ.

    Raises: DataError.
    """
    top, _ = find_top(root, (FOLDER,), (METADATA_FILE,))
    path, items = top / METADATA_FILE, []
    for line, row in read_table(path, COLUMNS):
        label, place, split = (
            _one_of(path, line, column, row[column], known)
            for column, known in (("y", CLASSES), ("place", PLACES), ("split", SPLITS))
        )
        name = relative_path(row["img_filename"], f"{path.name}, line {line},")
        group = f"{label} on {place}"
        items.append(Item(name, label, own_test=split == "test", own_val=split == "val", group=group))
    conflicting = (f"{CLASSES[0]} on {PLACES[1]}", f"{CLASSES[1]} on {PLACES[0]}")
    return build_catalogue(top, items, order=CLASSES, groups_of=lambda names: Groups.of(names, conflicting))


def _one_of(path: Path, line: int, column: str, number: str, known: tuple[str, ...]) -> str:
    """Name what a number of a column stands for.

    Raises: DataError.
    """
    numbers = [str(index) for index in range(len(known))]
    if number not in numbers:
        raise bad_line(path, line, f"have one of {', '.join(numbers)} as {column}", number)
    return known[int(number)]
