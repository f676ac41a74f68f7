"""A study that is extended, and interrupted at that, ends with the rows of one that was planned so."""

from pathlib import Path

import pandas as pd
import pytest
from driving import complete, cut_power, lasting_rows, restored, start, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def reports(run: Path) -> dict[str, int]:
    """When each trial became complete, in nanoseconds."""
    return {folder.name: (folder / "report.json").stat().st_mtime_ns for folder in complete(run)}


def test_two_more_seeds_train_only_what_is_new_and_equal_a_study_planned_with_four(
    prepared_run, run_one, home, image_folder, study_text, tmp_path
):
    text = study_text.replace("threshold = [0.3, 0.6]", "threshold = [0.3]").partition("[[arm]]")[0]
    whole = prepared_run(tmp_path / "whole" / "grid", text.replace("seeds = [0, 1]", "seeds = [0, 1, 2, 3]"))
    first = prepared_run(tmp_path / "small" / "grid", text)
    for prepared in (whole, first):
        for number in range(len(prepared.plan.trials)):
            run_one(prepared, number)
    run = first.run.path
    before = reports(run)
    (tmp_path / "study.toml").write_text(text)

    asked = (
        "--experiment",
        tmp_path,
        "--data-root",
        image_folder,
        "--name",
        "small",
        "--no-dashboard",
        "--concurrency",
        "1",
    )
    mark, process = start(tmp_path, home, "--search", "grid", *asked, "--extend", "--seeds", "0,1,2,3")
    wait_until(lambda run: len(complete(run)) >= 5, run, process)
    cut_power(process, mark)
    done = restored(run, home)

    assert (done.code, done.err) == (0, "")
    assert "after 2 seeds, by seeds 2, 3, when 4 of its 4 trials were complete" in " ".join(done.out.split())
    assert {name: reports(run)[name] for name in before} == before
    pd.testing.assert_frame_equal(lasting_rows(run), lasting_rows(whole.run.path))
