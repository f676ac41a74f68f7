"""Files that call themselves images: few formats are read, few pixels, regular files only; no program is started."""

import ast
import io
import os
import re
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import pytest
from PIL import Image

import proxy_attention
from proxy_attention.data.image_files import (
    FORMATS,
    NoImageError,
    TooManyPixelsError,
    UnreadableImageError,
    checked_image,
    read_image_file,
)

ROOT = Path(proxy_attention.__file__).parents[1]
MODULES = [path for package in ("proxy_attention", "study") for path in sorted((ROOT / package).rglob("*.py"))]


def encoded(image, form, **options):
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def png(*chunks, width=4, height=4):
    """A PNG file of black pixels, with these chunks before them; of a large one only the first pixels are there."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(min((width + 1) * height, 100_000)))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def size_of(content, **options):
    with checked_image(content, **options) as image:
        return image.size


def load(content):
    with checked_image(content) as image:
        image.load()


def opens_an_image(node):
    """Whether a node of a syntax tree is Pillow's ``Image.open``, or imports it."""
    if isinstance(node, ast.Attribute):
        return node.attr == "open" and ast.unparse(node.value) in ("Image", "PIL.Image")
    return isinstance(node, ast.ImportFrom) and node.module == "PIL.Image"


# ---- who opens


def test_no_other_module_opens_an_image():
    found = [
        path.relative_to(ROOT).as_posix()
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if opens_an_image(node)
    ]

    assert len(MODULES) > 100
    assert found == ["proxy_attention/data/image_files.py"]


# ---- formats


@pytest.mark.parametrize("form", [*FORMATS, "MPO"])
def test_the_formats_of_photographs_are_read(form):
    content = encoded(Image.new("RGB", (5, 3), (10, 20, 30)), form)

    with checked_image(content) as image:
        assert image.size == (5, 3)
        assert image.convert("RGB").getpixel((1, 1)) == pytest.approx((10, 20, 30), abs=4)


STRANGERS = """
import io, os, sys
from pathlib import Path
from proxy_attention.data.image_files import FORMATS, NoImageError, checked_image
folder, mark = Path(sys.argv[1]), Path(sys.argv[2])
for file in sorted(folder.iterdir()):
    for source in (file, file.read_bytes()):
        try:
            with checked_image(source) as image:
                image.load()
            raise SystemExit(f"{file.name} was read")
        except NoImageError:
            pass
loaded = [name for name in sys.modules if name.startswith("PIL.") and name.endswith("ImagePlugin")]
assert len(loaded) == len(FORMATS), loaded
assert not mark.exists()
from PIL import Image
with Image.open(folder / "EPS.png") as image:  # the control
    try:
        image.load()
    except OSError:
        pass
assert mark.exists(), "the stand-in for Ghostscript was not started by Pillow itself"
"""


def test_a_file_of_another_format_is_refused_whatever_its_name_and_starts_no_program(tmp_path):
    files, programs, mark = tmp_path / "files", tmp_path / "programs", tmp_path / "mark"
    files.mkdir()
    programs.mkdir()
    contents = {
        "PSD": b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 64, 64, 8, 3) + bytes(64),
        "FITS": b"SIMPLE  =                    T".ljust(2880),
        "WMF": struct.pack("<IHHHHHHIH", 0x9AC6CDD7, 0, 0, 0, 64, 64, 72, 0, 0) + bytes(40),
        "FLI": struct.pack("<IHHHHH", 128, 0xAF11, 1, 64, 64, 8).ljust(128, b"\0"),
    }
    for form in ("EPS", "PDF", "ICO", "ICNS", "TGA", "PCX", "DDS", "SGI", "JPEG2000", "DIB", "SPIDER"):
        mode = "F" if form == "SPIDER" else "RGB"
        contents[form] = encoded(Image.new(mode, (64, 64)), form)
    for form, content in contents.items():
        (files / f"{form}.png").write_bytes(content)
        (files / f"{form}.jpg").write_bytes(content)
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {mark}\n")
    (programs / "gs").chmod(0o755)

    ended = subprocess.run(
        [sys.executable, "-c", STRANGERS, files, mark],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")


# ---- size


def test_an_image_of_more_pixels_than_allowed_is_refused_by_its_header():
    with pytest.raises(TooManyPixelsError, match=r"^it has 144,000,000 pixels; max_pixels allows 100,000,000$"):
        size_of(png(width=12_000, height=12_000))


def test_as_many_pixels_as_are_allowed_are_read():
    assert size_of(png(width=20, height=10), max_pixels=200) == (20, 10)
    with pytest.raises(TooManyPixelsError, match=r"^it has 200 pixels; max_pixels allows 199$"):
        size_of(png(width=20, height=10), max_pixels=199)


def test_what_pillow_itself_refuses_is_told_in_the_same_words():
    with pytest.raises(TooManyPixelsError, match=r"^it has 1,000,000,000 pixels; max_pixels allows 100,000,000$"):
        size_of(png(width=50_000, height=20_000))


def test_more_pixels_than_pillow_allows_are_read_where_they_are_allowed(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)

    size = size_of(png(width=20_000, height=20_000), max_pixels=400_000_000)

    assert size == (20_000, 20_000)


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt"])
def test_text_and_profiles_that_unpack_to_very_much_are_refused(kind):
    packed = b"name\0\0" + zlib.compress(bytes(50_000_000))

    with pytest.raises(UnreadableImageError, match="too large"):
        load(png((kind, packed)))


# ---- files


@pytest.mark.timeout(20)
@pytest.mark.parametrize("read", [read_image_file, size_of])
def test_a_pipe_a_device_and_a_folder_are_no_images(read, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")

    for path in (tmp_path / "pipe.png", Path("/dev/zero"), tmp_path):
        with pytest.raises(UnreadableImageError, match=r"^no regular file$"):
            read(path)


def test_a_file_that_is_larger_than_any_image_is_not_read(tmp_path):
    file = tmp_path / "large.png"
    with file.open("wb") as opened:
        opened.truncate(2**32 + 1)  # sparse: it takes no room

    with pytest.raises(UnreadableImageError, match=r"^it has 4,294,967,297 bytes, more than 4,294,967,296$"):
        read_image_file(file)


def test_a_link_to_an_image_is_read(tmp_path):
    (tmp_path / "image.png").write_bytes(png())
    (tmp_path / "link.png").symlink_to("image.png")

    assert read_image_file(tmp_path / "link.png") == png()


# ---- errors


def test_a_file_that_is_no_image_is_told_from_a_damaged_one():
    with pytest.raises(NoImageError, match=f"^no image of {re.escape(', '.join(FORMATS))}$"):
        load(b"text")
    with pytest.raises(UnreadableImageError, match=r"^image file is truncated$") as damaged:
        load(png(width=90, height=90)[:50])
    assert not isinstance(damaged.value, NoImageError)


def test_pillow_does_not_warn_of_an_odd_file(recwarn):
    warnings.simplefilter("always")
    content = encoded(Image.new("RGB", (4, 4)), "TIFF")
    odd = content.replace(struct.pack("<HHI", 262, 3, 1), struct.pack("<HHI", 262, 3, 7))  # one tag has seven entries

    with pytest.raises(UnreadableImageError):
        load(odd)

    assert odd != content
    assert list(recwarn) == []
