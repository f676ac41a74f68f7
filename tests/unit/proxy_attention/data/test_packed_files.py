import re

import numpy as np
import pytest

from proxy_attention.data.packed_files import FER_CLASSES, Span, open_cifar, open_fer
from proxy_attention.errors import DataError

CIFAR = {"train": ["one.bin", "two.bin"], "test": ["test.bin"], "names": "names.txt", "label_bytes": 1}
PIXELS = np.arange(3072, dtype=np.uint8).tobytes()


def refused(text):
    """Expect a DataError of exactly these words."""
    return pytest.raises(DataError, match=f"^{re.escape(text)}$")


def test_a_span_is_read_alone_and_must_be_there_whole(tmp_path):
    (tmp_path / "records").write_bytes(b"0123456789")

    assert Span(str(tmp_path / "records"), 2, 3).read() == b"234"
    with pytest.raises(OSError, match="records ends before byte 12"):
        Span(str(tmp_path / "records"), 8, 4).read()


# ---- CIFAR


@pytest.fixture
def cifar(tmp_path):
    """Two files of two records to train with, and one to test with."""
    (tmp_path / "names.txt").write_text("cat\ndog\n\n")
    for name in ("one.bin", "two.bin", "test.bin"):
        (tmp_path / name).write_bytes(b"\0" + PIXELS + b"\1" + PIXELS[::-1])
    return tmp_path


def test_records_are_images_in_the_order_of_the_files(cifar):
    catalogue = open_cifar(cifar, **CIFAR)

    assert catalogue.names == ("one/00000", "one/00001", "two/00000", "two/00001", "test/00000", "test/00001")
    assert catalogue.labels == (0, 1) * 3
    assert catalogue.own_test == (False,) * 4 + (True,) * 2
    assert catalogue.classes == ("cat", "dog")
    assert catalogue.form == "32 x 32 RGB planes"


def test_a_record_is_read_as_its_planes_of_red_green_and_blue(cifar):
    catalogue = open_cifar(cifar, **CIFAR)

    image = catalogue.decode(catalogue.read(1))

    planes = np.frombuffer(PIXELS[::-1], dtype=np.uint8).reshape(3, 32, 32)
    np.testing.assert_array_equal(np.asarray(image), planes.transpose(1, 2, 0))


def test_of_two_label_bytes_the_second_is_the_class(cifar):
    for name in ("one.bin", "two.bin", "test.bin"):
        (cifar / name).write_bytes(b"\7\1" + PIXELS + b"\7\0" + PIXELS)

    catalogue = open_cifar(cifar, **CIFAR | {"label_bytes": 2})

    assert catalogue.labels == (1, 0) * 3
    assert catalogue.read(1) == PIXELS


def test_records_are_read_one_at_a_time_and_one_that_is_gone_is_unreadable(cifar):
    catalogue = open_cifar(cifar, **CIFAR)
    (cifar / "two.bin").write_bytes(b"\0" + PIXELS)

    assert catalogue.read(2) == PIXELS
    with pytest.raises(OSError, match=r"two.bin ends before byte 6146"):
        catalogue.read(3)


def test_a_record_with_a_class_that_has_no_name_is_named(cifar):
    (cifar / "test.bin").write_bytes(b"\0" + PIXELS + b"\7" + PIXELS)

    with refused("test.bin, record 1, must be of one of the 2 classes; got 7"):
        open_cifar(cifar, **CIFAR)


@pytest.mark.parametrize("size", [0, 3072, 6145])
def test_a_file_of_records_that_is_cut_is_refused(size, cifar):
    (cifar / "two.bin").write_bytes(bytes(size))

    with refused(f"two.bin must be whole records of 3073 bytes; got {size} bytes"):
        open_cifar(cifar, **CIFAR)


def test_a_missing_file_of_records_is_named(cifar):
    (cifar / "two.bin").unlink()

    with refused(f"data root must hold two.bin; '{cifar}' does not"):
        open_cifar(cifar, **CIFAR)


# ---- FER

GREY = " ".join(["7"] * 2304)
USAGES = ("Training", "PublicTest", "PrivateTest")


@pytest.fixture
def fer(tmp_path):
    """Write a table with a line for every emotion and usage, and these lines after them; returns its path."""

    def write(*lines, columns="emotion,pixels,Usage"):
        path = tmp_path / "fer.csv"
        whole = [f"{emotion},{emotion}{GREY[1:]},{usage}" for usage in USAGES for emotion in range(7)]
        path.write_text("\n".join((columns, *whole, *lines)) + "\n")
        return path

    return write


def test_the_lines_of_the_table_are_images_named_by_usage_and_line(fer):
    catalogue = open_fer(fer())

    assert catalogue.names[:2] == ("Training/00002", "Training/00003")
    assert catalogue.names[-1] == "PrivateTest/00022"
    assert catalogue.own_test == (False,) * 7 + (True,) * 14
    assert catalogue.classes == FER_CLASSES == tuple(sorted(FER_CLASSES))
    emotions = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    assert [catalogue.classes[label] for label in catalogue.labels] == emotions * 3


def test_a_line_is_read_as_its_grey_pixels(fer):
    catalogue = open_fer(fer())

    image = catalogue.decode(catalogue.read(3))

    assert (image.size, image.mode) == ((48, 48), "RGB")
    assert [image.getpixel((x, 0)) for x in (0, 1)] == [(3, 3, 3), (7, 7, 7)]


def test_the_columns_may_have_another_order_quotes_and_blanks(fer, tmp_path):
    before = open_fer(fer())
    pixels = [before.read(i) for i in range(21)]
    lines = [line.split(",") for line in (tmp_path / "fer.csv").read_text().splitlines()[1:]]
    swapped = [f'{usage}, "{emotion}", {grey}' for emotion, grey, usage in lines]
    (tmp_path / "fer.csv").write_text("\n".join(('"Usage", emotion, pixels', *swapped, "", "  ")))

    after = open_fer(tmp_path / "fer.csv")

    assert (after.names, after.labels) == (before.names, before.labels)
    assert [after.read(i) for i in range(21)] == pixels


def test_other_columns_are_refused(fer):
    with refused("fer.csv, line 1, must name the columns emotion, pixels and Usage; got 'emotion,pixels'"):
        open_fer(fer(columns="emotion,pixels"))


@pytest.mark.parametrize(
    ("line", "law"),
    [
        ("7,0 0,Training", "must have an emotion of 0 to 6; got '7'"),
        ("0,0 0,Public", "must have a Usage of Training, PublicTest, PrivateTest; got 'Public'"),
        ("0,0 0", "must have 3 fields; got '0,0 0'"),
    ],
)
def test_a_line_that_is_none_is_named(line, law, fer):
    with refused(f"fer.csv, line 23, {law}"):
        open_fer(fer(line))


@pytest.mark.parametrize("pixels", ["0 1 2", "256 " + "0 " * 2303, "a " * 2304])
def test_a_line_whose_pixels_are_none_is_an_unreadable_image(pixels, fer):
    catalogue = open_fer(fer(f"0,{pixels.strip()},Training"))

    assert catalogue.names[-1] == "Training/00023"
    with pytest.raises(ValueError, match=r"must have 2304 values; got 3|must be in range\(0, 256\)|invalid literal"):
        catalogue.read(21)
