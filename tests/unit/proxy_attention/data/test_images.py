import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from proxy_attention.data.decoding import open_image, to_square
from proxy_attention.data.images import ImageSet, inspect, load
from proxy_attention.data.loading import Catalogue
from proxy_attention.errors import ConfigError, DataError


def content(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(raw):
    image = open_image(raw)
    assert image.mode == "RGB"
    return np.asarray(image).tolist()


def catalogue(contents, labels=None, own_test=None):
    labels = labels or tuple(i % 2 for i in range(len(contents)))
    return Catalogue(
        names=tuple(f"{i}.png" for i in range(len(contents))),
        labels=tuple(labels),
        own_test=tuple(own_test or [False] * len(contents)),
        classes=("cat", "dog"),
        read=lambda i: contents[i],
        decode=open_image,
    )


GREY = content(Image.new("L", (3, 3), 7))
NO_IMAGE = b"this is text, whatever its name says"


def test_grey_is_repeated_in_three_channels():
    image = Image.fromarray(np.array([[0, 100, 255]], dtype=np.uint8))

    assert pixels(content(image)) == [[[0, 0, 0], [100, 100, 100], [255, 255, 255]]]


def test_one_bit_becomes_black_and_white():
    image = Image.fromarray(np.array([[False, True]]))

    assert pixels(content(image)) == [[[0, 0, 0], [255, 255, 255]]]


def test_transparent_pixels_become_white_and_half_transparent_ones_half_white():
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 102)])

    assert pixels(content(image)) == [[[255, 0, 0], [255, 255, 255], [153, 153, 153]]]


def test_transparent_grey_becomes_white():
    image = Image.new("LA", (2, 1))
    image.putdata([(50, 255), (50, 0)])

    assert pixels(content(image)) == [[[50, 50, 50], [255, 255, 255]]]


def test_a_palette_is_looked_up():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])

    assert pixels(content(image)) == [[[200, 100, 50], [10, 20, 30]]]


def test_the_transparent_colour_of_a_palette_becomes_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])

    assert pixels(content(image, transparency=1)) == [[[255, 255, 255], [10, 20, 30]]]


def test_sixteen_bits_become_eight():
    image = Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16))

    assert pixels(content(image)) == [[[0] * 3, [1] * 3, [128] * 3, [255] * 3]]


def test_a_dark_image_of_sixteen_bits_stays_as_dark_as_it_is():
    image = Image.fromarray(np.array([[0, 255]], dtype=np.uint16))

    assert pixels(content(image)) == [[[0] * 3, [0] * 3]]


def test_a_float_image_in_the_unit_interval_is_not_taken_for_black():
    image = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))

    assert pixels(content(image, "TIFF")) == [[[0] * 3, [127] * 3, [255] * 3]]


def test_cmyk_becomes_rgb():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))

    red, green, blue = np.asarray(open_image(content(image, "TIFF")))[4, 4]

    assert red > 200
    assert green < 50
    assert blue < 50


def test_a_photograph_is_turned_upright_as_its_exif_says():
    image = Image.fromarray(np.array([[0, 255]], dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn clockwise

    upright = open_image(content(image, exif=exif))

    assert upright.size == (1, 2)
    assert np.asarray(upright)[:, 0, 0].tolist() == [0, 255]


def test_of_an_animation_the_first_picture_is_read():
    frames = [Image.new("L", (2, 2), value) for value in (10, 200)]

    raw = content(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert pixels(raw)[0][0] == [10, 10, 10]


def test_resizing_to_a_square_stretches_and_puts_channels_first():
    image = Image.fromarray(np.array([[[0, 50, 100], [200, 50, 100]]], dtype=np.uint8))

    square = to_square(image, 4)

    assert square.shape == (3, 4, 4)
    assert square.dtype == np.uint8
    assert (square[1] == 50).all()
    assert (square[2] == 100).all()
    assert square[0, 0].tolist() == [0, 50, 150, 200]


def test_an_image_of_the_right_size_is_not_resampled():
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)

    assert (to_square(Image.fromarray(values), 16) == values.transpose(2, 0, 1)).all()


def test_images_are_loaded_in_the_order_of_the_catalogue():
    contents = [content(Image.new("L", (4, 4), value)) for value in (5, 6, 7, 8)]

    loaded = load(catalogue(contents, own_test=[False, False, True, True]), 16)

    assert isinstance(loaded, ImageSet)
    assert loaded.images.shape == (4, 3, 16, 16)
    assert loaded.images.dtype == torch.uint8
    assert loaded.images[:, 0, 0, 0].tolist() == [5, 6, 7, 8]
    assert loaded.labels.tolist() == [0, 1, 0, 1]
    assert loaded.own_test.tolist() == [False, False, True, True]
    assert len(loaded) == 4


BROKEN_TIFF = (
    struct.pack("<2sHI", b"II", 42, 8)
    + struct.pack("<H", 4)
    + struct.pack("<HHII", 256, 4, 1, 1)
    + struct.pack("<HHII", 257, 4, 1, 1)
    + struct.pack("<HHII", 262, 3, 1, 1)
    + struct.pack("<HHI4s", 273, 2, 4, b"abc\0")  # the place of the pixels, as text
    + struct.pack("<I", 0)
)

BAD = {
    "text": NO_IMAGE,
    "nothing": b"",
    "half a PNG": GREY[: len(GREY) // 2],
    "half a JPEG": content(Image.effect_noise((64, 64), 50), "JPEG")[:600],
    "half a GIF": content(Image.effect_noise((64, 64), 50), "GIF")[:600],
    "a TIFF with text for numbers": BROKEN_TIFF,
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_no_image_is_refused_by_name(kind):
    with pytest.raises(DataError, match=r"\(or set on_bad_image = skip\); 1 of 3 is not: 1.png$"):
        load(catalogue([GREY, BAD[kind], GREY], labels=[0, 0, 1]), 16)


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_no_image_can_be_skipped_and_is_named(kind):
    loaded = load(catalogue([GREY, BAD[kind], GREY], labels=[0, 0, 1]), 16, "skip")

    assert loaded.skipped == ("1.png",)
    assert loaded.names == ("0.png", "2.png")
    assert loaded.labels.tolist() == [0, 1]


def test_of_many_unreadable_images_ten_are_named_and_all_counted():
    with pytest.raises(DataError, match=r"13 of 15 are not: 2.png, .*, 11.png and 3 more$"):
        load(catalogue([GREY, GREY, *[NO_IMAGE] * 13]), 16)


def test_skipping_must_leave_every_class_an_image():
    with pytest.raises(DataError, match="every class must have a readable image; none is left in dog"):
        load(catalogue([GREY, NO_IMAGE]), 16, "skip")


def test_another_way_with_bad_images_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match="on_bad_image must be one of error, skip; got 'ignore'"):
        load(catalogue([GREY, GREY]), 16, "ignore")


def test_skipping_is_told_apart_by_the_digest():
    whole = load(catalogue([GREY, GREY, GREY]), 16)
    part = load(catalogue([GREY, GREY, NO_IMAGE]), 16, "skip")

    assert whole.digest != part.digest
    assert part.digest == load(catalogue([GREY, GREY]), 16).digest


def test_an_inspection_finds_what_loading_finds():
    contents = catalogue([GREY, GREY, NO_IMAGE, GREY], own_test=[False, False, False, True])
    loaded, found = load(contents, 16, "skip"), inspect(contents, "skip")

    assert found.digest == loaded.digest
    assert found.skipped == loaded.skipped == ("2.png",)
    assert found.class_counts == (1, 2)
    assert (found.train_pool, found.own_test) == (2, 1)
    assert found.classes == loaded.classes


def test_an_inspection_reports_its_progress_to_the_end():
    seen = []

    inspect(catalogue([GREY] * 250), progress=lambda done, total: seen.append((done, total)))

    assert seen[-1] == (250, 250)
    assert 100 <= len(seen) <= 130


def test_a_set_on_a_device_is_the_same_set():
    loaded = load(catalogue([GREY, GREY]), 16)

    moved = loaded.on(torch.device("cpu"))

    assert moved.digest == loaded.digest
    assert torch.equal(moved.images, loaded.images)


@pytest.mark.parametrize("change", [{"own_test": [False, False, True, True]}, {"labels": [0, 1, 1, 0]}])
def test_the_digest_tells_apart_splits_and_labels_of_the_same_contents(change):
    fields = {"labels": [0, 1, 0, 1], "own_test": [False, False, False, True]}

    one, other = (load(catalogue([GREY] * 4, **given), 16).digest for given in (fields, {**fields, **change}))

    assert one != other
