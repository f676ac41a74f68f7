"""Standard streams that are closed, or whose reader has gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import study

ROOT = Path(study.__file__).parents[1]
LINES = "from study.streams import run_command\nimport sys, os\n"


def run(code, *, shell='exec "$@"', **options):
    return subprocess.run(
        ["bash", "-c", shell, "bash", sys.executable, "-c", LINES + code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})},
        capture_output=True,
        check=False,
        timeout=60,
        **options,
    )


WRITES = """
def main():
    with open(sys.argv[1], "w") as file:
        print("printed", flush=True)
        print("an error", file=sys.stderr, flush=True)
        os.system("echo of a child; echo of a child >&2")
        file.write("mine")
    return 3
sys.argv = ["x", {file!r}]
run_command(main)
"""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_costs_nothing_and_nothing_of_it_gets_into_a_file(tmp_path, closed):
    done = run(WRITES.format(file=str(tmp_path / "file")), shell=f'exec "$@" {closed}')

    assert done.returncode == 3
    assert (tmp_path / "file").read_text() == "mine"
    assert done.stdout == (b"" if closed.count(">&-") > ("2>&-" in closed) else b"printed\nof a child\n")
    assert done.stderr == (b"" if "2>&-" in closed else b"an error\nof a child\n")


PRINTS = """
from study.console import console
def main():
    for number in range(30_000):
        {line}
    return 3
run_command(main)
"""


@pytest.mark.parametrize("line", ["print(number)", "console(width=80).print(number)"])
def test_a_reader_that_goes_away_ends_a_command_without_noise(line):
    done = run(PRINTS.format(line=line), shell='"$@" | head -n 2; exit ${PIPESTATUS[0]}')

    assert (done.returncode, done.stdout, done.stderr) == (0, b"0\n1\n", b"")


def test_a_command_whose_last_lines_nobody_reads_ends_with_its_code_without_noise():
    done = run(
        "run_command(lambda: print('x') or 3)", shell='"$@" | true; exit ${PIPESTATUS[0]}', env={"PYTHONUNBUFFERED": ""}
    )

    assert (done.returncode, done.stderr) == (3, b"")


def test_a_command_can_go_on_when_its_reader_has_gone():
    code = """
from study.console import console
told = []
def main():
    out = console(width=80, on_reader_gone=lambda: told.append(True))
    for number in range(300):
        out.print(number if number < 2 else "x" * 1000, soft_wrap=True)
    print(len(told), out.reader_is_gone, file=sys.stderr)
    return 3
run_command(main)
"""

    done = run(code, shell='"$@" | head -n 2; exit ${PIPESTATUS[0]}')

    assert (done.returncode, done.stdout, done.stderr) == (3, b"0\n1\n", b"1 True\n")


def test_a_letter_that_the_encoding_lacks_is_shown_as_an_escape():
    done = run("run_command(lambda: print('0.5 ± 0.1 ü') or 0)", env={"PYTHONIOENCODING": "ascii"})

    assert (done.returncode, done.stdout, done.stderr) == (0, rb"0.5 \xb1 0.1 \xfc" + b"\n", b"")
