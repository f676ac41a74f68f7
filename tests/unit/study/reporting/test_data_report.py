import csv
import io

import pytest
from PIL import Image
from traps import TRAPS, controls

from proxy_attention.data.catalogue import Catalogue
from proxy_attention.data.registry import SOURCES
from proxy_attention.data.tools.integrity import BROKEN, DUPLICATE, LEAK, NO_IMAGE, Issue
from study.console import console
from study.reporting.data_report import print_table, show_issues, source_rows, write_csv

CATALOGUE = Catalogue(
    names=("train/a", "train/b", "test/a"),
    labels=(0, 1, 0),
    own_test=(False, False, True),
    classes=("cat", "dog"),
    read=lambda i: b"",
    decode=lambda content: Image.new("RGB", (1, 1)),
)
UNPRINTABLE = "a\x1b[2Jb[bold].txt"


@pytest.fixture
def shown(capsys):
    """The report of these issues, as it is printed."""

    def show(*issues, catalogue=CATALOGUE, refused=""):
        show_issues(catalogue, issues, console(), refused=refused)
        return capsys.readouterr().out

    return show


def test_the_report_says_what_was_read_found_and_meant(shown):
    issues = [
        Issue(BROKEN, "train/b", "truncated"),
        Issue(NO_IMAGE, "train/notes.txt", "by its name"),
        Issue(LEAK, "test/a", "train/a"),
    ]

    out = shown(*issues)

    assert "3 images read, 2 classes, 2 to train and choose with, 1 test\n" in out
    assert "two images are the same if their decoded pixels are" in out
    assert all(cell in out for issue in issues for cell in (issue.kind, issue.file, issue.other))
    for line in ("1 broken: ", "1 no image: ", "1 leak: the same pixels in test and in train"):
        assert line in out
    assert "nothing is wrong" not in out


def test_what_is_for_information_is_told_apart_and_is_no_fault(shown):
    out = shown(*(Issue(DUPLICATE, f"train/{i}", "train/a") for i in range(22)))

    assert "for information" in out
    assert "train/19" in out
    assert "train/20" not in out
    assert "and 2 more" in out
    assert "22 duplicate: the same pixels twice within one split" in out
    assert out.endswith("nothing is wrong\n")


def test_a_folder_that_no_study_trains_on_is_told_to_be_so(shown):
    assert "no study trains on it as it lies: it has no test\n" in shown(refused="it has no test")


def test_a_long_path_is_not_folded_where_there_is_no_terminal(shown):
    path = f"train/{'x' * 150}/{'y' * 150}.png"

    assert f" {path}" in shown(Issue(DUPLICATE, path, "train/a"))


def test_a_name_cannot_command_the_terminal(shown, capsys):
    print_table(("name",), [(UNPRINTABLE,)], console())
    write_csv(("name",), [(UNPRINTABLE,)])

    for out in (capsys.readouterr().out, shown(Issue(NO_IMAGE, UNPRINTABLE, "")), shown(refused=UNPRINTABLE)):
        assert "a\\x1b[2Jb[bold].txt" in out
        assert "\x1b" not in out


def test_every_data_set_has_a_row_without_an_empty_cell():
    head, rows = source_rows(whole=True)

    assert [row[0] for row in rows] == list(SOURCES)
    assert all(len(row) == len(head) and all(row) for row in rows)
    assert source_rows()[1] == [row[:-2] for row in rows]


def test_csv_can_be_read_back(capsys):
    rows = [("a,b", 'say "c"'), ("", "d")]

    write_csv(("one", "two"), rows)

    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [["one", "two"], ["a,b", 'say "c"'], ["", "d"]]


@pytest.mark.parametrize("trap", TRAPS)
def test_no_file_name_acts_in_the_table_or_in_the_csv(trap, shown, capsys):
    write_csv(("file",), [(trap,)])
    text = capsys.readouterr().out + shown(Issue(NO_IMAGE, trap, trap), refused=trap)

    assert controls(text) == []
    assert not [line for line in text.splitlines() if line.startswith(("=", "0001 failed"))]
    assert trap in text or controls(trap, keep="")
