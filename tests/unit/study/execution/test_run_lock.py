import re
import subprocess
import sys
from pathlib import Path

import pytest

from proxy_attention.errors import ConfigError
from study.execution.run_lock import sole_driver

HOLD = """
import sys
from pathlib import Path
from study.execution.run_lock import sole_driver
with sole_driver(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_driver(tmp_path):
    """Another process that holds the lock of the run at ``tmp_path / "run"``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        cwd=Path(__file__).parents[4],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate(timeout=10)


def test_a_run_has_one_driver(other_driver, tmp_path):
    with (
        pytest.raises(ConfigError, match=re.escape("a run must have one driver")),
        sole_driver(tmp_path / "run"),
    ):
        pass


def test_the_lock_goes_with_the_process_however_that_ends(other_driver, tmp_path):
    other_driver.kill()
    other_driver.wait(timeout=10)

    with sole_driver(tmp_path / "run"):
        pass


def test_a_run_can_be_driven_again_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), sole_driver(tmp_path / "run"):
        _ = 1 / 0

    with sole_driver(tmp_path / "run"):
        pass


def test_storage_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "storage").write_text("")

    with (
        pytest.raises(ConfigError, match="--storage must be a folder that can be written; got "),
        sole_driver(tmp_path / "storage" / "quick" / "grid"),
    ):
        pass


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs procfs")
def test_storage_that_cannot_be_written_is_refused():
    with (
        pytest.raises(ConfigError, match="--storage must be a folder that can be written; got '/proc/nowhere/run'"),
        sole_driver(Path("/proc/nowhere/run")),
    ):
        pass
