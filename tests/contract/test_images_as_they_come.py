"""A folder as it comes from phones, scanners and colleagues has the pixels that a person sees.

What a person sees is painted here with numpy, and turned, weighed and laid on white by hand; OpenCV, a decoder of its
own, is the second witness for the files that it reads.
"""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from proxy_attention.data.folder import list_folder
from proxy_attention.data.images import load

SIDE = 32


def painting():
    """Four quarters that no turn and no mirror maps onto each other, smooth enough for lossy formats."""
    down, right = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    colours = np.array([[[250, 40, 30], [30, 200, 60]], [[40, 60, 230], [255, 255, 255]]], dtype=float)
    top, bottom = (row[0] * (1 - right[..., None]) + row[1] * right[..., None] for row in colours)
    return (top * (1 - down[..., None]) + bottom * down[..., None]).round().astype(np.uint8)


SEEN = painting()
GREY = (SEEN @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)
GREY[-1, -1] = 255
ALPHA = np.linspace(0, 255, SIDE).round().astype(np.uint8)[None].repeat(SIDE, axis=0)
FEW = (SEEN // 64 * 64).astype(np.uint8)
CUT = np.arange(SIDE)[:, None] + np.arange(SIDE)[None] < 12
"""Where an image is transparent."""

STORED = {
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.transpose(1, 0, 2),
    6: lambda seen: np.rot90(seen, 1),
    7: lambda seen: seen[::-1, ::-1].transpose(1, 0, 2),
    8: lambda seen: np.rot90(seen, -1),
}
"""How a camera stores what is seen, by the EXIF orientation that it writes."""


def on_white(values, alpha):
    share = alpha[..., None] / 255
    return (values * share + 255 * (1 - share)).round().astype(np.uint8)


def grey(values):
    return np.repeat(values[..., None], 3, axis=2)


def encoded(image, form, **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(np.ascontiguousarray(image))).save(
        buffer, form, **options
    )
    return buffer.getvalue()


def turned(orientation, form="JPEG", **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(STORED[orientation](SEEN), form, exif=exif, **options)


def palette(form, **options):
    image = Image.fromarray(FEW).quantize(255, dither=Image.Dither.NONE)
    indices = np.where(CUT, 255, np.asarray(image)).astype(np.uint8)
    cut = Image.fromarray(indices, "L")
    cut.putpalette([*image.getpalette()[:765], *[0] * (765 - len(image.getpalette()[:765])), 9, 9, 9])
    return encoded(cut, form, transparency=255, **options)


def inks(values):
    return Image.fromarray(np.concatenate([255 - values, np.zeros((SIDE, SIDE, 1), np.uint8)], axis=2), "CMYK")


LOSSY = {"quality": 95, "subsampling": 0}
FILES = {
    **{f"phone-{n}.jpg": (turned(n, **LOSSY), SEEN, 4) for n in STORED},
    "progressive.jfif": (encoded(SEEN, "JPEG", progressive=True, **LOSSY), SEEN, 4),
    "printer.jpg": (encoded(inks(SEEN), "JPEG", **LOSSY), SEEN, 6),
    "grey.jpe": (encoded(GREY, "JPEG", quality=95), grey(GREY), 4),
    "phone.mpo": (
        encoded(SEEN, "MPO", save_all=True, append_images=[Image.fromarray(255 - SEEN)], **LOSSY), SEEN, 4,
    ),
    "phone.avif": (turned(6, "AVIF", quality=95, subsampling="4:4:4"), SEEN, 6),
    "web.webp": (turned(8, "WEBP", lossless=True), SEEN, 0),
    "plain.png": (turned(3, "PNG"), SEEN, 0),
    "glass.png": (encoded(np.dstack([SEEN, ALPHA]), "PNG"), on_white(SEEN, ALPHA), 1),
    "grey-glass.png": (encoded(Image.fromarray(np.dstack([GREY, ALPHA]), "LA"), "PNG"), on_white(grey(GREY), ALPHA), 1),
    "few.png": (palette("PNG"), np.where(CUT[..., None], 255, FEW), 0),
    "few.gif": (palette("GIF"), np.where(CUT[..., None], 255, FEW), 0),
    "two.png": (encoded(Image.fromarray(CUT), "PNG"), grey(np.where(CUT, 255, 0).astype(np.uint8)), 0),
    "scan.png": (encoded(GREY.astype(np.uint16) * 257, "PNG"), grey(GREY), 0),
    "scan-colour.png": (
        cv2.imencode(".png", SEEN[..., ::-1].astype(np.uint16) * 257)[1].tobytes(), SEEN, 0,
    ),
    "scan.tif": (encoded(GREY.astype(np.uint16) * 257, "TIFF"), grey(GREY), 0),
    "science.tiff": (encoded(GREY.astype(np.float32) * 257, "TIFF"), grey(GREY), 0),
    "scan.pgm": (b"P5 32 32 65535\n" + (GREY.astype(">u2") * 257).tobytes(), grey(GREY), 0),
    "printer.tif": (encoded(inks(SEEN), "TIFF", compression="tiff_lzw"), SEEN, 0),
    "old.bmp": (encoded(SEEN, "BMP"), SEEN, 0),
    "noname": (encoded(SEEN, "PPM"), SEEN, 0),
}  # fmt: skip
"""Files, what a person sees in each, and how far a pixel may lie from that on average: lossy formats differ."""

READ_BY_OPENCV = [name for name in FILES if name.startswith(("phone-", "web", "plain", "old", "scan-colour", "noname"))]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The pixels of each file, (3, S, S), as one data set."""
    root = tmp_path_factory.mktemp("folder")
    for number, (name, (content, _, _)) in enumerate(FILES.items()):
        (root / ("cat", "dog")[number % 2]).mkdir(exist_ok=True)
        (root / ("cat", "dog")[number % 2] / name).write_bytes(content)
    loaded = load(list_folder(root), SIDE)
    return {name.rpartition("/")[2]: loaded.images[i].permute(1, 2, 0).numpy() for i, name in enumerate(loaded.names)}


def distance(one, other):
    return np.abs(one.astype(int) - other.astype(int)).mean()


def test_twenty_files_of_twelve_kinds_are_all_there(images):
    assert images.keys() == FILES.keys()
    assert len(FILES) >= 20


@pytest.mark.parametrize("name", FILES)
def test_an_image_has_the_pixels_that_a_person_sees(name, images):
    _, seen, far = FILES[name]

    assert distance(images[name], seen) <= far
    wrong = [distance(images[name], other) for other in (seen[::-1], seen[:, ::-1], 255 - seen)]
    assert name == "two.png" or min(wrong) > 4 * max(far, 1)


@pytest.mark.parametrize("name", READ_BY_OPENCV)
def test_another_decoder_sees_the_same(name, images):
    other = cv2.imdecode(np.frombuffer(FILES[name][0], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]

    assert distance(images[name], other) <= 2
