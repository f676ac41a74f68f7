"""The same command, or a restore, for a run that is complete: it reprints and trains nothing."""

import shutil

import pandas as pd
import pytest
from command_lines import GRID, asked, contents

from study.results import COLUMNS
from study.run import main


@pytest.fixture
def complete(finished_run, tmp_path):
    """A storage that holds the finished run under the name small."""
    shutil.copytree(finished_run, tmp_path / "storage" / "small" / "grid")
    return tmp_path / "storage"


def test_a_complete_run_only_reprints(capsys, study_file, image_folder, complete):
    before = contents(complete / "small" / "grid" / "trials")

    code = main([*GRID, *asked(study_file, image_folder, complete)])

    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert "8 of 8 trials complete" in out
    assert "proxies - baseline" in out
    assert "saliency - random-mask" in out
    assert contents(complete / "small" / "grid" / "trials") == before


def test_a_restore_of_a_complete_run_only_reprints(capsys, complete):
    before = contents(complete / "small" / "grid" / "trials")

    code = main(["--restore", str(complete / "small")])

    assert code == 0
    assert "8 of 8 trials complete" in capsys.readouterr().out
    assert contents(complete / "small" / "grid" / "trials") == before


def test_the_rows_of_a_run_are_written_beside_it(study_file, image_folder, complete):
    (complete / "small" / "grid" / "results.csv").unlink()
    main([*GRID, *asked(study_file, image_folder, complete)])

    rows = pd.read_csv(complete / "small" / "grid" / "results.csv")
    assert list(rows.columns) == list(COLUMNS)
    assert len(rows) == 8
