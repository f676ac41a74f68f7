import io
import math

import pandas as pd
import pytest
from rich.console import Console

from proxy_attention.errors import ConfigError
from study.analysis.claims import Claim
from study.analysis.estimates import estimate
from study.console import (
    Parser,
    UsageError,
    claim_table,
    duration,
    fail,
    frame_table,
    interval,
    share,
    spread,
    whole,
)


def parser():
    options = Parser(prog="x.py", allow_abbrev=False)
    options.add_argument("--count", type=whole("--count", low=1, high=9))
    options.add_argument("--colour")
    return options


def test_what_is_known_is_read():
    assert vars(parser().read(["--count", "3"])) == {"count": 3, "colour": None}


def test_an_unknown_option_is_answered_with_the_likeliest():
    with pytest.raises(ConfigError, match="must be one of --colour, --count, --help; got '--color'; did you mean --co"):
        parser().read(["--color=red"])


def test_a_missing_value_raises_and_prints_nothing(capsys):
    with pytest.raises(ConfigError, match="expected one argument"):
        parser().read(["--count"])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["0", "10", "1.0", "x", "", "-1", "1e3"])
def test_a_number_that_breaks_its_law_is_answered_in_our_words(text):
    with pytest.raises(UsageError, match=r"--count must be a whole number in \[1, 9\]; got "):
        parser().read([f"--count={text}"])


@pytest.mark.parametrize("text", ["0", "0.25", "1", "2", "8.0"])
def test_a_part_of_a_gpu_or_whole_ones_may_be_asked_for(text):
    assert share("--gpus")(text) == float(text)


@pytest.mark.parametrize("text", ["-0.1", "1.5", "nan", "inf", "-inf", "x", ""])
def test_another_number_of_gpus_is_refused(text):
    with pytest.raises(UsageError, match=r"--gpus must be a fraction in \[0, 1\] or a whole number; got "):
        share("--gpus")(text)


def test_an_error_is_one_line_however_many_it_had(capsys):
    fail("x.py", ConfigError("one\n  two\tthree"))

    assert capsys.readouterr() == ("", "x.py: one two three\n")


DURATIONS = {
    0: "0:00",
    9.4: "0:09",
    42: "0:42",
    59.6: "1:00",
    65: "1:05",
    185: "3:05",
    600: "10:00",
    3599: "59:59",
    7800: "2:10:00",
    math.nan: "?",
    math.inf: "?",
}


@pytest.mark.parametrize(("seconds", "text"), DURATIONS.items())
def test_a_duration_is_minutes_and_seconds_then_hours(seconds, text):
    assert duration(seconds) == text


def test_a_spread_is_mean_and_standard_deviation():
    assert spread(83.125, 0.4) == "83.12 ± 0.40"
    assert spread(0.5, 0.25, signed=True) == "+0.50 ± 0.25"
    assert spread(83.0, math.nan) == "83.00"
    assert spread(math.nan, math.nan) == ""


def test_an_interval_stands_in_brackets():
    assert interval(estimate([1.0, 3.0])) == "+2.00 [-10.71, +14.71]"
    assert interval(estimate([-1.0])) == "-1.00"
    assert interval(estimate([])) == ""


def shown(thing, *, terminal=False):
    out = io.StringIO()
    Console(file=out, width=160, force_terminal=terminal).print(thing)
    return out.getvalue()


def test_a_claim_is_shown_with_its_interval_its_pairs_and_its_verdict():
    line = shown(claim_table([Claim("a - b", (0, 1), estimate([1.0, 3.0]), estimate([0.5, -0.5]))])).splitlines()[-1]

    for words in ("a - b", "2", "+2.00 [-10.71, +14.71]", "+0.00 [", "+0.5 -0.5", "2 seeds: too few to tell"):
        assert words in line


def test_the_val_of_an_audit_is_marked_in_every_table():
    found = estimate([1.0, 1.0])
    numbers = {f"{part}_{name}": 1.0 for part in ("val", "test") for name in ("mean", "sd", "difference")}
    spreads = {"val_difference_sd": 1.0, "test_difference_sd": 1.0}
    rows = pd.DataFrame([{"arm": arm, "n": 2, "pairs": 2, **numbers, **spreads} for arm in ("honest", "audit")])

    claimed = shown(claim_table([Claim("audit - honest", (0, 1), found, found, leaking=True)]))
    honest, audit = shown(frame_table(rows, "by arm", leaking={"audit"})).splitlines()[-2:]

    assert claimed.count("+1.00 [+1.00, +1.00] LEAKING") == 1
    assert audit.count("1.00 ± 1.00 LEAKING") == 2
    assert "LEAKING" not in honest
