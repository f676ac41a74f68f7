"""A web server on this machine that publishes a small data set in archives, and the row of the table that names it."""

import contextlib
import hashlib
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from proxy_attention.data.folder import list_folder
from proxy_attention.data.source import Archive, Source

IMAGES = {
    f"{split}/{cls}/{i}.png": f"{split} {cls} {i}".encode()
    for split, count in (("train", 3), ("test", 2))
    for cls in ("cat", "dog")
    for i in range(count)
}
"""The contents of image files, by path; no test decodes them."""


class Server:
    """A web server on this machine.

    Attributes:
        files: the contents that it serves, by path.
        asked: the paths that it was asked for, in order.
        silent: the number of first requests of which it sends only half of the content and then nothing more.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.silent = 0
        self.go_on = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = server.files.get(self.path)
                server.asked.append(self.path)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    if content and len(server.asked) <= server.silent:
                        self.wfile.write(content[: len(content) // 2])
                        self.wfile.flush()
                        server.go_on.wait(20)
                    else:
                        self.wfile.write(content or b"")

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        """Stop answering."""
        self.go_on.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@contextmanager
def serve() -> Iterator[Server]:
    """Run a server until the block ends."""
    server = Server()
    yield server
    server.close()


def pack(files: Mapping[str, bytes], form: str) -> bytes:
    """Pack the files in a ``zip`` or ``tgz`` archive."""
    content = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(content, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def publish(server: Server, images: Mapping[str, bytes] = IMAGES) -> dict[str, bytes]:
    """Serve images and a large file in one archive, a list and an archive in another, and a plain file.

    Returns: every file that must lie in the data root afterwards, by its path.
    """
    files = {**images, "readme.bin": os.urandom(200_000)}  # torchvision reads 32 kB at a time
    inner = pack({"lists/more.txt": b"an archive in an archive"}, "tgz")
    server.files = {
        "/images.tgz": pack({f"set/{name}": content for name, content in files.items()}, "tgz"),
        "/lists.zip": pack({"set/test.txt": b"a list", "inner.tar.gz": inner}, "zip"),
        "/plain.mat": b"a table",
    }
    whole = {f"set/{name}": content for name, content in files.items()}
    whole |= {"set/test.txt": b"a list", "lists/more.txt": b"an archive in an archive"}
    return whole | {name[1:]: content for name, content in server.files.items()}


def archives_of(server: Server) -> tuple[Archive, ...]:
    """List the archives that a server publishes now, each with its hashes: this server has no https."""
    return tuple(
        Archive(
            url=server.url + path,
            md5=hashlib.md5(content).hexdigest(),
            filename=path[1:],
            most_mb=1,
            sha256=hashlib.sha256(content).hexdigest(),
        )
        for path, content in server.files.items()
    )


def row(archives: tuple[Archive, ...], by_hand: str = "") -> Source:
    """Make the table's row for a data set that lies in the folder ``set`` of these archives."""
    return Source(
        open=lambda root, label: list_folder(root / "set"),
        needs_root=True,
        licence="free",
        home="here",
        classes=2,
        split="its own",
        layout="set/{train,test}/<class>/*",
        label="the folder",
        archives=archives,
        by_hand=by_hand,
    )


def tree(root: Path) -> dict[str, bytes]:
    """Read every file below a root; return the contents by path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
