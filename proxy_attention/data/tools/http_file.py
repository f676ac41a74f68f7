"""Download one file over HTTP, up to a size and against its hashes; knows no archive and no data set."""

import hashlib
import os
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from proxy_attention.errors import ProxyAttentionError

BLOCK = 2**15
"""Bytes that are read and written at a time: a read waits until it has them all."""
USER_AGENT = "proxy-attention"


class FetchError(ProxyAttentionError):
    """A file cannot be downloaded, or is not what the publisher ships; a later attempt may succeed."""


def download_file(
    url: str, target: Path, *, md5: str, sha256: str = "", most_bytes: int, timeout_seconds: float
) -> None:
    """Download a file to a new path; after an error nothing lies there.

    What comes over plain HTTP may be anyone's, and MD5 can be forged: it needs a SHA-256.

    Args:
        md5, sha256: what the content must hash to; the latter may be empty.
        most_bytes: the most bytes that are read, whatever the server says.
        timeout_seconds: the longest time that the server may be silent.
    Raises: FetchError; OSError where the target cannot be written.
    """
    _check_scheme(url, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            _copy(url, file, md5=md5, sha256=sha256, most_bytes=most_bytes, timeout_seconds=timeout_seconds)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def has_hashes(path: Path, *, md5: str, sha256: str = "") -> bool:
    """Whether the content of a file has these hashes.

    Raises: OSError if it cannot be read.
    """
    hashes = _Hashes(md5, sha256)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            hashes.update(block)
    return hashes.match


class _Hashes:
    """The hashes of a content that is read block by block, and what they must be."""

    def __init__(self, md5: str, sha256: str) -> None:
        self._pairs = [(hashlib.md5(usedforsecurity=False), md5)]
        if sha256:
            self._pairs.append((hashlib.sha256(), sha256))

    def update(self, block: bytes) -> None:
        for hashed, _ in self._pairs:
            hashed.update(block)

    @property
    def match(self) -> bool:
        return all(hashed.hexdigest() == expected for hashed, expected in self._pairs)


class _CheckedRedirects(HTTPRedirectHandler):
    """Follow a redirection only to where the file could have been asked for at once."""

    def __init__(self, sha256: str) -> None:
        self._sha256 = sha256

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        _check_scheme(newurl, self._sha256)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _check_scheme(url: str, sha256: str) -> None:
    """Raises: FetchError for anything but HTTPS, or HTTP to a file whose SHA-256 is known."""
    scheme = url.partition(":")[0].lower()
    if scheme != "https" and not (scheme == "http" and sha256):
        law = "be of https, or of http with a known SHA-256"
        raise FetchError(f"a download must {law}; got {url[:200]!r}")


def _copy(url: str, file: IO[bytes], *, md5: str, sha256: str, most_bytes: int, timeout_seconds: float) -> None:
    """Copy what a server sends into a file.

    Raises: FetchError if it cannot be had, is larger, or has other hashes; OSError where it cannot be written.
    """
    opener = OpenerDirector()  # without the usual handlers of ftp:, file: and data:
    for handler in (ProxyHandler(), UnknownHandler(), HTTPHandler(), HTTPSHandler(), HTTPDefaultErrorHandler()):
        opener.add_handler(handler)
    opener.add_handler(_CheckedRedirects(sha256))
    opener.add_handler(HTTPErrorProcessor())
    hashes, count = _Hashes(md5, sha256), 0
    too_large = FetchError(f"more came than the {most_bytes:,} bytes that it has at most")
    try:
        with opener.open(Request(url, headers={"User-Agent": USER_AGENT}), timeout=timeout_seconds) as response:  # noqa: S310
            if (response.length or 0) > most_bytes:
                raise too_large
            while block := response.read(BLOCK):
                count += len(block)
                if count > most_bytes:
                    raise too_large
                hashes.update(block)
                _write(file, block)
    except _WriteError as error:
        raise error.reason from error
    except (URLError, HTTPException, OSError, ValueError) as error:
        raise FetchError(_reason(error)) from error
    if not hashes.match:
        raise FetchError("what came is not whole, or not what the publisher ships")


class _WriteError(Exception):
    """Tells an error of the disk from one of the network: both are OSError."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _write(file: IO[bytes], block: bytes) -> None:
    try:
        file.write(block)
    except OSError as error:
        raise _WriteError(error) from error


def _reason(error: Exception) -> str:
    """Say in a few words and one line why a file cannot be downloaded."""
    if isinstance(error, HTTPError):
        error.close()
    said = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    return " ".join(str(said).split())[:200] or type(error).__name__
