"""Makes the folder that Ray writes its session into: private, and short enough for its sockets; imports no ray."""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy_attention.errors import ConfigError

LONGEST = "/session_2026-01-31_23-59-59_999999_4194304/sockets/dash_MetricsHead"
"""The longest path of a socket below Ray's own folder."""
SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""The longest path of a socket that the system takes."""
PREFIX, RANDOM, INNER = "ray-", 8, "r"
"""A folder of ours is ``ray-`` and eight random characters; Ray's is inside, because Ray opens its own to everyone."""
MOST_BYTES = SOCKET_BYTES - len(LONGEST) - len(f"/{PREFIX}/{INNER}") - RANDOM
"""The longest path that the folder may lie in."""
USUAL = ("/tmp", "/var/tmp")  # noqa: S108, a new folder is made in it
"""Where the folder lies if it cannot lie in ``TMPDIR``."""


@contextmanager
def ray_folder() -> Iterator[Path]:
    """Make a folder for a session of Ray that only this user can enter, and remove it after a ``with`` block.

    It lies in ``RAY_TMPDIR`` if that is set, else in ``TMPDIR``, or where that does not do, in ``USUAL``. Its name is
    new and random, so that what others have put there is passed by. Where ``TMPDIR`` does not do, it is the new folder
    meanwhile: Ray's Python processes open sockets there, too.

    Raises: ConfigError if no folder does; ``RAY_TMPDIR`` is never passed by.
    """
    outer, temporary = _make(), os.environ.get("TMPDIR")
    unfit = bool(temporary) and (
        _trouble(Path(str(temporary))) if os.environ.get("RAY_TMPDIR") else outer.parent != Path(str(temporary))
    )
    try:
        inner = outer / INNER
        inner.mkdir()
        if unfit:
            os.environ["TMPDIR"] = str(outer)
        yield inner
    finally:
        if unfit:
            os.environ["TMPDIR"] = str(temporary)
        shutil.rmtree(outer, ignore_errors=True)


def _make() -> Path:
    asked = os.environ.get("RAY_TMPDIR")
    variable, places = "RAY_TMPDIR", [asked]
    if not asked:
        variable, places = "TMPDIR", [os.environ.get("TMPDIR") or USUAL[0], *USUAL]
    troubles = []
    for place in dict.fromkeys(Path(place) for place in places if place):
        trouble = _trouble(place)
        if not trouble:
            try:
                return Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))  # for this user alone, whatever the umask
            except OSError as error:
                trouble = f"cannot be written ({error.strerror})"
        troubles.append(f"{str(place)!r} {trouble}")
    raise ConfigError(f"{variable} must be a folder that can hold Ray's sockets; {', '.join(troubles)}")


def _trouble(place: Path) -> str:
    """Say why Ray's folder cannot lie in this one; return an empty text if it can."""
    path = str(place)
    if not place.is_absolute():
        return "is no absolute path"
    if not path.isascii() or not path.isprintable():
        return "has letters that Ray cannot read"  # it reads paths as ASCII
    if len(path) > MOST_BYTES:
        return f"is longer than {MOST_BYTES} bytes"
    try:
        about = place.stat()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not stat.S_ISDIR(about.st_mode):
        return "is no folder"
    # who may rename our folder could put another in its place
    others_write = about.st_mode & 0o022 and not about.st_mode & stat.S_ISVTX
    if about.st_uid not in (0, os.geteuid()) or others_write:
        return "is a folder in which other users may rename files"
    return ""
