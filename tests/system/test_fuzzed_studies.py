"""No text in the place of a study.toml is a traceback."""

import contextlib
import random

import pytest

from proxy_attention.errors import ProxyAttentionError
from study.planning.study_file import parse_study
from study.provenance import ROOT

STUDIES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "experiments").glob("*/study.toml"))]
MUTATIONS = 2000
VALUES = [
    *("nan", "inf", "-inf", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "true", "1e308", "-1", "0"),
    *("9" * 400, "9" * 5000, "0x" + "f" * 300, "''", '"a\\nb"', '"\\u0000"', '"../../x"', '"[bold]x[/]"', '"\\ud800"'),
    *("[]", "{}", "[[]]", "[{}]", "[nan]", '[1, "1", 1.0, true]', '["1,p", "1,p"]', "[" * 2000 + "]" * 2000),
    *(
        "{low = 1}",
        "{low = 0, high = 1}",
        '{low = "a", high = "b"}',
        "{low = nan, high = 1}",
        "{low = 1, high = 1e999}",
    ),
    *("{low = 1979-05-27, high = 1}", "{low = 0, high = 1, log = true}", "{low = 1, high = 2, whole = 3}"),
    *("{a = " * 500 + "1" + "}" * 500, "{low = 1, high = 9" + "9" * 30 + "}"),
]
LINES = [
    *("[study]", "[[study]]", "[fixed.x]", "[[search]]", "[arm]", "[[arm]]", "[a.b.c]", "[[arm.values]]"),
    *("seed = [1]", "threshold = 0.3", "name = 3", '"" = 1', "a.b.c = 1", "dataset.x = 1"),
]


def mutated(text, draws):
    """Change one value, add, repeat or drop a line, or change a few characters."""
    lines = text.splitlines()
    place, kind = draws.randrange(len(lines)), draws.random()
    if kind < 0.6:
        place = draws.choice([number for number, line in enumerate(lines) if "=" in line])
        lines[place] = f"{lines[place].split('=')[0]}= {draws.choice(VALUES)}"
    elif kind < 0.7:
        lines.insert(place, draws.choice(lines))
    elif kind < 0.8:
        del lines[place]
    elif kind < 0.9:
        lines.insert(place, draws.choice(LINES))
    else:
        signs = list("\n".join(lines))
        for _ in range(draws.randrange(1, 5)):
            signs[draws.randrange(len(signs))] = draws.choice("[]{}\"='\n\\\x00\x7f\u202e#.,-9e")
        return "".join(signs)
    return "\n".join(lines)


@pytest.mark.slow
def test_of_2000_changed_studies_none_is_a_traceback():
    draws = random.Random(0)
    for _ in range(MUTATIONS):
        with contextlib.suppress(ProxyAttentionError):
            parse_study(mutated(draws.choice(STUDIES), draws))
