"""Archives that are made to take long, to fill the disk or to have odd names end soon, in files or in one line."""

import io
import random
import stat
import tarfile
import zipfile

import pytest

from proxy_attention.data.tools import archive_members
from proxy_attention.data.tools.unpacking import MAX_LINKS, unpack
from proxy_attention.errors import DataError

DAMAGED = 400
"""How many damaged archives are tried."""


def entry(name, kind=tarfile.REGTYPE, target="", mode=0o644):
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, target, mode
    return made


def make_tar(path, entries):
    """A tar archive of (entry, content) pairs."""
    with tarfile.open(path, "w:gz") as archive:
        for made, content in entries:
            made.size = len(content)
            archive.addfile(made, io.BytesIO(content))
    return path


def make_zip(path, entries):
    """A zip archive of (name, content, mode) triples."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in entries:
            info = zipfile.ZipInfo("x")
            info.filename, info.external_attr = name, mode << 16
            archive.writestr(info, content)
    return path


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(tmp_path):
    """Unpack an archive that must be refused; returns the one line that says why."""

    def run(archive):
        with pytest.raises(DataError) as error:
            unpack(archive, tmp_path / "out")
        line = str(error.value)
        assert line.startswith(f"{archive.name} must ")
        assert len(line.splitlines()) == 1
        assert len(line) < 500
        return line

    return run


# ---- links


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_long_chain_of_links_is_followed_once(kind, tmp_path):
    """Every link leads to the next; each round of looking for the ready ones made one of them."""
    count = 5000
    links = [(entry(f"{i}", kind, f"{i + 1}"), b"") for i in range(count)]
    archive = make_tar(tmp_path / "set.tgz", [*links, (entry(f"{count}"), b"x")])

    assert unpack(archive, tmp_path / "out") == count + 1
    assert set(tree(tmp_path / "out").values()) == {b"x"}


def test_a_long_ring_of_links_is_refused(refused, tmp_path):
    ring = [(entry(f"{i}", tarfile.SYMTYPE, f"{(i + 1) % 5000}"), b"") for i in range(5000)]

    assert "must hold the file that a link leads to; " in refused(make_tar(tmp_path / "set.tgz", ring))


def test_more_links_than_a_file_may_have_names_are_refused(refused, tmp_path):
    links = [(entry(f"{i}", tarfile.LNKTYPE, "file"), b"") for i in range(MAX_LINKS + 1)]

    line = refused(make_tar(tmp_path / "set.tgz", [(entry("file"), b"x"), *links]))

    assert line == "set.tgz must hold at most 10,000 links; it holds more"


# ---- names

NAMELESS = ("", ".", "./.", "..", "...", "a/...", "/", "//", "./", "\\")


@pytest.mark.parametrize("name", [name for name in NAMELESS if not name.endswith("/")])
def test_a_file_without_a_name_is_refused(refused, name, tmp_path):
    packed = refused(make_tar(tmp_path / "set.tgz", [(entry(name), b"x")]))
    zipped = refused(make_zip(tmp_path / "set.zip", [(name, b"x", 0)]))

    assert {"give every file", "stay in its folder", "not put a file"} >= {
        next(law for law in ("give every file", "stay in its folder", "not put a file") if law in line)
        for line in (packed, zipped)
    }
    assert not list((tmp_path / "out").rglob("*/x"))


@pytest.mark.parametrize("name", NAMELESS)
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_without_a_name_is_refused(refused, kind, name, tmp_path):
    refused(make_tar(tmp_path / "set.tgz", [(entry("file"), b"x"), (entry(name, kind, "file"), b"")]))


@pytest.mark.parametrize("name", [".", "./", "./.", "a/./b", "a//b"])
def test_a_folder_may_be_the_top_one(name, tmp_path):
    """As ``tar -c .`` writes it."""
    archive = make_tar(tmp_path / "set.tgz", [(entry(name, tarfile.DIRTYPE), b""), (entry("./file"), b"x")])

    unpack(archive, tmp_path / "out")

    assert tree(tmp_path / "out") == {"file": b"x"}


def test_a_name_longer_than_any_path_is_refused(refused, tmp_path):
    line = refused(make_zip(tmp_path / "set.zip", [("a/" * 30_000 + "b", b"x", 0)]))

    assert "must have names of at most 4096 characters; got 'a/a/" in line


def test_a_name_of_many_folders_is_refused(refused, tmp_path):
    """``shutil.rmtree`` fails for a tree of a thousand, so that nobody could delete it."""
    line = refused(make_tar(tmp_path / "set.tgz", [(entry("a/" * 101, tarfile.DIRTYPE), b"")]))

    assert "must have at most 100 folders in a name; got 'a/a/" in line


def test_control_characters_of_a_name_are_spelled_out(refused, tmp_path):
    line = refused(make_tar(tmp_path / "set.tgz", [(entry("../\x1b[31m\nred"), b"x")]))

    assert r"'../\x1b[31m\nred'" in line


# ---- sizes


def test_a_file_that_is_written_again_and_again_counts_each_time(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_members, "ALWAYS_MB", 1)
    again = [(entry("file"), b"") for _ in range(5000)]

    assert "must unpack to at most 100 times its size" in refused(make_tar(tmp_path / "set.tgz", again))


def test_folders_count_as_files_do(refused, tmp_path, monkeypatch):
    """A name of many folders is short, compressed."""
    monkeypatch.setattr(archive_members, "ALWAYS_MB", 1)
    deep = [(entry(f"{i}/" + "a/" * 90, tarfile.DIRTYPE), b"") for i in range(60)]

    assert "must unpack to at most 100 times its size" in refused(make_tar(tmp_path / "set.tgz", deep))


def test_a_sparse_file_counts_by_what_it_says_it_is(refused, tmp_path):
    made = entry("sparse", tarfile.GNUTYPE_SPARSE)
    header = bytearray(made.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"77777777777\0"  # the size that it is to have, 8 GiB
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "set.tar").write_bytes(bytes(header) + bytes(1024))

    assert "must " in refused(tmp_path / "set.tar")


# ---- kinds


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_device_of_a_zip_archive_is_refused(refused, kind, tmp_path):
    line = refused(make_zip(tmp_path / "set.zip", [("dev", b"", kind | 0o644)]))

    assert line == "set.zip must hold files and folders only; 'dev' is a device"


def test_rights_of_a_zip_archive_are_not_taken(tmp_path):
    archive = make_zip(tmp_path / "set.zip", [("run", b"x", stat.S_IFREG | 0o6777)])

    unpack(archive, tmp_path / "out")

    assert (tmp_path / "out" / "run").stat().st_mode & 0o7111 == 0


# ---- whatever else


def with_checksum(content, header):
    """A tar archive with the right checksum for the header at this place."""
    content[header + 148 : header + 156] = b" " * 8
    content[header + 148 : header + 156] = b"%06o\0 " % sum(content[header : header + 512])


def whole_archive(path):
    """A small archive of every kind of entry; returns its content and where its headers are."""
    if path.suffix == ".zip":
        return make_zip(path, [(f"d/{i}", b"xy" * i, 0o100644) for i in range(5)]).read_bytes(), []
    with tarfile.open(path, "w") as opened:
        for name, kind, target in (
            *(("d/file", tarfile.REGTYPE, ""), ("d/link", tarfile.SYMTYPE, "file")),
            *(("d/name", tarfile.LNKTYPE, "d/link"), ("d/e", tarfile.DIRTYPE, ""), ("d" * 120, tarfile.REGTYPE, "")),
        ):
            opened.addfile(entry(name, kind, target), io.BytesIO())
        headers = [made.offset for made in opened.getmembers()]
    return path.read_bytes(), headers


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_a_damaged_archive_ends_in_files_or_in_one_line(form, tmp_path):
    rng, lines = random.Random(form), []
    whole, headers = whole_archive(tmp_path / f"whole.{form}")
    for number in range(DAMAGED):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            content[rng.randrange(len(content))] = rng.choice((0, 0x2F, 0x2E, 0x37, 0xFF, rng.randrange(256)))
        for header in headers:
            with_checksum(content, header)
        (tmp_path / f"set.{form}").write_bytes(content[: rng.choice((None, None, rng.randrange(len(content))))])
        try:
            unpack(tmp_path / f"set.{form}", tmp_path / "out" / str(number))
        except DataError as error:
            lines.append(str(error))

    assert 0 < len(lines) < DAMAGED
    assert {len(line.splitlines()) for line in lines} == {1}
    assert {path.name for path in tmp_path.iterdir()} == {f"whole.{form}", f"set.{form}", "out"}
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()]
