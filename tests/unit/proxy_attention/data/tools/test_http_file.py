"""A download: over https or with a strong hash, from no other scheme, never more than was stated."""

import hashlib
import shutil
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from proxy_attention.data.tools.http_file import FetchError, download_file, has_hashes

CONTENT = b"a published file" * 1000
MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()
ENDLESS = 50_000_000


@contextmanager
def serving(certificate=None, **redirects):
    """Serve ``CONTENT`` as /file, without its length as /unsized, without an end as /endless, and redirections.

    Yields: the URL, and the number of bytes that were sent for /endless.
    """
    sent = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path[1:]
            target = redirects.get(name)
            self.send_response(302 if target else 200)
            if target:
                self.send_header("Location", target)
            if name in ("file", "lying") or target:
                self.send_header("Content-Length", str(len(CONTENT) if not target else 0))
            if name == "large":
                self.send_header("Content-Length", str(ENDLESS))
            self.end_headers()
            try:
                if name in ("file", "unsized"):
                    self.wfile.write(CONTENT)
                elif name == "lying":
                    self.wfile.write(CONTENT[:-1])
                elif not target:
                    while sum(sent) < ENDLESS:
                        sent.append(self.wfile.write(bytes(2**16)))
            except OSError:
                pass

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        http.socket = context.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{http.server_port}", sent
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", file, "-out", f"{file}.crt"),
        ],
        check=True,
        capture_output=True,
    )
    file.write_bytes(file.read_bytes() + file.with_name("both.pem.crt").read_bytes())
    return file


@pytest.fixture
def fetch(tmp_path):
    """Download a URL; returns the content. After an error nothing may lie there."""

    def run(url, *, md5=MD5, sha256=SHA256, most_bytes=16_000):
        target = tmp_path / "folder" / "file"
        try:
            download_file(url, target, md5=md5, sha256=sha256, most_bytes=most_bytes, timeout_seconds=5)
        except BaseException:
            assert not target.exists()
            raise
        return target.read_bytes()

    return run


# ---- hashes


@pytest.mark.parametrize("name", ["file", "unsized"])
def test_a_file_is_downloaded_with_and_without_its_length(fetch, name):
    with serving() as (url, _):
        assert fetch(f"{url}/{name}") == CONTENT


@pytest.mark.parametrize("hashes", [{"md5": "0" * 32}, {"sha256": "0" * 64}])
def test_a_file_of_another_hash_is_not_kept(fetch, hashes):
    with serving() as (url, _), pytest.raises(FetchError, match=r"^what came is not whole, or not what the publisher"):
        fetch(f"{url}/file", **hashes)


def test_a_file_is_told_by_both_hashes(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)

    assert has_hashes(tmp_path / "file", md5=MD5)
    assert has_hashes(tmp_path / "file", md5=MD5, sha256=SHA256)
    assert not has_hashes(tmp_path / "file", md5="0" * 32, sha256=SHA256)
    assert not has_hashes(tmp_path / "file", md5=MD5, sha256="0" * 64)


# ---- size


@pytest.mark.parametrize("name", ["endless", "large"])
def test_a_server_that_sends_more_than_was_stated_is_cut_off(fetch, name):
    law = r"^more came than the 16,000 bytes that it has at most$"
    with serving() as (url, sent), pytest.raises(FetchError, match=law):
        fetch(f"{url}/{name}")
    assert sum(sent) < ENDLESS


def test_a_server_that_sends_less_than_it_says_is_noticed(fetch):
    with serving() as (url, _), pytest.raises(FetchError, match="not whole"):
        fetch(f"{url}/lying")


# ---- schemes


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "x"])
def test_without_a_strong_hash_only_https_is_asked(fetch, url):
    with pytest.raises(FetchError, match=r"^a download must be of https, or of http with a known SHA-256; got '"):
        fetch(url, sha256="")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_a_redirection_to_another_scheme_is_refused(fetch, target):
    law = r"^a download must be of https, or of http|is not allowed$"
    with serving(away=target) as (url, _), pytest.raises(FetchError, match=law):
        fetch(f"{url}/away")


def test_a_redirection_is_followed(fetch):
    with serving(away="/file") as (url, _):
        assert fetch(f"{url}/away") == CONTENT


def test_a_redirection_that_never_ends_is_given_up(fetch):
    with serving(away="/away") as (url, _), pytest.raises(FetchError, match="redirect"):
        fetch(f"{url}/away")


def test_https_needs_no_strong_hash_and_may_not_lead_to_http(fetch, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving() as (plain, _), serving(certificate, away="/file", down=f"{plain}/file") as (secure, _):
        assert fetch(f"{secure}/away", sha256="") == CONTENT
        with pytest.raises(FetchError, match=r"^a download must be of https, or of http .*; got 'http:"):
            fetch(f"{secure}/down", sha256="")
        assert fetch(f"{secure}/down") == CONTENT


def test_https_of_an_unknown_certificate_is_refused_and_not_asked_over_http(fetch, certificate):
    with serving(certificate) as (secure, _), pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(f"{secure}/file", sha256="")


# ---- place


def test_what_lies_in_the_place_of_the_file_is_replaced_and_never_written_through(fetch, tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").symlink_to(tmp_path / "mine")

    with serving() as (url, _):
        assert fetch(f"{url}/file") == CONTENT

    assert (tmp_path / "mine").read_text() == "mine"
