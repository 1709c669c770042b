"""What a data set holds: counted while it is checked, for `spnas check-data` to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spnas.tasks.base import DataInfo

if TYPE_CHECKING:
    from spnas.tasks.images import ImageFacts


@dataclass(frozen=True)
class Split:
    """What a split holds, as far as it could be read.

    Attributes:
        images: Its images, those that cannot be read included.
        objects: Labelled objects, or images, of each class, in the order of the class numbers.
        background: Images without an object.
        grey: Images of one channel.
        sizes: Width and height of every image that can be read, pixels.
    """

    images: int
    objects: tuple[int, ...]
    background: int
    grey: int
    sizes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, images: Sequence[ImageFacts], objects: Sequence[int], background: int = 0) -> Split:
        """Sum up images."""
        sizes = tuple(image.size for image in images if image.size is not None)
        grey = sum(image.grey for image in images)
        return cls(len(images), tuple(objects), background, grey, sizes)

    def smaller_than(self, imgsz: int) -> int:
        """Count the images whose longer side has fewer pixels, which are enlarged to train at this size."""
        return sum(max(size) < imgsz for size in self.sizes)


@dataclass(frozen=True)
class Survey:
    """A data set, whatever is wrong with it.

    Attributes:
        info: Where it is and what its classes are.
        train: The training split.
        val: The validation split.
        problems: A line for each thing that a search would refuse it for.
    """

    info: DataInfo
    train: Split
    val: Split
    problems: list[str]
