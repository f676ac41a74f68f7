"""Find image files that were cut off, which a decoder may overlook; decodes no pixel."""

import re
import struct
import zlib

PNG, JPEG, GIF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"GIF8"

JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that ends the coded pixels: within them, 255 is followed by 0 or by a restart marker."""


def describe_truncation(content: bytes) -> str:
    """Say what a JPEG, PNG, GIF or WebP file lacks; empty if it is complete."""
    try:
        if content.startswith(PNG):
            return _missing_of_png(content)
        if content.startswith(JPEG):
            return "" if _jpeg_ends(content) else "truncated: a JPEG file without its end marker"
        if content.startswith(GIF):
            return "" if _gif_ends(content) else "truncated: a GIF file without its trailer"
        if content[:4] == b"RIFF" and len(content) < 8 + struct.unpack_from("<I", content, 4)[0]:
            return "truncated: shorter than the file says"
    except (struct.error, IndexError):
        return "truncated: ends within a header"
    return ""


def _missing_of_png(content: bytes) -> str:
    """Walk the chunks of a PNG file to its end chunk, and compare the checksums of those that carry pixels."""
    at = len(PNG)
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        (crc,) = struct.unpack_from(">I", content, at + 8 + length)
        if kind[:1].isupper() and zlib.crc32(content[at + 4 : at + 8 + length]) != crc:
            return f"damaged: the sum of chunk {kind.decode('latin-1')!r} is wrong"
        if kind == b"IEND":
            return ""
        at += 12 + length
    return "truncated: a PNG file without its end chunk"


def _jpeg_ends(content: bytes) -> bool:
    """Whether a JPEG file has its end marker after its segments and the coded pixels of every scan."""
    at = 2
    while at < len(content):
        found = JPEG_MARKER.search(content, at)
        if found is None:
            return False
        marker, at = content[found.start() + 1], found.end()
        if marker == 0xD9:
            return True
        if marker not in (0x01, 0xD8):  # these two stand alone; others tell their length
            at += struct.unpack_from(">H", content, at)[0]
    return False


def _gif_ends(content: bytes) -> bool:
    """Whether a GIF file has its trailer after its blocks."""
    at = 13 + _colours(content[10])
    while at < len(content):
        kind = content[at]
        if kind == 0x3B:
            return True
        if kind == 0x2C:  # an image: nine bytes, its colours, the width of its codes
            at += 11 + _colours(content[at + 9])
        elif kind == 0x21:  # an extension: its label
            at += 2
        else:
            at += 1
            continue
        while at < len(content) and content[at]:
            at += 1 + content[at]
        at += 1
    return False


def _colours(flags: int) -> int:
    """Count the bytes of a colour table from its flags, which say whether there is one."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
