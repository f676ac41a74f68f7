"""Open data sets that keep many images in one file: the records of CIFAR and the table of FER; knows no image folder.

An image is read when it is asked for. Nothing is unpickled: CIFAR is read in its binary version.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from proxy_attention.data.catalogue import Catalogue
from proxy_attention.data.manifests import bad_line, check_classes, read_lines
from proxy_attention.errors import DataError

CIFAR_SIDE, FER_SIDE = 32, 48
CIFAR_PIXELS = 3 * CIFAR_SIDE * CIFAR_SIDE

FER_CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
FER_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The emotion of each number in the table, which the file itself does not name."""

FER_NUMBERS = frozenset(str(number) for number in range(len(FER_EMOTIONS)))
FER_USAGES = {"Training": False, "PublicTest": True, "PrivateTest": True}
"""Whether the images of a usage are of the data set's own test split."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where the record of an image lies.

    Attributes:
        first: the offset of its first byte in the file.
        length: how many bytes it has.
    """

    file: str
    first: int
    length: int

    def read(self) -> bytes:
        """Read the record.

        Raises: OSError if the file has become shorter.
        """
        with Path(self.file).open("rb") as file:
            file.seek(self.first)
            content = file.read(self.length)
        if len(content) != self.length:
            raise OSError(f"{self.file} ends before byte {self.first + self.length}")
        return content


def open_cifar(top: Path, *, train: Sequence[str], test: Sequence[str], names: str, label_bytes: int) -> Catalogue:
    """Open CIFAR in its binary version: a record is its label bytes, then 1,024 red, 1,024 green and 1,024 blue bytes.

    Args:
        train, test: the names of the files of each split.
        names: the text file that names a class in each line.
        label_bytes: how many a record has; the last is the class.
    Raises: DataError for a missing file, one that is cut, or a label without a name.
    """
    classes = tuple(text for _, text in read_lines(top / names))
    record = label_bytes + CIFAR_PIXELS
    spans: list[Span] = []
    labels: list[int] = []
    found: list[str] = []
    for name in (*train, *test):
        for row, label in enumerate(_cifar_labels(top / name, record, label_bytes)):
            if label >= len(classes):
                raise DataError(f"{name}, record {row}, must be of one of the {len(classes)} classes; got {label}")
            spans.append(Span(str(top / name), row * record + label_bytes, CIFAR_PIXELS))
            labels.append(label)
            found.append(f"{Path(name).stem}/{row:05d}")
    tested = {str(top / name) for name in test}
    own_test = [span.file in tested for span in spans]
    return _build_catalogue(found, labels, own_test, classes, spans, _cifar_image, "32 x 32 RGB planes")


def _cifar_labels(path: Path, record: int, label_bytes: int) -> list[int]:
    """Read the class of every record, without keeping a pixel.

    Raises: DataError.
    """
    try:
        size = path.stat().st_size
        if not size or size % record:
            raise DataError(f"{path.name} must be whole records of {record} bytes; got {size} bytes")
        rows = np.memmap(path, dtype=np.uint8, mode="r", shape=(size // record, record))
        return [int(label) for label in rows[:, label_bytes - 1]]
    except OSError as error:
        raise DataError(f"data root must hold {path.name}; {str(path.parent)!r} does not") from error


def _cifar_image(raw: bytes) -> Image.Image:
    planes = np.frombuffer(raw, dtype=np.uint8).reshape(3, CIFAR_SIDE, CIFAR_SIDE)
    return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))


def open_fer(path: Path) -> Catalogue:
    """Open the table of FER: each line is an image, with its emotion, its usage and 48 x 48 grey values.

    Only where each line lies is kept, not its pixels.

    Raises: DataError for a column or a line that is not of this form.
    """
    with path.open("rb") as file:
        columns = _fields(file.readline())
    if set(columns) != {"emotion", "pixels", "Usage"}:
        raise bad_line(path, 1, "name the columns emotion, pixels and Usage", ",".join(columns))
    spans: list[Span] = []
    labels: list[int] = []
    own_test: list[bool] = []
    found: list[str] = []
    for number, span, row in _fer_rows(path, columns):
        if row["Usage"] not in FER_USAGES:
            raise bad_line(path, number, f"have a Usage of {', '.join(FER_USAGES)}", row["Usage"])
        if row["emotion"] not in FER_NUMBERS:
            raise bad_line(path, number, f"have an emotion of 0 to {len(FER_EMOTIONS) - 1}", row["emotion"])
        spans.append(span)
        labels.append(FER_CLASSES.index(FER_EMOTIONS[int(row["emotion"])]))
        own_test.append(FER_USAGES[row["Usage"]])
        found.append(f"{row['Usage']}/{number:05d}")
    column = columns.index("pixels")

    def pixels(line: bytes) -> bytes:
        # a value over 255, or too few of them, is a ValueError: the image is unreadable
        grey = bytes(int(value) for value in _fields(line)[column].split())
        if len(grey) != FER_SIDE * FER_SIDE:
            raise ValueError(f"an image must have {FER_SIDE * FER_SIDE} values; got {len(grey)}")
        return grey

    return _build_catalogue(found, labels, own_test, FER_CLASSES, spans, _fer_image, "48 x 48 grey bytes", pixels)


def _fer_rows(path: Path, columns: list[str]) -> Iterator[tuple[int, Span, dict[str, str]]]:
    """Yield the number, the place and the fields of every line after the first.

    Raises: DataError for a line of another number of fields.
    """
    first = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            start, first = first, first + len(line)
            if number == 1 or not line.strip():
                continue
            fields = _fields(line)
            if len(fields) != len(columns):
                raise bad_line(path, number, f"have {len(columns)} fields", ",".join(fields))
            yield number, Span(str(path), start, len(line)), dict(zip(columns, fields, strict=True))


def _fields(line: bytes) -> list[str]:
    return [field.strip().strip('"') for field in line.decode("ascii", "replace").strip().split(",")]


def _fer_image(raw: bytes) -> Image.Image:
    return Image.frombytes("L", (FER_SIDE, FER_SIDE), raw).convert("RGB")


def _build_catalogue(
    names: list[str],
    labels: list[int],
    own_test: list[bool],
    classes: tuple[str, ...],
    spans: list[Span],
    decode: Callable[[bytes], Image.Image],
    form: str,
    content: Callable[[bytes], bytes] = bytes,
) -> Catalogue:
    """Build the catalogue of these records, in this order.

    Args:
        content: takes from a record what is hashed and decoded.
    """
    check_classes(classes, {classes[label] for label, tested in zip(labels, own_test, strict=True) if not tested})
    return Catalogue(
        names=tuple(names),
        labels=tuple(labels),
        own_test=tuple(own_test),
        classes=classes,
        read=lambda i: content(spans[i].read()),
        decode=decode,
        form=form,
    )
