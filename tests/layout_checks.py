"""The classes of every data set's small tree, and the error with which a damaged tree is refused."""

from pathlib import Path

import pytest
from layout_trees import TREES

from proxy_attention.data.registry import SOURCES
from proxy_attention.data.sources import open_source
from proxy_attention.errors import DataError

ROWS = [name for name, source in SOURCES.items() if source.needs_root]

CLASSES = {name: tree.classes for name, tree in TREES.items()}
"""The classes of each tree, in the order of its catalogue."""


def refusal(dataset: str, root: Path) -> str:
    """Return the error of a data set that is not as its publisher ships it; check that it is one short line."""
    with pytest.raises(DataError) as refused:
        open_source(dataset, root)
    text = str(refused.value)
    assert "\n" not in text
    assert len(text) < 900
    return text


def find_file(root: Path, name: str) -> Path:
    """Return the path of the one file of this name."""
    (path,) = root.rglob(name)
    return path


def add_line(path: Path, line: str) -> None:
    """Append a line to a list."""
    with path.open("a") as file:
        file.write(line + "\n")
