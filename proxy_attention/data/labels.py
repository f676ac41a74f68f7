"""Read the class of an image off its path, and refuse paths that give a class by accident; reads no file."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

from proxy_attention.errors import DataError

NUMBERS = re.compile(r"(?:[a-z]?\d+[.-])+")


def parent_folder(path: PurePosixPath) -> str:
    """Take the name of the folder that holds the file."""
    return path.parent.name


def top_folder(path: PurePosixPath) -> str:
    """Take the name of the first folder of the path, whatever folders lie in it."""
    return path.parts[0] if len(path.parts) > 1 else ""


def file_prefix(path: PurePosixPath) -> str:
    """Take the file's name up to its last underscore, as in ``american_bulldog_10.jpg``."""
    return path.stem.rpartition("_")[0]


def unnumbered(folder: str) -> str:
    """Strip the numbers before a folder's name, as in ``001.ak47`` or ``n02085620-Chihuahua``."""
    return NUMBERS.sub("", folder, count=1) if NUMBERS.match(folder) else folder


def numbered_folder(path: PurePosixPath) -> str:
    """Take the name of the folder that holds the file, without the numbers before it."""
    return unnumbered(path.parent.name)


LABEL_FUNCTIONS: dict[str, Callable[[PurePosixPath], str]] = {
    "parent-folder": parent_folder,
    "numbered-folder": numbered_folder,
    "top-folder": top_folder,
    "file-prefix": file_prefix,
}
"""Functions from an image's path, relative to its split's folder, to its class."""

OF_NEAREST_FOLDER = frozenset({"parent-folder", "numbered-folder"})
"""Those that take the name of the folder that holds the file, however deep it lies."""


def label_of(path: PurePosixPath, label_function: str) -> str:
    """Read the class of an image off its path, relative to its split's folder; empty if it has none.

    A name is one whether its accents are letters of their own (NFD, as macOS writes them) or not (NFC).
    """
    return one_spelling(LABEL_FUNCTIONS[label_function](path))


def one_spelling(name: str) -> str:
    """Return a name in NFC: its accents may be letters of their own (NFD), and it is one name."""
    return unicodedata.normalize("NFC", name)


def check_labels(labelled: Sequence[tuple[PurePosixPath, str]], label_function: str) -> None:
    """Check that every image has a class, and that no class is one by accident.

    Args:
        labelled: each image's path, relative to its split's folder, and its class.
    Raises: DataError for an image without a class, a class that is no text, a class of folders in different places, or
        images beside folders of images.
    """
    for path, label in labelled:
        if not label:
            raise DataError(f"{path} has no class: {label_function} finds none in its path")
        if not label.isascii() and label.encode(errors="replace").decode() != label:
            raise DataError(f"a class must have a name in UTF-8; got {str(path.parent)!r}: rename that folder")
    if label_function not in OF_NEAREST_FOLDER:
        return
    folders = {path.parent: label for path, label in labelled}
    places: dict[str, PurePosixPath] = {}
    for folder, label in sorted(folders.items()):
        other = places.setdefault(label, folder)
        if one_spelling(str(other.parent)) != one_spelling(str(folder.parent)):
            raise DataError(
                f"a class must lie in one place; {label!r} is {str(other)!r} and {str(folder)!r}{_hint(labelled)}"
            )
        if above := next((parent for parent in folder.parents if parent in folders), None):
            raise DataError(
                f"images must not lie beside folders of images; {str(above)!r} holds images and {str(folder)!r} does"
                f"{_hint(labelled)}"
            )


def _hint(labelled: Iterable[tuple[PurePosixPath, str]]) -> str:
    """Say which label function would read these paths."""
    classes = sorted({label_of(path, "top-folder") for path, _ in labelled})
    if len(classes) < 2 or "" in classes:
        return " (put all images of a class into one folder)"
    more = ", ..." if len(classes) > 3 else ""
    return f" (label_function = top-folder would read the classes {', '.join(classes[:3])}{more})"
