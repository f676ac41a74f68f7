"""Names that would act where a person looks, if they were shown as they are."""

TRAPS = (
    "[red]x[/red]",
    "x [/nothing] :smile:",
    "\x1b]0;pwn\x07",
    "\x9b2J\u202eevil\u2066",
    "one\n0001 failed: two",
    "=cmd|' /C calc'!A0",
    "<img src=x onerror=alert(1)>",
    "$\\frac{$",
    "\\input{/etc/passwd}",
)


def controls(text, *, keep="\n"):
    """The characters of a text that would steer a terminal or the direction of what follows, but for those to keep."""
    acting = {
        *map(chr, range(0x20)),
        *map(chr, range(0x7F, 0xA0)),
        *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    }
    return sorted(acting & set(text) - set(keep))
