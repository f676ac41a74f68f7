"""The images that a user names: their files, their pixels, and the true class that a path tells; knows no model."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from proxy_attention.config import AUTO, TrialConfig
from proxy_attention.data.catalogue import CHUNK, THREADS, OtherFile, named
from proxy_attention.data.decoding import UNREADABLE, NoWhiteLevelError, open_image, to_square, value_range
from proxy_attention.data.folder import hidden, label_below, other_files, split_files
from proxy_attention.data.image_files import (
    EXTENSIONS,
    MAX_PIXELS,
    NoImageError,
    UnreadableImageError,
    known_kind,
    read_image_file,
)
from proxy_attention.data.labels import file_prefix, label_of, numbered_folder, parent_folder
from proxy_attention.data.layouts import WORDNET
from proxy_attention.data.pixels import map_prefetched
from proxy_attention.data.white_level import AmbiguousValuesError, ValueRange, find_white_level
from proxy_attention.errors import ConfigError


@dataclass(frozen=True)
class ImageFile:
    """An image file.

    Attributes:
        name: the name by which the user knows it.
        max_pixels: the most pixels that it may have.
        white_level: the value that becomes white for a model whose training images needed none, if pixels are not 8
            bits; None where it is not known.
    """

    name: str
    path: Path
    max_pixels: int = MAX_PIXELS
    white_level: float | None = None


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """The pixels of an image, or why it could not be read.

    Attributes:
        pixels: (3, S, S) uint8 by size S; empty if the image could not be read.
        error: why it could not be read; empty if it could.
    """

    image: ImageFile
    pixels: dict[int, np.ndarray]
    error: str = ""


# ---- find


def expand_home(text: str) -> Path:
    """Turn a path that a user typed into one without a leading ``~``.

    Only what was typed may be expanded: a folder that was found may be called ``~``.
    """
    return Path(os.path.expanduser(text))  # noqa: PTH111  Path.expanduser raises for an unknown user


def find_images(
    paths: Sequence[str],
    root: Path | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    others: list[OtherFile] | None = None,
) -> list[ImageFile]:
    """Find the files among these paths, and the images in the folders among them, each once, in this order.

    Args:
        root: the folder in which relative paths are looked for; names are relative to it.
        max_pixels: the most pixels of an image.
        others: the files in the folders that are no images are added to it.
    Raises: ConfigError for a path that does not exist, or a folder without images.
    """
    found: dict[str, ImageFile] = {}
    for given in paths:
        top = expand_home(given) if root is None else root / given
        if os.path.isdir(top):  # noqa: PTH112  Path.is_dir raises where a name is too long
            images, rest = _files_below(top)
            told = other_files(rest, top)
            if not images:
                few = f": {named([str(one) for one in told])}" if told else ""
                raise ConfigError(f"the folder {str(top)!r} holds no images ({', '.join(EXTENSIONS)}){few}")
            files = [(Path(given) / file.relative_to(top), file) for file in images]
            if others is not None:
                others += [replace(one, name=_as_text(Path(given) / one.name)) for one in told]
        elif os.path.isfile(top):  # noqa: PTH113  as Path.is_dir
            files = [(Path(given), top)]
        else:
            raise ConfigError(f"IMAGES must be files or folders; there is no {str(top)!r}")
        for name, path in files:
            found.setdefault(os.path.normpath(path.absolute()), ImageFile(_as_text(name), path, max_pixels))
    return list(found.values())


def _files_below(top: Path) -> tuple[list[Path], list[Path]]:
    """List the images below a folder and the other files, sorted; follow links, leave out hidden files."""
    found: tuple[list[Path], list[Path]] = ([], [])
    visited: set[str] = set()
    for folder, children, names in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link back up, or a second way to the same images
            children.clear()
            continue
        visited.add(real)
        children[:] = sorted(child for child in children if not hidden(child))
        for files, here in zip(found, split_files(Path(folder), names), strict=True):
            files += here
    for files in found:
        files.sort(key=lambda file: file.as_posix())
    return found


def _as_text(path: Path) -> str:
    """Return the path as text that can be encoded: bytes that are no UTF-8 are spelled out."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


# ---- decode


def with_white_level(images: Sequence[ImageFile]) -> tuple[list[ImageFile], str]:
    """Find the white of these images together, as that of a data set is found.

    Returns: the images, and a note on what was found; empty if all pixels are of 8 bits.
    """

    def measure(image: ImageFile) -> tuple[str, ValueRange] | None:
        try:
            found = value_range(image.path, max_pixels=image.max_pixels)
        except UNREADABLE:
            return None
        return None if found is None else (image.name, found)

    measured = map_prefetched(measure, images, threads=THREADS, depth=CHUNK * THREADS)
    try:
        white = find_white_level([pair for pair in measured if pair is not None])
    except AmbiguousValuesError as error:
        return list(images), str(error).rpartition("; ")[0]
    note = f"{white} is white in the {white.images} images of 16 or 32 bits or floats: training images had none"
    return [replace(image, white_level=white.value) for image in images], note if white.images else ""


def decode_images(
    images: Sequence[ImageFile], sizes: Iterable[int], white_level: float | str = AUTO
) -> Iterator[DecodedImage]:
    """Yield the images in their order, each at all these sizes; threads decode some batches ahead.

    Args:
        white_level: that of the model's config; under ``auto`` an image's own is taken.
    """
    distinct_sizes = sorted(set(sizes))
    chunks = (images[first : first + CHUNK] for first in range(0, len(images), CHUNK))
    for decoded in map_prefetched(
        lambda chunk: [_decode(image, distinct_sizes, white_level) for image in chunk],
        chunks,
        threads=THREADS,
        depth=2 * THREADS,
    ):
        yield from decoded


def _decode(image: ImageFile, sizes: Sequence[int], white_level: float | str) -> DecodedImage:
    """Decode one image at all these sizes; an image that cannot be read has the reason as its error."""
    try:
        content = read_image_file(image.path)
        if not content:
            return DecodedImage(image, {}, "the file is empty")
        white = image.white_level if white_level == AUTO else float(white_level)
        opened = open_image(content, max_pixels=image.max_pixels, white_level=white)
        return DecodedImage(image, {size: to_square(opened, size) for size in sizes})
    except NoWhiteLevelError:
        return DecodedImage(image, {}, "its values do not tell which of them is white")
    except NoImageError:
        return DecodedImage(image, {}, known_kind(content) or "the file is no image, or a damaged one")
    except UnreadableImageError as error:
        return DecodedImage(image, {}, str(error).replace("max_pixels", "--max-pixels"))
    except UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return DecodedImage(image, {}, " ".join(f"{type(error).__name__}: {reason}".split())[:200])


# ---- true class


def true_class(path: Path, config: TrialConfig, classes: Sequence[str], root: Path | None = None) -> str:
    """Read an image's true class from its folder or file name, as the data set of the configuration labels images.

    Args:
        root: the data root of the training images, or None.
    Returns: one of ``classes``; empty if the path names none of them.
    """
    path = Path(os.path.normpath(path.absolute()))
    if config.dataset == "folder" and root is not None:
        label = label_below(root, path, config.label_function)
        if label is not None:
            return label if label in classes else ""
    candidates = _possible_classes(PurePosixPath(path), config)
    return next((name for name in candidates if name in classes), "")


def _possible_classes(path: PurePosixPath, config: TrialConfig) -> list[str]:
    """List the classes that the path may name, the likeliest first."""
    if config.dataset == "folder" and config.label_function == "top-folder":  # whose top is known to the user alone
        return [label_of(PurePosixPath(name, path.name), "top-folder") for name in reversed(path.parent.parts)]
    if config.dataset == "folder":
        return [label_of(path, config.label_function)]
    folder = parent_folder(path)
    found = [file_prefix(path)] if config.dataset == "oxford-iiit-pets" else []
    found += [folder, numbered_folder(path), "/".join(path.parts[-3:-1])]  # Places365 has classes of two folders
    return [*found, WORDNET[folder]] if folder in WORDNET else found
