"""Damaged images of every format: each is decoded, or is one error in one line; nothing else is raised, nor warned."""

import io
import random

import numpy as np
import pytest
from PIL import Image

from proxy_attention.data.decoding import open_image
from proxy_attention.data.image_files import FORMATS, UnreadableImageError

MUTATIONS = 150


def encoded(image, form, **options):
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def contents():
    """Small files of every format, in the ways that a format has to store pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    rgb = Image.fromarray(noise)
    palette, grey, alpha = rgb.quantize(9), rgb.convert("L"), rgb.convert("RGBA")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    compressions = ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits")
    return {
        "AVIF": [encoded(rgb, "AVIF", exif=exif), encoded(alpha, "AVIF")],
        "BMP": [encoded(rgb, "BMP"), encoded(palette, "BMP")],
        "GIF": [encoded(palette, "GIF"), encoded(palette, "GIF", save_all=True, append_images=[palette.rotate(90)])],
        "JPEG": [encoded(rgb, "JPEG", exif=exif), encoded(rgb, "JPEG", progressive=True), encoded(grey, "JPEG")],
        "MPO": [encoded(rgb, "MPO", save_all=True, append_images=[rgb.rotate(90)])],
        "PNG": [encoded(alpha, "PNG", exif=exif), encoded(palette, "PNG", transparency=1), encoded(grey, "PNG")],
        "PPM": [encoded(rgb, "PPM"), encoded(grey, "PPM"), b"P3\n2 2\n255\n" + b"1 2 3 " * 4],
        "TIFF": [encoded(rgb, "TIFF", exif=exif, compression=name) for name in compressions],
        "WEBP": [encoded(rgb, "WEBP", exif=exif), encoded(alpha, "WEBP", lossless=True)],
    }


CONTENTS = contents()


def damaged(content, others, rng):
    """The content with some bits flipped, cut, with another file's beginning, or with extreme bytes in its header."""
    way, changed = rng.randrange(4), bytearray(content)
    if way == 0:
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif way == 1:
        del changed[rng.randrange(len(changed)) :]
    elif way == 2:
        length = rng.randint(2, 64)
        changed[:length] = rng.choice(others)[:length]
    else:
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(min(len(changed), 120))] = rng.choice((0, 1, 127, 128, 255))
    return bytes(changed)


def test_every_format_is_damaged_here():
    assert set(CONTENTS) == {*FORMATS, "MPO"}


@pytest.mark.parametrize("form", CONTENTS)
def test_a_damaged_image_is_decoded_or_is_one_error_in_one_line(form):
    rng, others = random.Random(form), [content for many in CONTENTS.values() for content in many]
    read, refused = 0, []

    for _ in range(MUTATIONS):
        content = damaged(rng.choice(CONTENTS[form]), others, rng)
        try:
            image = open_image(content, white_level=1.0)
        except UnreadableImageError as error:
            refused.append(str(error))
        else:
            assert image.mode == "RGB"
            read += 1

    assert read
    assert refused
    assert {len(text.splitlines()) for text in refused} == {1}
