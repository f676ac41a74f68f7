"""Read a publisher's lists and class folders, and build a catalogue of the files; knows no data set, reads no pixel.

Lists come from outside: a listed path may not leave the data root, and every listed file must be there.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from struct import error as StructError
from typing import Any
from zlib import error as ZlibError

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from proxy_attention.data.catalogue import Catalogue, named
from proxy_attention.data.decoding import open_image
from proxy_attention.data.folder import hidden, split_files
from proxy_attention.data.groups import Groups
from proxy_attention.data.image_files import read_image_file
from proxy_attention.errors import DataError

NOT_IN_PATHS = re.compile(r"[\x00-\x1f\\]")
"""Characters that a listed path may not hold: the separator of Windows, and control characters."""

BAD_MAT = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, MemoryError),
    *(MatReadError, StructError, ZlibError),
)
"""What scipy raises for a file that is damaged, or of another format than MATLAB 5."""


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled image.

    Attributes:
        name: its file, relative to the data set's folder.
        label: its class.
        own_test: whether it is of the data set's own test split; ``own_val``: of its own val.
        group: the name of its group; empty in a data set without groups.
    """

    name: str
    label: str
    own_test: bool
    own_val: bool = False
    group: str = ""


def find_top(root: Path, wrappers: Sequence[str], needs: Sequence[str]) -> tuple[Path, str]:
    """Find the folder that holds a data set: the root, or a folder into which its archive wraps it.

    Args:
        wrappers: names of folders below the root that may hold it.
        needs: names of which the folder must hold one; they are tried in this order.
    Returns: the folder, absolute, and the name that it holds.
    Raises: DataError for a missing root or one without any of them.
    """
    root = root.expanduser().absolute()
    if not root.is_dir():
        raise DataError(f"data root must be an existing folder; got {str(root)!r}")
    for top in (root, *(root / wrapper for wrapper in wrappers)):
        for need in needs:
            if (top / need).exists():
                return top, need
    raise DataError(f"data root must hold {' or '.join(needs)}; {str(root)!r} does not")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of every line that is not empty.

    Raises: DataError if it is missing or is no text.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if text := line.strip():
                    yield number, text
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"data root must hold {path.name} as text; {str(path)!r} is not ({_one_line(error)})"
        ) from error


def read_fields(path: Path, form: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of every line; blanks separate the fields.

    Args:
        form: the fields of a line, one word each, as ``<image> <path>``; a line must have as many.
    Raises: as ``read_lines``; DataError for a line of another number of fields.
    """
    expected = form.count("<")
    for number, line in read_lines(path):
        fields = line.split()
        if len(fields) != expected:
            raise bad_line(path, number, f"be {form}", line)
        yield number, fields


def whole_number(path: Path, number: int, field: str) -> int:
    """Convert a field that must be a whole number.

    Raises: DataError.
    """
    if not (field.isascii() and field.isdigit()):
        raise bad_line(path, number, "have a whole number there", field)
    return int(field)


def bad_line(path: Path, number: int, law: str, given: object) -> DataError:
    """Make the error for a line that is not as it must be."""
    shown = repr(given)
    return DataError(f"{path.name}, line {number}, must {law}; got {shown[:80]}{'...' * (len(shown) > 80)}")


def read_mat(path: Path, *names: str) -> list[np.ndarray]:
    """Read these variables of a MATLAB file, each as a flat array.

    Raises: DataError if it is missing, broken or lacks one.
    """
    try:
        found = loadmat(path, appendmat=False, variable_names=list(names))
        return [np.asarray(found[name]).ravel() for name in names]
    except BAD_MAT as error:
        asked = ", ".join(names)
        raise DataError(
            f"data root must hold {path.name}, a MATLAB file with {asked}; {str(path)!r} is not ({_one_line(error)})"
        ) from error


def mat_numbers(path: Path, name: str) -> list[int]:
    """Read a variable of a MATLAB file that must hold whole numbers.

    Raises: as ``read_mat``.
    """
    (values,) = read_mat(path, name)
    if not np.issubdtype(values.dtype, np.integer) and not (
        np.issubdtype(values.dtype, np.floating) and np.array_equal(values, np.round(values))
    ):
        raise DataError(f"{path.name} must hold whole numbers as {name}; got {values.dtype}")
    return [int(value) for value in values]


def mat_texts(path: Path, name: str) -> list[str]:
    """Read a variable of a MATLAB file that must be a cell array of texts.

    Raises: as ``read_mat``.
    """
    (cells,) = read_mat(path, name)
    texts = [cell.item() if isinstance(cell, np.ndarray) and cell.size == 1 else cell for cell in cells]
    if other := [text for text in texts if not isinstance(text, str)]:
        raise DataError(f"{path.name} must hold texts as {name}; got {str(other[0])[:40]!r}")
    return texts


def relative_path(listed: str, where: str, below: str = "") -> str:
    """Make a listed path relative to the data set's folder.

    Args:
        where: names the list, for the error.
        below: the folder that listed paths start from.
    Raises: DataError for one that is absolute, empty or leads upwards.
    """
    parts = [part for part in listed.split("/") if part not in ("", ".")]
    if listed.startswith("/") or not parts or ".." in parts or NOT_IN_PATHS.search(listed):
        raise DataError(f"{where} must name files below the data root; got {listed[:80]!r}")
    return "/".join((below, *parts) if below else parts)


def class_folders(top: Path, below: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield every class folder with its image files, in order; hidden folders and other files are left out.

    Args:
        below: where the class folders lie, relative to ``top``; names are relative to ``top``.
    Raises: DataError if there is none, or one without an image.
    """
    place = top / below
    folders = sorted(child.name for child in place.iterdir() if child.is_dir() and not hidden(child.name))
    if not folders:
        raise DataError(f"data root must hold class folders in {below or '.'}; {str(place)!r} holds none")
    for folder in folders:
        yield folder, image_names(top, str(PurePosixPath(below) / folder))


def image_names(top: Path, folder: str) -> list[str]:
    """List the image files directly in a folder, sorted, relative to ``top``.

    Raises: DataError if there is none.
    """
    try:
        names = [file.name for file in (top / folder).iterdir()]
        found = [file.name for file in split_files(top / folder, names)[0]]
    except OSError as error:
        raise DataError(f"data root must hold the folder {folder}; {str(top)!r} does not") from error
    if not found:
        raise DataError(f"a class folder must hold at least one image; {str(top / folder)!r} holds none")
    return [f"{folder}/{name}" for name in found]


def build_catalogue(
    top: Path,
    items: Iterable[Item],
    *,
    order: Sequence[str] | None = None,
    region: Callable[[str], np.ndarray | None] | None = None,
    groups_of: Callable[[Sequence[str]], Groups] | None = None,
) -> Catalogue:
    """Build a catalogue of these images, sorted by name, the own test split last.

    Args:
        order: the classes in the publisher's order; without it they are sorted by name.
        region: returns where the object of an image is, by the name of its file.
        groups_of: makes the groups from the name of each image's group; None for a data set without groups.
    Raises: DataError for a file listed twice or missing, fewer than two classes, or one without an image to train on.
    """
    found = sorted(items, key=lambda item: (item.own_test, item.name))
    names = tuple(item.name for item in found)
    _check_names(top, names)
    trained = {item.label for item in found if not (item.own_test or item.own_val)}
    classes = tuple(order) if order is not None else tuple(sorted({item.label for item in found}))
    check_classes(classes, trained)
    index = {label: number for number, label in enumerate(classes)}
    base = str(top)
    return Catalogue(
        names=names,
        labels=tuple(index[item.label] for item in found),
        own_test=tuple(item.own_test for item in found),
        own_val=tuple(item.own_val for item in found) if any(item.own_val for item in found) else (),
        classes=classes,
        read=lambda i: read_image_file(Path(base, names[i])),
        decode=open_image,
        region=None if region is None else lambda i: region(names[i]),
        groups=None if groups_of is None else groups_of([item.group for item in found]),
    )


def check_classes(classes: Sequence[str], trained: set[str]) -> None:
    """Check that there are at least two classes, each named once and with an image to train on.

    Raises: DataError.
    """
    if len(set(classes)) != len(classes):
        twice = sorted({label for label in classes if classes.count(label) > 1})
        raise DataError(f"every class must be named once; these are named twice: {named(twice)}")
    if len(classes) < 2:
        raise DataError(f"a data set must have at least two classes of images; got {list(classes)}")
    if empty := [label for label in classes if label not in trained]:
        raise DataError(f"every class must have images to train on; none is listed for {named(empty)}")


def _check_names(top: Path, names: Sequence[str]) -> None:
    """Check that every file is listed once and exists; each folder is read once.

    Raises: DataError that names the first few and counts them.
    """
    if len(set(names)) != len(names):
        twice = list((Counter(names) - Counter(set(names))).elements())
        raise DataError(f"every image must be listed once; {len(twice)} are listed again: {named(twice)}")
    there: dict[str, frozenset[str]] = {}
    missing = []
    for name in names:
        folder, _, file = name.rpartition("/")
        if folder not in there:
            try:
                with os.scandir(top / folder) as entries:
                    there[folder] = frozenset(entry.name for entry in entries)
            except OSError:
                there[folder] = frozenset()
        if file not in there[folder]:
            missing.append(name)
    if missing:
        raise DataError(
            f"every listed image must be in the data root; {len(missing)} of {len(names)} "
            f"{'is' if len(missing) == 1 else 'are'} missing in {str(top)!r}: {named(missing)}"
        )


def _one_line(error: Exception) -> Any:
    """Take an error's text as one line, without the path that our message names already."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(str(said).split())[:120] or type(error).__name__
