"""Open a data set by its name; decodes no image."""

from pathlib import Path

from proxy_attention.config import AUTO
from proxy_attention.data.catalogue import Catalogue
from proxy_attention.data.image_files import MAX_PIXELS
from proxy_attention.data.registry import SOURCES
from proxy_attention.errors import ConfigError, unknown


def open_source(
    dataset: str,
    root: Path | None = None,
    label_function: str = "parent-folder",
    *,
    max_pixels: int = MAX_PIXELS,
    white_level: float | str = AUTO,
) -> Catalogue:
    """Open a data set of the table in ``registry``, without decoding an image.

    Args:
        root: the data root; without one, a named data set is looked for in ``data/<name>``.
        label_function: for ``folder`` only.
        max_pixels: the most pixels of an image; one with more counts as unreadable.
        white_level: as in a TrialConfig.
    Raises: ConfigError for an unknown name, a data root that is missing or not wanted, or a label function that is
        not wanted; DataError for a folder that is not as the data set is published.
    """
    if dataset not in SOURCES:
        raise unknown("dataset", dataset, SOURCES)
    source = SOURCES[dataset]
    if dataset != "folder" and label_function != "parent-folder":
        raise ConfigError(
            f"label_function must be left out with dataset {dataset!r}, which says itself how a class is read off; "
            f"got {label_function!r}"
        )
    if root is not None and not source.needs_root:
        raise ConfigError(f"a data root must not be given with dataset {dataset!r}, which ships inside the package")
    catalogue = source.open(root, label_function).with_max_pixels(max_pixels)
    return catalogue.with_white_level(None if white_level == AUTO else float(white_level))
