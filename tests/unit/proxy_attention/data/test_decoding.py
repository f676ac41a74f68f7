import io
import struct

import numpy as np
import pytest
from PIL import Image

from proxy_attention.data.decoding import STRIP_PIXELS, UNREADABLE, decoder, open_image, to_square


def content(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(raw):
    image = open_image(raw)
    assert image.mode == "RGB"
    return np.asarray(image).tolist()


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


GREY = content(Image.new("L", (3, 3), 7))
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
    "text": b"this is text, whatever its name says",
    "nothing": b"",
    "half a PNG": GREY[: len(GREY) // 2],
    "half a JPEG": content(Image.effect_noise((64, 64), 50), "JPEG")[:600],
    "half a GIF": content(Image.effect_noise((64, 64), 50), "GIF")[:600],
    "a TIFF with text for numbers": BROKEN_TIFF,
}


@pytest.mark.parametrize("kind", BAD)
def test_every_error_of_a_file_that_is_no_image_is_one_that_is_expected(kind):
    with pytest.raises(UNREADABLE):
        open_image(BAD[kind])


def test_an_image_of_more_pixels_than_allowed_is_refused():
    raw = content(Image.new("L", (40, 40)))

    assert open_image(raw, max_pixels=1600).size == (40, 40)
    with pytest.raises(UNREADABLE, match=r"^it has 1,600 pixels; max_pixels allows 1,599$"):
        open_image(raw, max_pixels=1599)


@pytest.mark.parametrize("mode", ["I;16", "LA"])
def test_a_large_image_is_converted_in_strips_and_loses_no_row(mode):
    numbers, rows = np.arange(256), 2100
    values = numbers * 257 if mode == "I;16" else np.stack([np.full(256, 100), numbers], axis=-1)
    column = values.astype(np.uint16 if mode == "I;16" else np.uint8)[:, None]
    large = np.repeat(np.resize(column, (rows, *column.shape[1:])), STRIP_PIXELS // 2000, axis=1)

    converted = np.asarray(open_image(content(Image.fromarray(large), compress_level=1)))

    expected = np.asarray(open_image(content(Image.fromarray(column))))
    assert large.shape[0] * large.shape[1] > STRIP_PIXELS
    assert (converted == np.resize(expected, (rows, 1, 3))).all()


def test_the_decoder_is_named_with_the_versions_of_its_libraries():
    name = decoder()

    assert name.startswith(f"version 2, pil {Image.__version__}, jpg ")
    assert [part.split()[0] for part in name.split(", ")[2:]] == ["jpg", "libjpeg_turbo", "zlib", "webp"]
