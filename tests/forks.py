"""Processes that are forked from the test's own, so that they need not import torch again."""

import os
import sys
import traceback
import warnings
from collections.abc import Callable


def fork(work: Callable[[], int | None]) -> int:
    """Call ``work`` in a child process, which writes nothing to the terminal.

    Returns: the child's number. It exits with what ``work`` returns, 0 for None, and 99 after an exception.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of other threads: the child needs none of them
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
    """Wait for a child's end; a signal that ended it is negative."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
