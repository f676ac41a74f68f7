import shutil

from study.execution import runner
from study.results import load_results
from study.run_folder import RunFolder


def test_what_ray_says_of_a_worker_that_was_killed_becomes_the_error_of_its_trial(broken_run, tmp_path):
    run = shutil.copytree(broken_run, tmp_path / "run")
    _, cut, failed, _ = trials = list(RunFolder(run).read_plan().trials)

    runner._write_down_errors({cut.trial_id: "The worker\nwas killed", failed.trial_id: "x"}, trials, RunFolder(run))

    rows = load_results(run)
    assert list(rows["status"]) == ["complete", "failed", "failed", "missing"]
    assert rows["error"].iloc[1] == "The worker was killed"
    assert rows["error"].iloc[2].startswith("DivergedError: ")  # what the trial itself wrote is kept
