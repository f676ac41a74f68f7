"""An image folder as a catalogue of labelled files; reads no pixel.

Layouts: ``DIR/<class>/*`` or ``DIR/train|test/<class>/*``.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from proxy_attention.data.decoding import open_image
from proxy_attention.data.reading import Catalogue
from proxy_attention.errors import DataError, unknown

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp"})


def parent_folder(path: PurePosixPath) -> str:
    """The name of the folder that holds the file."""
    return path.parent.name


def file_prefix(path: PurePosixPath) -> str:
    """The file's name up to its last underscore, as in ``american_bulldog_10.jpg``."""
    return path.stem.rpartition("_")[0]


NUMBERS = re.compile(r"(?:[a-z]?\d+[.-])+")


def unnumbered(folder: str) -> str:
    """A folder's name without the numbers before it, as in ``001.ak47`` or ``n02085620-Chihuahua``."""
    return NUMBERS.sub("", folder, count=1) if NUMBERS.match(folder) else folder


def numbered_folder(path: PurePosixPath) -> str:
    """The name of the folder that holds the file, without the numbers before it."""
    return unnumbered(path.parent.name)


LABEL_FUNCTIONS: dict[str, Callable[[PurePosixPath], str]] = {
    "parent-folder": parent_folder,
    "numbered-folder": numbered_folder,
    "file-prefix": file_prefix,
}
"""How a class is read off a path relative to its split's folder."""


def list_folder(root: Path, label_function: str = "parent-folder") -> Catalogue:
    """Find the images below ``root`` and label them.

    Raises: DataError for a missing or empty root, an empty class folder, one class only, an image without a class,
        a test class that train lacks, a folder found twice, or a split folder of another name; ConfigError for an
        unknown label function.
    """
    if label_function not in LABEL_FUNCTIONS:
        raise unknown("label_function", label_function, LABEL_FUNCTIONS)
    label_of = LABEL_FUNCTIONS[label_function]
    root = root.expanduser().absolute()
    if not root.is_dir():
        raise DataError(f"data root must be an existing folder; got {str(root)!r}")
    found: list[tuple[bool, str, str, Path]] = []  # own test, name, class, file
    seen: dict[str, str] = {}
    for own_test, top in _split_folders(root):
        for path in _image_files(top, seen):
            relative = PurePosixPath(path.relative_to(top).as_posix())
            label = label_of(relative)
            if not label:
                raise DataError(f"{path.relative_to(root)} has no class: {label_function} finds none in its path")
            found.append((own_test, path.relative_to(root).as_posix(), label, path))
    found.sort(key=lambda entry: entry[:2])
    classes = tuple(sorted({label for _, _, label, _ in found}))
    if len(classes) < 2:
        raise DataError(f"data root must hold at least two classes of images; got {list(classes)} in {str(root)!r}")
    trained = {label for own_test, _, label, _ in found if not own_test}
    if missing := sorted(set(classes) - trained):
        raise DataError(f"every class of test/ must have images in train/; train lacks {', '.join(missing)}")
    index = {label: number for number, label in enumerate(classes)}
    files = [path for *_, path in found]
    return Catalogue(
        names=tuple(name for _, name, _, _ in found),
        labels=tuple(index[label] for _, _, label, _ in found),
        own_test=tuple(own_test for own_test, *_ in found),
        classes=classes,
        read=lambda i: files[i].read_bytes(),
        decode=open_image,
    )


def _split_folders(root: Path) -> list[tuple[bool, Path]]:
    """The folders whose children are classes: the root, or its ``train`` and ``test``."""
    children = {child.name for child in root.iterdir() if child.is_dir() and not child.name.startswith(".")}
    if not {"train", "test"} <= children:
        if "train" in children and children & {"val", "valid", "validation"}:
            raise DataError(
                f"data root must be DIR/<class>/* or DIR/train|test/<class>/*; {str(root)!r} has train and a "
                "validation folder but no test: name the images to be looked at once, at the end, test"
            )
        return [(False, root)]
    if extra := sorted(children - {"train", "test"}):
        raise DataError(
            f"data root must hold train and test only; {str(root)!r} also has {', '.join(extra)} "
            "(val is drawn from train: move its images there)"
        )
    return [(False, root / "train"), (True, root / "test")]


def _image_files(top: Path, seen: dict[str, str]) -> list[Path]:
    """Every image file below ``top``, hidden ones left out.

    Args:
        seen: where each real folder was found first; a link may lead from one split or class into another.
    Raises: DataError for a folder that holds neither images nor folders, or one that is reached twice.
    """
    files: list[Path] = []
    for folder, children, names in os.walk(top, followlinks=True):  # a class folder may be a link
        real = os.path.realpath(folder)
        if real in seen:
            if real not in {os.path.realpath(parent) for parent in Path(folder).parents}:
                raise DataError(f"a folder of images must be found once; {folder!r} is {seen[real]!r} again")
            children.clear()  # a link back up
            continue
        seen[real] = folder
        children[:] = sorted(child for child in children if not child.startswith("."))
        here = [name for name in sorted(names) if Path(name).suffix.lower() in EXTENSIONS and name[0] != "."]
        if not here and not children:
            raise DataError(f"a class folder must hold at least one image; {str(Path(folder))!r} holds none")
        files += [Path(folder) / name for name in here]
    return files
