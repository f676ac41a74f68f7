"""A row of the table of data sets: how to open one, whose it is and how to get it; knows no data set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from proxy_attention.data.catalogue import Catalogue


@dataclass(frozen=True)
class Archive:
    """A file to download, which is unpacked if it is an archive; the first fields are named as in torchvision.

    Attributes:
        most_mb: the MB (of a million bytes) that it has at most, rounded up; nobody downloads more.
        sha256: empty where no publisher states it; then the URL must be of https.
    """

    url: str
    md5: str
    filename: str
    most_mb: int
    sha256: str = ""


@dataclass(frozen=True)
class Source:
    """A row of the table of data sets.

    Attributes:
        open: takes a data root and a label function; returns the catalogue.
        licence: in the publisher's words, or "not stated".
        home: the publisher's page.
        classes: the number of classes; None if the folders tell.
        split: a few words on where the test split comes from.
        layout: the files that must lie in the data root, as the publisher ships them.
        label: a few words on what tells the class of an image.
        needs_root: False if the data set ships inside the package.
        archives: the files to download; empty if a person must get them.
        by_hand: what a person must do, if there are no archives; DIR stands for the data root.
        other_files: patterns for the names of files that the publisher ships among the images.
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
    other_files: tuple[str, ...] = ()

    @property
    def obtained_by(self) -> str:
        """Say in a table how a person gets the data set."""
        return "download" if self.archives else "by hand" if self.needs_root else "in the package"

    @property
    def class_count(self) -> str:
        """Say in a table how many classes there are."""
        return "as found" if self.classes is None else str(self.classes)
