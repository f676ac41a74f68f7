"""``study/data.py`` knows every data set: as its publisher ships it, or where to get it by hand."""

import pytest
from layout_trees import TREES

from proxy_attention.data.registry import SOURCES
from proxy_attention.data.sources import open_source
from study.data import main

ROWS = [name for name, source in SOURCES.items() if source.needs_root]
BY_HAND = [name for name, source in SOURCES.items() if source.by_hand]


@pytest.fixture
def run(capsys):
    """Run the command line; returns exit code, standard output and error stream."""

    def call(*argv):
        code = main([str(word) for word in argv])
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize("name", ROWS)
def test_every_data_set_as_its_publisher_ships_it_is_there_and_nothing_is_wrong_with_it(name, run, tmp_path):
    TREES[name](tmp_path)
    known, there = SOURCES[name].classes, len(open_source(name, tmp_path).classes)

    code, out, error = run("prepare", name, "--root", tmp_path)

    assert (code, error) == (0, "")
    assert f"{name} is there already: nothing was done" in out
    assert (f"{there} of its {known} classes are there\n" in out) == (known is not None and there < known)
    assert run("check", tmp_path, "--dataset", name, "--format", "csv") == (0, "kind,file,other\n", "")


@pytest.mark.parametrize("name", BY_HAND)
def test_what_is_to_be_got_by_hand_is_told_on_one_line_with_its_address_and_place(name, run, tmp_path):
    code, out, error = run("prepare", name, "--root", tmp_path)

    assert (code, out) == (1, "")
    assert f"{name} must be got by hand: " in error
    assert error.count("\n") == 1
    assert "://" in error or name == "folder"
    assert str(tmp_path) in error.partition("(now:")[0]


def test_there_are_data_sets_of_both_kinds():
    assert len(ROWS) > 15
    assert 0 < len(BY_HAND) < len(ROWS)
