"""Parses a shortcut such as ``patch:0.9:aligned:none`` into what is planted where; knows no image."""

from dataclasses import dataclass

from proxy_attention.errors import ConfigError

NO_SHORTCUT = "none"
KINDS = ("patch", "watermark")
LOOKS = ("aligned", "conflicting", "none")
"""What val and test show: a shortcut that tells each image's class, one that tells another, or none."""
SHORTCUT_FORM = (
    f"{NO_SHORTCUT}, or {' or '.join(KINDS)}, a share in [0, 1], and what val and test show ({', '.join(LOOKS)}),"
    " joined by colons, such as patch:0.9 or patch:0.9:aligned:none"
)


@dataclass(frozen=True)
class Shortcut:
    """A parsed shortcut.

    Attributes:
        kind: one of ``KINDS``.
        share: the share of each class' training images whose class it tells, in [0, 1]; in the rest it tells another.
        val, test: one of ``LOOKS``.
    """

    kind: str
    share: float
    val: str = "aligned"
    test: str = "none"

    @classmethod
    def parse(cls, text: str) -> "Shortcut | None":
        """Parse text such as ``patch:0.9``, ``patch:0.9:aligned`` or ``watermark:1:aligned:conflicting``.

        Returns: None for ``none``.
        Raises: ConfigError for anything else.
        """
        if text == NO_SHORTCUT:
            return None
        kind, *rest = (word.strip() for word in text.split(":"))
        if kind in KINDS and 1 <= len(rest) <= 3 and set(rest[1:]) <= set(LOOKS):
            try:
                share = float(rest[0])
            except ValueError:
                share = -1.0
            if 0 <= share <= 1:
                return cls(kind, share + 0.0, *rest[1:])
        raise ConfigError(f"shortcut must be {SHORTCUT_FORM}; got {text!r}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.share!r}:{self.val}:{self.test}"


def is_shortcut(text: str) -> bool:
    """Whether text is a shortcut, or ``none``."""
    try:
        Shortcut.parse(text)
    except ConfigError:
        return False
    return True


def standard_form(text: str) -> str:
    """Return a shortcut's text with every part in it, so that one shortcut has one text.

    Raises: ConfigError.
    """
    return str(Shortcut.parse(text) or NO_SHORTCUT)
