"""Forks processes from the test's own, so that they need not import torch again."""

import os
import sys
import traceback
import warnings
from collections.abc import Callable


def fork(work: Callable[[], int | None]) -> int:
    """Call ``work`` in a child process, which writes nothing to the terminal.

    Returns: the child's pid. The child exits with what ``work`` returns (0 for None), or with 99 after an exception.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about other threads, which the child does not need
        child = os.fork()
    if child:
        return child
    code = 99
    try:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
        code = work() or 0
    except Exception:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def exit_code(child: int) -> int:
    """Wait for a child to end; return its exit code, or minus the number of the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
