"""List the images of a folder with their labels; reads no pixel.

A study trains on ``DIR/<class>/*`` or ``DIR/train|test/<class>/*``; a folder that is only checked may have any layout.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NoReturn

from proxy_attention.data.catalogue import Catalogue, OtherFile, named
from proxy_attention.data.decoding import open_image
from proxy_attention.data.image_files import is_image_file, known_kind, read_image_file
from proxy_attention.data.labels import LABEL_FUNCTIONS, check_labels, label_of
from proxy_attention.errors import DataError, unknown

SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir"})
"""Files and folders that Windows, macOS and network drives create among a person's own."""

TRAIN, TEST, VALIDATION = (
    re.compile(rf"(?<![a-z])(?:{words})(?![a-z])")
    for words in ("train|training|trainval", "test|testing", "val|valid|validation")
)
"""Words in a folder's name that tell a split, as in ``test_set``."""

SPLIT_ORDER = ("train", "val", "test")
SPLIT_FOLDERS = {"test": frozenset({"test", "testing"}), "val": frozenset({"val", "valid", "validation"})}
"""Where a folder is only checked: the folder names that tell a split; images elsewhere are for training."""


def hidden(name: str) -> bool:
    """Whether a name begins with a dot, or is of a file or folder that the system created."""
    return name.startswith(".") or name.casefold() in SYSTEM_FILES


def split_files(folder: Path, names: Iterable[str]) -> tuple[list[Path], list[Path]]:
    """Part the files of a folder into images and others, each sorted by name; hidden ones are left out.

    Whoever looks for images asks here: a study, a check and a prediction find the same.
    """
    parts: tuple[list[Path], list[Path]] = ([], [])
    for name in sorted(names):
        if not hidden(name):
            parts[0 if is_image_file(folder / name) else 1].append(folder / name)
    return parts


def other_files(paths: Iterable[Path], top: Path) -> tuple[OtherFile, ...]:
    """Name files that are no images, relative to a folder, and say what is known of them."""
    return tuple(OtherFile(path.relative_to(top).as_posix(), known_kind(path)) for path in paths)


def list_folder(root: Path, label_function: str = "parent-folder") -> Catalogue:
    """Find the images below ``root`` and label them.

    Raises: DataError for a missing or empty root, an empty class folder, one class only, an image without a class,
        a test class that train lacks, a folder found twice or unreadable, or a split folder of another name or place;
        ConfigError for an unknown label function.
    """
    if label_function not in LABEL_FUNCTIONS:
        raise unknown("label_function", label_function, LABEL_FUNCTIONS)
    root = _existing_folder(root)
    found: list[tuple[bool, str, str]] = []  # own test, name, class
    labelled: list[tuple[PurePosixPath, str]] = []
    others: list[Path] = []
    seen: dict[str, str] = {}
    for own_test, top in _split_folders(root):
        for path in _image_files(top, seen, others, pooled=top == root):
            relative = PurePosixPath(path.relative_to(top).as_posix())
            labelled.append((relative, label_of(relative, label_function)))
            found.append((own_test, path.relative_to(root).as_posix(), labelled[-1][1]))
    check_labels(labelled, label_function)
    found.sort(key=lambda entry: entry[:2])
    classes = sorted({label for _, _, label in found})
    if len(classes) < 2:
        raise DataError(f"data root must hold at least two classes of images; got {classes} in {str(root)!r}")
    trained = {label for own_test, _, label in found if not own_test}
    if missing := sorted(set(classes) - trained):
        raise DataError(f"every class of test/ must have images in train/; train lacks {', '.join(missing)}")
    return _build_catalogue(root, found, others)


def list_all(root: Path) -> tuple[Catalogue, tuple[str, ...]]:
    """List every image below ``root``, whatever the layout: to check them, not to train on them.

    Returns: the images, each labelled with the name of its folder; and the split of each, one of ``SPLIT_ORDER``, which
        the name of a folder above it tells.
    Raises: DataError for a missing root, one without an image, or an unreadable folder.
    """
    root = _existing_folder(root)
    found: list[tuple[str, str, str]] = []  # split, name, class
    others: list[Path] = []
    for folder, files in walk(root):
        split = _split_of(folder.relative_to(root))
        images, rest = split_files(folder, files)
        label = label_of(PurePosixPath(folder, "image"), "parent-folder")
        found += [(split, path.relative_to(root).as_posix(), label) for path in images]
        others += rest
    if not found:
        raise DataError(f"data root must hold at least one image; {str(root)!r} holds none")
    found.sort(key=lambda entry: (SPLIT_ORDER.index(entry[0]), entry[1]))
    splits = tuple(split for split, _, _ in found)
    tested = "test" if "test" in splits else "val"
    listed = [(split == tested, name, label) for split, name, label in found]
    return _build_catalogue(root, listed, others), splits


def walk(top: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder and its files, from the top down, without hidden ones; a link back up is not followed.

    Raises: DataError for a folder that cannot be read.
    """
    above = frozenset(os.path.realpath(parent) for parent in top.parents)
    real_paths: dict[str, frozenset[str]] = {}  # of each folder and of those above it
    for folder, children, names in os.walk(top, followlinks=True, onerror=_unreadable):
        real, over = os.path.realpath(folder), real_paths.get(folder.rpartition(os.sep)[0], above)
        if real in over:
            children.clear()
            continue
        real_paths[folder] = over | {real}
        children[:] = sorted(child for child in children if not hidden(child))
        yield Path(folder), sorted(name for name in names if not hidden(name))


def _existing_folder(root: Path) -> Path:
    """Make the root absolute.

    Raises: DataError if it is no folder.
    """
    root = root.expanduser().absolute()
    if not root.is_dir():
        raise DataError(f"data root must be an existing folder; got {str(root)!r}")
    return root


def _build_catalogue(root: Path, found: list[tuple[bool, str, str]], others: Sequence[Path]) -> Catalogue:
    """Build the catalogue of these files, each (own test, name, class), in this order."""
    classes = tuple(sorted({label for _, _, label in found}))
    index = {label: number for number, label in enumerate(classes)}
    names, base = tuple(name for _, name, _ in found), str(root)
    return Catalogue(
        names=names,
        labels=tuple(index[label] for _, _, label in found),
        own_test=tuple(own_test for own_test, _, _ in found),
        classes=classes,
        read=lambda i: read_image_file(Path(base, names[i])),
        decode=open_image,
        others=other_files(others, root),
    )


def label_below(root: Path, path: Path, label_function: str) -> str | None:
    """Read the class of an image below the data root of a study as ``list_folder`` does; None if it lies elsewhere."""
    try:
        top = next(top for _, top in reversed(_split_folders(root)) if path.is_relative_to(top))
    except (StopIteration, OSError, DataError):
        return None
    return label_of(PurePosixPath(path.relative_to(top).as_posix()), label_function)


def _split_folders(root: Path) -> list[tuple[bool, Path]]:
    """Find the folders that hold the class folders: the root, or its ``train`` and ``test``.

    Returns: whether each is of the data set's own test split, and its path.
    """
    children = {child.name for child in root.iterdir() if child.is_dir() and not hidden(child.name)}
    if not {"train", "test"} <= children:
        return [(False, root)]
    if extra := sorted(children - {"train", "test"}):
        raise DataError(
            f"data root must hold train and test only; {str(root)!r} also has {', '.join(extra)} "
            "(val is drawn from train: move its images there)"
        )
    return [(False, root / "train"), (True, root / "test")]


def _refuse_splits(folder: str, children: Iterable[str]) -> None:
    """Refuse folders side by side that are splits: all their images would become training images.

    Two folders are splits if their names differ only in the word for the split; ``train`` alone may be a class of
    vehicles.

    Raises: DataError.
    """
    names = [child.casefold() for child in children]
    train, test, validation = (
        {word.sub("", name) for name in names if word.search(name)} for word in (TRAIN, TEST, VALIDATION)
    )
    if train & test:
        raise DataError(
            f"data root must hold train and test, named so; they lie in {folder!r} (name them so, or give that folder)"
        )
    if train & validation:
        raise DataError(
            f"data root must be DIR/<class>/* or DIR/train|test/<class>/*; {folder!r} has train and a "
            "validation folder but no test: name the images to be looked at once, at the end, test"
        )


def _image_files(top: Path, seen: dict[str, str], others: list[Path], *, pooled: bool) -> list[Path]:
    """List every image file below ``top`` that is not hidden, and add the other files to ``others``.

    Args:
        seen: the path at which each real folder was first found, to notice links between splits or classes.
        pooled: whether the data set has no split of its own, so that no folder below may be one.
    Raises: DataError for a folder that holds neither images nor folders, one that is reached twice or cannot be read,
        or folders that are splits.
    """
    files: list[Path] = []
    for folder, children, names in os.walk(top, followlinks=True, onerror=_unreadable):  # a class may be a link
        real = os.path.realpath(folder)
        if real in seen:
            if real not in {os.path.realpath(parent) for parent in Path(folder).parents}:
                raise DataError(f"a folder of images must be found once; {folder!r} is {seen[real]!r} again")
            children.clear()  # a link back up
            continue
        seen[real] = folder
        children[:] = sorted(child for child in children if not hidden(child))
        if pooled:
            _refuse_splits(folder, children)
        here, rest = split_files(Path(folder), names)
        if not here and not children:
            told = f": {named([str(one) for one in other_files(rest, Path(folder))])}" if rest else ""
            raise DataError(f"a class folder must hold at least one image; {str(Path(folder))!r} holds none{told}")
        files += here
        others += rest
    return files


def _split_of(folder: Path) -> str:
    """Read the split from the names of a folder and of those above it."""
    parts = {part.casefold() for part in folder.parts}
    return next((split for split, names in SPLIT_FOLDERS.items() if parts & names), "train")


def _unreadable(error: OSError) -> NoReturn:
    raise DataError(f"a folder of images must be readable; {str(error.filename)!r} is not ({error.strerror})")
