"""Files of one trial, each written whole or not at all; knows no model and nothing of what it stores."""

import json
import logging
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

EPOCHS_FILE, REPORT_FILE = "epochs.json", "report.json"
WEIGHTS_FILE, RECIPES_FILE = "weights.safetensors", "recipes.safetensors"
CHECKPOINTS_FOLDER = "checkpoints"
"""What a trial writes into its folder; the report comes last."""


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, flush it to the disk, and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text, whole or not at all."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomic(path, write)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all; a NaN is refused, because other readers would refuse it."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; None if there is no such file, or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


class BackgroundWriter:
    """One thread that writes while training goes on; one job at a time, so that memory holds one state beside it.

    Leaving the ``with`` block waits for the job. An error of a job is raised by the next ``submit``, or on leaving.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._job: Future[None] | None = None

    def __enter__(self) -> "BackgroundWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if kind is None or kind is GeneratorExit:
                self.wait()
        finally:
            self._pool.shutdown(wait=True)

    def submit(self, job: Callable[[], None]) -> None:
        """Do this after the job before it, and meanwhile go on."""
        self.wait()
        self._job = self._pool.submit(job)

    def wait(self) -> None:
        """Wait for the job.

        Raises: its error.
        """
        job, self._job = self._job, None
        if job is not None:
            job.result()
