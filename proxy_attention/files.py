"""The names of a trial's files, and functions that write a file whole or not at all and read back what was written."""

import errno
import json
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from proxy_attention.checksums import with_checksum, without_checksum
from proxy_attention.records import EpochRecord, as_json

log = logging.getLogger(__name__)

UMASK = os.umask(0o077)
"""The permissions that this user withholds; asked for once, because asking sets it."""
os.umask(UMASK)

EPOCHS_FILE, REPORT_FILE = "epochs.json", "report.json"
WEIGHTS_FILE, RECIPES_FILE = "weights.safetensors", "recipes.safetensors"
CHECKPOINTS_FOLDER = "checkpoints"
"""The files and the folder that a trial writes into its own folder; the report is written last."""


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file whole or not at all: fill a temporary file beside it, flush that to disk, and rename it.

    Args:
        write: writes the content to the path that it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644 & ~UMASK)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_own_file(path: Path) -> bool:
    """Whether a path is a regular file, no link, that this user owns and no one else may write."""
    try:
        about = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid() and not about.st_mode & 0o022


def find_link(top: Path, *, without: Collection[Path] = ()) -> Path | None:
    """Find what is neither a folder nor a regular file: a path through it would lead elsewhere.

    Args:
        top: a file or folder, which need not exist.
        without: folders in which nothing is looked for; a link in place of one is found.
    Returns: the first such path at or below ``top``; None if there is none.
    """
    if not os.path.lexists(top):
        return None
    if not top.is_dir() or top.is_symlink():
        return top
    for folder, below, files in os.walk(top):
        for path in (Path(folder) / name for name in sorted([*below, *files])):
            try:
                mode = path.lstat().st_mode
            except OSError:  # removed meanwhile by the process that made it
                continue
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                return path
        below[:] = [name for name in below if Path(folder) / name not in without]
    return None


def write_text(path: Path, text: str) -> None:
    """Write text to a file, whole or not at all."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomic(path, write)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON object and its checksum to a file, whole or not at all.

    Raises: ValueError for NaN or infinity, which are no JSON.
    """
    write_text(path, json.dumps(with_checksum(values), indent=1, allow_nan=False) + "\n")


def read_regular(path: Path) -> bytes:
    """Read a regular file, through no link and without waiting for a pipe.

    Raises: OSError if it cannot be read or is anything else.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return file.read()


def load_json(path: Path) -> Any:
    """Load a JSON file. The checksum of an object is compared and taken off; files of earlier versions have none.

    Raises: OSError if it cannot be read or is no regular file (a link is none); ValueError or RecursionError if it is
        damaged.
    """
    value = json.loads(read_regular(path).decode())
    return without_checksum(value)[0] if isinstance(value, dict) else value


def read_json(path: Path) -> Any:
    """Read a JSON file as ``load_json`` does; return None if it does not exist or is damaged."""
    try:
        return load_json(path)
    except (OSError, ValueError, RecursionError):
        return None


def write_epochs(path: Path, records: Sequence[EpochRecord]) -> None:
    """Write the records of the epochs so far, as ``epochs.json``."""
    write_json(path, {"epochs": [as_json(record) for record in records]})


class BackgroundWriter:
    """Runs write jobs in a thread while training goes on; one at a time, so that few copied states are in memory.

    The end of the ``with`` block waits for the last job. An error of a job is raised by the next ``submit`` or
    ``wait``, or at the end of the block.
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
        """Wait for the previous job, start this one, and return while it runs."""
        self.wait()
        self._job = self._pool.submit(job)

    def wait(self) -> None:
        """Wait until the job is done.

        Raises: the error of the job.
        """
        job, self._job = self._job, None
        if job is not None:
            job.result()
