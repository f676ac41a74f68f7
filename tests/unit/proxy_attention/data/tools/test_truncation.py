import io
import struct

import pytest
from PIL import Image

from proxy_attention.data.image_files import BEGINNINGS
from proxy_attention.data.tools.truncation import describe_truncation

NOISE = Image.effect_noise((24, 24), 50).convert("RGB")
FORMS = {
    "JPEG": ("JPEG", {}),
    "progressive JPEG": ("JPEG", {"progressive": True}),
    "PNG": ("PNG", {}),
    "GIF": ("GIF", {}),
    "animation": ("GIF", {"save_all": True, "append_images": [NOISE.rotate(90), NOISE.rotate(180)], "comment": b"two"}),
    "WebP": ("WEBP", {}),
}


def encoded(form, options):
    content = io.BytesIO()
    NOISE.save(content, form, **options)
    return content.getvalue()


WHOLE = {name: encoded(*form) for name, form in FORMS.items()}
NOT_WALKED = {"TIFF": encoded("TIFF", {}), "BMP": encoded("BMP", {}), "text": b"Remember to buy milk."}


@pytest.mark.parametrize("form", WHOLE)
def test_a_whole_file_lacks_nothing_whatever_lies_behind_its_end(form):
    assert describe_truncation(WHOLE[form]) == ""
    assert describe_truncation(WHOLE[form] + b"\0camera notes\xff") == ""


@pytest.mark.parametrize("form", WHOLE)
def test_a_file_that_is_cut_anywhere_behind_its_first_bytes_lacks_its_end(form):
    content = WHOLE[form]

    said = [describe_truncation(content[:end]) for end in range(8, len(content))]

    assert [text for text in said if not text.startswith("truncated: ")] == []


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("JPEG", "truncated: a JPEG file without its end marker"),
        ("PNG", "truncated: a PNG file without its end chunk"),
        ("GIF", "truncated: a GIF file without its trailer"),
        ("WebP", "truncated: shorter than the file says"),
    ],
)
def test_what_is_missing_is_named_by_its_format(form, said):
    content = WHOLE[form]
    end = len(content) - (12 if form == "PNG" else 1)

    assert describe_truncation(content[:end]) == said


def test_a_cut_within_a_header_is_told_so():
    assert describe_truncation(WHOLE["PNG"][:20]) == "truncated: ends within a header"


def test_the_sums_of_the_chunks_that_carry_pixels_must_agree():
    content = bytearray(WHOLE["PNG"])
    content[content.index(b"IDAT") + 10] ^= 1

    assert describe_truncation(bytes(content)) == "damaged: the sum of chunk 'IDAT' is wrong"


def test_the_sum_of_a_chunk_beside_the_pixels_may_be_wrong():
    note = struct.pack(">I4s", 3, b"tEXt") + b"a\0b" + b"none"
    header_end = len(b"\x89PNG\r\n\x1a\n") + 25

    assert describe_truncation(WHOLE["PNG"][:header_end] + note + WHOLE["PNG"][header_end:]) == ""


def test_an_end_marker_inside_a_segment_does_not_end_a_jpeg_file():
    comment = b"\xff\xfe" + struct.pack(">H", 6) + b"\xff\xd9\xff\xd9"
    content = WHOLE["JPEG"][:2] + comment + WHOLE["JPEG"][2:]

    assert describe_truncation(content) == ""
    assert describe_truncation(content[:-2]) == "truncated: a JPEG file without its end marker"


@pytest.mark.parametrize("form", NOT_WALKED)
def test_of_other_formats_nothing_is_said(form):
    assert describe_truncation(NOT_WALKED[form][:-5]) == ""


@pytest.mark.parametrize("form", [*WHOLE, "TIFF"])
def test_every_format_is_known_by_its_first_bytes(form):
    assert {**WHOLE, **NOT_WALKED}[form].startswith(BEGINNINGS)
