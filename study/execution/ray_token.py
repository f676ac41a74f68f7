"""Makes the token that Ray's dashboard and job server ask for; imports no ray, so that a start costs nothing."""

import errno
import os
import secrets
import stat
from pathlib import Path

from proxy_attention.errors import ConfigError

TOKEN = Path("~/.ray/auth_token")
"""Where Ray looks for the token if its environment names none."""

PRIVATE = 0o600
OTHERS = 0o077
"""The rights of everyone but the owner."""


def ensure_token() -> None:
    """Make a token that only this user can read, if there is none; Ray would make one that every user can read.

    A file that others may read is closed to them and kept: a cluster may be running with it.

    Raises: ConfigError for a link, a file of another user, one that is empty or no file, or a home that cannot be
        written to.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    try:
        token = TOKEN.expanduser()
        token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_there(token):
            _create(token)
            _is_there(token)  # another start may have been first: what it wrote is checked, too
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        raise _refusal(f"cannot be read or written ({getattr(error, 'strerror', None) or error})") from error


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


def _create(token: Path) -> None:
    """Write a new token, which is whole before it has its name; one that another start has made is kept."""
    fresh = token.with_name(f"{token.name}.{secrets.token_hex(8)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
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
