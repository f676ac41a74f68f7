"""What the table of data sets states of each: how to open it, whose it is and how to get it; knows none of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from proxy_attention.data.loading import Catalogue


@dataclass(frozen=True)
class Archive:
    """A file to download, and to unpack if it is an archive; the fields are those of torchvision's own classes."""

    url: str
    md5: str
    filename: str


@dataclass(frozen=True)
class Source:
    """A row of the table of data sets.

    Attributes:
        open: from a data root and a label function to the catalogue.
        licence: as the publisher says it; "not stated" where that is not.
        home: the publisher's page.
        classes: how many there are; None if the folders tell.
        split: whose the split is, in a few words.
        layout: what must lie in the data root, as the publisher ships it.
        label: what tells the class of an image.
        needs_root: False if it ships inside the package.
        archives: what can be downloaded; empty if it must be got by hand.
        by_hand: where to get it and what to put where, if there is no archive.
        beside: patterns for the names of files that the publisher ships among the images and that are none.
    """

    open: Callable[[Path | None, str], Catalogue]
    licence: str
    home: str
    classes: int | None
    split: str
    layout: str
    label: str
    needs_root: bool = True
    archives: tuple[Archive, ...] = ()
    by_hand: str = ""
    beside: tuple[str, ...] = ()

    @property
    def obtained_by(self) -> str:
        """How a person gets the data set, for a table."""
        return "download" if self.archives else "by hand" if self.needs_root else "in the package"

    @property
    def class_count(self) -> str:
        """How many classes there are, for a table."""
        return "as found" if self.classes is None else str(self.classes)
