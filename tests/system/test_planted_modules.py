"""No Python file that lies where the user stands, in the data or in the run is ever imported."""

import os
import shutil
import subprocess
import sys

import pytest
from driving import ROOT, TIMEOUT

from study.run_folder import RunFolder

NAMES = ("timm", "torch", "sitecustomize", "usercustomize", "optuna", "pandas", "captum", "study", "proxy_attention")


def plant(folder, mark):
    """Put modules into a folder that leave a mark when they are imported, and then fail."""
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write(__file__ + '\\n')\nraise SystemExit(9)\n")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_restore_from_inside_a_run_with_planted_modules_imports_none(finished_run, own_images, tmp_path):
    run = RunFolder(shutil.copytree(finished_run, tmp_path / "small" / "grid"))
    missing = run.trial(run.read_plan().trials[1].trial_id)
    shutil.rmtree(missing.path)
    for folder in (run.path, run.trials, own_images, tmp_path):
        plant(folder, tmp_path / "mark")

    done = subprocess.run(
        [sys.executable, str(ROOT / "study" / "run.py"), "--restore", ".", "--no-dashboard"],
        cwd=run.path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert missing.is_complete
    assert not (tmp_path / "mark").exists()
