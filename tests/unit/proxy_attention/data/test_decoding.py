import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from proxy_attention.data.decoding import (
    STRIP_PIXELS,
    UNREADABLE,
    NoWhiteLevelError,
    decoder,
    open_image,
    to_square,
    value_range,
)
from proxy_attention.data.image_files import UnreadableImageError


def content(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(raw, **options):
    image = open_image(raw, **options)
    assert image.mode == "RGB"
    return np.asarray(image).tolist()


def tiff(values, order, photometric):
    """An uncompressed grey TIFF of these values, (H, W); Pillow writes no 0 for white."""
    bits, form = values.dtype.itemsize * 8, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    (height, width), data = values.shape, values.astype(values.dtype.newbyteorder(order)).tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(data)), (339, form)]
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8 + len(data)) + data
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    return head + struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0)


def png(depth, colour, raw, transparent):
    """A PNG of two pixels with a transparent colour."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, depth, colour, 0, 0, 0))
    parts = head + chunk(b"tRNS", transparent) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


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


def test_sixteen_bits_become_eight_by_the_white_that_is_given():
    image = Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16))

    assert pixels(content(image), white_level=65535) == [[[0] * 3, [1] * 3, [128] * 3, [255] * 3]]
    assert pixels(content(image), white_level=257) == [[[0] * 3, [255] * 3, [255] * 3, [255] * 3]]


@pytest.mark.parametrize("kind", ["u2", "i2", "u4", "i4", "f4"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_numbers_of_every_kind_and_byte_order_that_pillow_reads_are_scaled(kind, order, photometric):
    raw = tiff(np.array([[0, 30, 120], [60, 100, 240]]).astype(kind), order, photometric)

    try:
        found = np.asarray(pixels(raw, white_level=240))[..., 0]
    except UnreadableImageError:
        assert (kind, order, photometric) not in {(kind, "<", 1) for kind in ("u2", "i2", "u4", "i4", "f4")}
        return

    expected = np.array([[0, 31, 127], [63, 106, 255]])
    assert found.tolist() == (expected if photometric else 255 - expected).tolist()


def test_an_image_of_more_than_eight_bits_has_no_pixels_until_the_white_is_known():
    raw = content(Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)), "TIFF")

    with pytest.raises(NoWhiteLevelError):
        open_image(raw)

    assert pixels(raw, white_level=1) == [[[0] * 3, [127] * 3, [255] * 3]]
    assert value_range(raw).above == (0,) * 6
    assert value_range(GREY) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_makes_an_image_unreadable(bad):
    raw = content(Image.fromarray(np.array([[0.0, bad, bad]], dtype=np.float32)), "TIFF")

    for read in (value_range, lambda raw: open_image(raw, white_level=1)):
        with pytest.raises(UnreadableImageError, match=r"^2 of its 3 values are NaN or infinite: put numbers in"):
            read(raw)


TRANSPARENT = {
    "grey of 1 bit": (1, 0, b"\0\x40", b"\0\1", [0, 255]),
    "grey of 2 bits": (2, 0, b"\0\x10", b"\0\1", [0, 255]),
    "grey of 4 bits": (4, 0, b"\0\x07", b"\0\7", [0, 255]),
    "grey of 8 bits": (8, 0, b"\0\x00\x07", b"\0\7", [0, 255]),
    "grey of 16 bits": (16, 0, b"\0\x00\x00\x01\x2c", b"\x01\x2c", [0, 255]),
    "colour of 8 bits": (8, 2, b"\0\x00\x00\x00\x07\x07\x07", b"\0\7" * 3, [0, 255]),
    "colour of 16 bits": (16, 2, b"\0" + b"\0\0" * 3 + b"\x07\x07" * 3, b"\x07\x07" * 3, [0, 255]),
}
"""PNG files of two pixels, of which the second is of the transparent colour, which is no white."""


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_the_transparent_colour_of_a_png_becomes_white_at_every_depth(kind):
    depth, colour, raw, transparent, expected = TRANSPARENT[kind]

    found = pixels(png(depth, colour, raw, transparent), white_level=65535)

    assert [pixel[0] for pixel in found[0]] == expected


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

    converted = np.asarray(open_image(content(Image.fromarray(large), compress_level=1), white_level=65535))

    expected = np.asarray(open_image(content(Image.fromarray(column)), white_level=65535))
    assert large.shape[0] * large.shape[1] > STRIP_PIXELS
    assert (converted == np.resize(expected, (rows, 1, 3))).all()


def test_the_decoder_is_named_with_the_versions_of_its_libraries():
    name = decoder()

    assert name.startswith(f"version 3, pil {Image.__version__}, jpg ")
    assert [part.split()[0] for part in name.split(", ")[2:]] == ["jpg", "libjpeg_turbo", "zlib", "webp", "avif"]
