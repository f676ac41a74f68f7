"""Makes the token that Ray's dashboard and job server ask for; imports no ray, so that a start costs nothing."""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from proxy_attention.errors import ConfigError

TOKEN = Path("~/.ray/auth_token")
"""Where Ray looks for the token if its environment names none."""

VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""The environment variables by which a user gives Ray a token, or the path of its file."""

PRIVATE = 0o600
OTHERS = 0o077
"""The rights of everyone but the owner."""


@contextmanager
def ensured_token(folder: Path) -> Iterator[str]:
    """Make a token that only this user can read, if there is none; Ray would make one that every user can read.

    A file that others may read is closed to them and kept: a cluster may be running with it. Where the home cannot be
    written to, the token is for this session alone.

    Args:
        folder: a private folder, for the token of a session.
    Yields: where the token is, for a person to read.
    Raises: ConfigError for a link, a file of another user, or one that is empty or no file; OSError.
    """
    for variable in VARIABLES:
        if os.environ.get(variable):
            yield variable
            return
    try:
        token = TOKEN.expanduser()
        token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_there(token):
            _create(token, secrets.token_hex(32))
            _is_there(token)  # another start may have been first: what it wrote is checked, too
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        _create(folder / TOKEN.name, _session_token())
        os.environ[VARIABLES[1]] = str(folder / TOKEN.name)
        try:
            yield str(folder / TOKEN.name)
        finally:
            del os.environ[VARIABLES[1]]
    else:
        yield str(TOKEN)


@cache
def _session_token() -> str:
    """Return the token of this process, if it needs one of its own: Ray reads it once."""
    return secrets.token_hex(32)


def _is_there(token: Path) -> bool:
    """Whether there is a token; closes its file to others.

    Raises: ConfigError for one that must not be used; OSError.
    """
    try:
        handle = os.open(token, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _refusal("is a link") from error
        raise
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise _refusal("is none")
        if found.st_uid != os.geteuid():
            raise _refusal("is another user's")
        if found.st_mode & OTHERS:
            os.fchmod(handle, PRIVATE)
        if not os.read(handle, 4096).strip():
            raise _refusal("is empty")
    finally:
        os.close(handle)
    return True


def _create(token: Path, text: str) -> None:
    """Write a new token, which is whole before it has its name; one that another start has made is kept."""
    fresh = token.with_name(f"{token.name}.{secrets.token_hex(8)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fchmod(handle, PRIVATE)  # whatever the umask
            os.fsync(handle)
        os.link(fresh, token)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def _refusal(what: str) -> ConfigError:
    return ConfigError(
        f"{TOKEN} must be a file of yours that holds a token for Ray; it {what}: delete it, "
        "or set RAY_AUTH_TOKEN_PATH to another file"
    )
