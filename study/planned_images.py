"""Loads the images that a trial was planned for, and refuses others; trains nothing."""

from functools import lru_cache
from pathlib import Path

from proxy_attention.data.cache import LIMIT_MB
from proxy_attention.data.image_files import MAX_PIXELS
from proxy_attention.data.images import ImageSet, load
from proxy_attention.data.sources import open_source
from proxy_attention.errors import DataError
from study.plan import PlannedTrial


def images_of(
    planned: PlannedTrial,
    data_root: Path | None,
    *,
    cache: Path | None = None,
    cache_mb: int = LIMIT_MB,
    max_pixels: int = MAX_PIXELS,
) -> ImageSet:
    """Load the images that the trial was planned for.

    Args:
        data_root: where the data set lies, or None.
        cache: a folder of decoded images, for all processes of a host; None decodes them here.
        cache_mb: disk space that they may take, in MiB.
        max_pixels: the most pixels of an image.
    Raises: DataError if the images have changed since.
    """
    config = planned.config
    about = (config.dataset, config.image_size, config.on_bad_image, config.label_function, config.white_level)
    images = _images(data_root, *about, cache, cache_mb, max_pixels)
    if images.digest != planned.data_digest:
        raise DataError(
            f"the images of {config.dataset} must be those of the plan; they have changed since it was made"
        )
    return images


@lru_cache(maxsize=1)
def _images(
    root: Path | None,
    dataset: str,
    size: int,
    on_bad_image: str,
    label_function: str,
    white_level: float | str,
    cache: Path | None,
    cache_mb: int,
    max_pixels: int,
) -> ImageSet:
    """Load images, and keep them for the next trial of a reused worker; no trial modifies them."""
    catalogue = open_source(dataset, root, label_function, max_pixels=max_pixels, white_level=white_level)
    return load(catalogue, size, on_bad_image, cache=cache, limit_mb=cache_mb)
