"""Write a balanced part of a data set as a folder of images; knows no data set.

Names of classes and files come from outside: characters that could lead out of the folder or hide a file are replaced.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from proxy_attention.data.catalogue import CHUNK, THREADS, Catalogue, ProgressCallback
from proxy_attention.data.decoding import UNREADABLE
from proxy_attention.data.image_files import EXTENSIONS
from proxy_attention.data.pixels import map_prefetched
from proxy_attention.data.tables import write_groups
from proxy_attention.errors import ConfigError, DataError

UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")


def choose(catalogue: Catalogue, *, train: int | None, test: int | None) -> dict[int, PurePosixPath]:
    """Choose the first images of each class, equally many of each.

    Args:
        train: how many images to train and choose with, of all classes together; None for as many as a balanced part
            can have. Those of the data set's own val are left out.
        test: as ``train``, of the data set's own test split.
    Returns: the path to write each image to, by its number.
    Raises: ConfigError for a number that no balanced part has, or a test split that is not there; DataError for two
        classes that would share a folder.
    """
    folders = [safe_name(name) for name in catalogue.classes]
    if len({folder.casefold() for folder in folders}) != len(folders):
        raise DataError("classes must have different names as folders; two of them have not")
    own = any(catalogue.own_test)
    if test is not None and not own:
        raise ConfigError(f"test must not be given where a data set has no test split of its own; got {test}")
    chosen: dict[int, PurePosixPath] = {}
    for split, count in (("train", train), ("test", test)) if own else (("", train),):
        members = [i for i in range(len(catalogue.names)) if catalogue.own_split(i) == (split or "train")]
        picked = _first_of_each(catalogue, members, count, argument=split or "train")
        taken: set[PurePosixPath] = set()
        for position, i in enumerate(members):
            if i not in picked:
                continue
            place = PurePosixPath(split, folders[catalogue.labels[i]])
            path = place / f"{_file_stem(catalogue, i, position)}.png"
            if path in taken:
                path = place / f"{path.stem}_{position:05d}.png"
            taken.add(path)
            chosen[i] = path
        if len(taken) != len(picked):
            raise DataError("images must have different names in a class; some have not")
    return chosen


def _first_of_each(catalogue: Catalogue, members: Sequence[int], count: int | None, *, argument: str) -> set[int]:
    """Choose the first of these images of each class, ``count`` of all classes together.

    Raises: ConfigError.
    """
    of_class: list[list[int]] = [[] for _ in catalogue.classes]
    for i in members:
        of_class[catalogue.labels[i]].append(i)
    fewest = min(len(group) for group in of_class)
    rarest = next(name for name, group in zip(catalogue.classes, of_class, strict=True) if len(group) == fewest)
    classes = len(of_class)
    each = fewest if count is None else count // classes
    if count is not None and count % classes:
        near = f"{each * classes} or {(each + 1) * classes}" if each else str(classes)
        raise ConfigError(
            f"{argument} must be a whole number of images of each of {classes} classes ({near}); got {count}"
        )
    if not 1 <= each <= fewest:
        raise ConfigError(
            f"{argument} must be at most {fewest * classes}: class {rarest!r} has {fewest} images; got {count}"
        )
    return {i for group in of_class for i in group[:each]}


def _file_stem(catalogue: Catalogue, i: int, position: int) -> str:
    """Name the image as its file; if it has no file of its own, by its number in its split."""
    if catalogue.form != "file":
        return f"{position:05d}"
    name = PurePosixPath(catalogue.names[i])
    return safe_name(name.stem if name.suffix.lower() in EXTENSIONS else name.name)


def safe_name(name: str) -> str:
    """Make a name of one file or folder that is no path and not hidden."""
    plain = UNSAFE.sub("_", name)
    return f"_{plain[1:]}" if plain.startswith(".") else plain or "_"


def write(
    catalogue: Catalogue, chosen: dict[int, PurePosixPath], target: Path, *, progress: ProgressCallback | None = None
) -> None:
    """Write these images as PNG files below ``target``, all of them or none, with their groups if they have any.

    Args:
        progress: called with (images written, images in all).
    Raises: ConfigError if ``target`` holds something; DataError for an image that does not decode.
    """
    refuse_taken(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.parent / f".{target.name}.part"
    shutil.rmtree(fresh, ignore_errors=True)  # left by a process that was killed
    numbers = list(chosen)
    chunks = [numbers[begin : begin + CHUNK] for begin in range(0, len(numbers), CHUNK)]

    def save(chunk: list[int]) -> int:
        for i in chunk:
            try:
                image = catalogue.decode(catalogue.read(i))
            except UNREADABLE as error:
                raise DataError(f"every image of a sample must be readable; {catalogue.names[i]} is not") from error
            file = fresh / chosen[i]
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file, "PNG")
        return len(chunk)

    try:
        done = 0
        for count in map_prefetched(save, chunks, threads=THREADS, depth=2 * THREADS):
            done += count
            if progress is not None:
                progress(done, len(numbers))
        if catalogue.groups is not None:
            write_groups(fresh, ((path.as_posix(), catalogue.groups.name_of(i)) for i, path in chosen.items()))
        fresh.replace(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def refuse_taken(target: Path) -> None:
    """Check that a folder is new or empty.

    Raises: ConfigError.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ConfigError(f"target must be a new folder; {str(target)!r} is a file or a link")
    if target.exists() and any(target.iterdir()):
        raise ConfigError(f"target must be a new or empty folder; {str(target)!r} holds something")
