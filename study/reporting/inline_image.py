"""An image that stands in the HTML itself, with words for those who cannot see it."""

import base64
from dataclasses import dataclass


@dataclass(frozen=True)
class InlineImage:
    """An image as a data URI, and what it shows in words."""

    source: str
    alt: str

    @classmethod
    def of(cls, content: bytes, alt: str, kind: str = "svg+xml") -> "InlineImage":
        """Encode the bytes of an image file."""
        return cls(f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}", alt)
