"""The groups of a data set's images, such as the background that each is shown before; knows no pixel and no label."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

ALIGNED, CONFLICTING = "aligned", "conflicting"
"""Groups of a data set with a shortcut: images that it tells the class of, and those about which it is wrong."""


@dataclass(frozen=True, eq=False)
class Groups:
    """The group of each image of a data set.

    Attributes:
        names: of the groups, each once; a group may have no image.
        numbers: (N,) int64 on the CPU, an index into ``names``.
        conflicting: those of the names whose images contradict the shortcut; empty where none is known to.
    """

    names: tuple[str, ...]
    numbers: torch.Tensor
    conflicting: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: Sequence[str], conflicting: Sequence[str] = (CONFLICTING,)) -> "Groups":
        """Make the groups from the name of each image's group; they are sorted by name.

        Args:
            conflicting: the groups that contradict a shortcut, if there are images of them.
        """
        found = sorted(set(names))
        index = {name: number for number, name in enumerate(found)}
        numbers = torch.tensor([index[name] for name in names], dtype=torch.int64)
        return cls(tuple(found), numbers, frozenset(conflicting) & frozenset(found))

    def name_of(self, image: int) -> str:
        """Return the name of an image's group."""
        return self.names[int(self.numbers[image])]

    def at(self, images: Sequence[int]) -> "Groups":
        """Return the groups of these images alone, in this order; every group keeps its number."""
        return replace(self, numbers=self.numbers[torch.tensor(images, dtype=torch.int64)])

    def counts(self, images: np.ndarray) -> np.ndarray:
        """Count these images by group, (groups,) int64."""
        return np.bincount(self.numbers.numpy()[images], minlength=len(self.names))

    def conflicts(self, images: torch.Tensor) -> torch.Tensor:
        """Whether each of these images is of a conflicting group, (M,) bool.

        Args:
            images: (M,) int64 on the CPU.
        """
        numbers = [number for number, name in enumerate(self.names) if name in self.conflicting]
        return torch.isin(self.numbers[images], torch.tensor(numbers, dtype=torch.int64))
