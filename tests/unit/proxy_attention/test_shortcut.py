import pytest

from proxy_attention.errors import ConfigError
from proxy_attention.shortcut import Shortcut, is_shortcut, standard_form


def test_no_shortcut_is_none():
    assert Shortcut.parse("none") is None
    assert standard_form("none") == "none"


@pytest.mark.parametrize(
    ("text", "standard"),
    [
        ("patch:0.9", "patch:0.9:aligned:none"),
        ("patch:.90:aligned", "patch:0.9:aligned:none"),
        (" watermark : 1 : none : conflicting ", "watermark:1.0:none:conflicting"),
        ("patch:-0", "patch:0.0:aligned:none"),
    ],
)
def test_one_shortcut_has_one_text(text, standard):
    assert standard_form(text) == standard_form(standard) == standard
    assert is_shortcut(text)


def test_a_shortcut_has_its_parts():
    assert Shortcut.parse("watermark:0.5:none:conflicting") == Shortcut(
        "watermark", 0.5, val="none", test="conflicting"
    )


@pytest.mark.parametrize(
    "text", ["", "patch", "frame:0.9", "patch:most", "patch:1.01", "patch:nan", "patch:1:bad", "a:b"]
)
def test_anything_else_is_answered_with_the_form_and_an_example(text):
    told = r"^shortcut must be none, or patch or watermark, a share in \[0, 1\], .* such as patch:0.9 or .*; got "

    assert not is_shortcut(text)
    with pytest.raises(ConfigError, match=told):
        Shortcut.parse(text)
