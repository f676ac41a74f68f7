import io
import logging
import math
import sys

import pytest
from rich.table import Table
from traps import TRAPS, controls

from proxy_attention.errors import ConfigError
from study.console import (
    Parser,
    PlainConsole,
    UsageError,
    duration,
    fail,
    print_data,
    say,
    share,
    shown,
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


def test_of_an_error_that_quotes_a_whole_file_both_ends_are_told(capsys):
    fail("x.py", ConfigError(f"lr must be a number; got {'x' * 100_000} in study.toml"))

    err = capsys.readouterr().err
    assert err.startswith("x.py: lr must be a number; got xxx")
    assert err.endswith("xxx in study.toml\n")
    assert len(err.splitlines()) == 1
    assert len(err) < 4000


# ---- text from elsewhere


@pytest.mark.parametrize("trap", TRAPS)
def test_text_is_one_line_on_which_nothing_acts(trap, capsys):
    say(trap)
    fail("x.py", ConfigError(trap))

    for stream in capsys.readouterr():
        assert len(stream.splitlines()) == 1
        assert controls(stream) == []


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("terminal", [True, False])
def test_a_console_shows_markup_and_control_characters(trap, terminal):
    table = Table(title=trap)
    table.add_column(trap)
    table.add_row(trap)
    out = io.StringIO()
    console = PlainConsole(file=out, width=100, force_terminal=terminal, color_system=None)

    for thing in (trap, table, shown(trap), shown(trap, "bold")):
        console.print(thing)

    assert controls(out.getvalue()) == []
    assert out.getvalue().count(trap.splitlines()[0]) >= 4 or controls(trap, keep="")


@pytest.mark.parametrize("trap", TRAPS)
def test_nothing_acts_in_a_warning_of_a_command(trap):
    parser().read([])

    shown = logging.lastResort.format(logging.makeLogRecord({"msg": "%s is damaged", "args": (trap,)}))

    assert controls(shown) == []
    assert shown.endswith(" is damaged")


def test_a_console_still_moves_its_own_cursor_and_writes_bold():
    out = io.StringIO()
    console = PlainConsole(file=out, width=100, force_terminal=True, _environ={"TERM": "xterm"})

    console.print(shown("x", "bold"))
    console.show_cursor(False)

    assert out.getvalue() == "\x1b[1mx\x1b[0m\n\x1b[?25l"


def test_data_is_printed_as_it_is_where_a_program_reads_it_and_with_escapes_on_a_terminal(capsys, monkeypatch):
    print_data("a,\x1b\nb\n")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_data("a,\x1b\nb")

    assert capsys.readouterr().out == "a,\x1b\nb\n" + "a,\\x1b\nb\n"


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
