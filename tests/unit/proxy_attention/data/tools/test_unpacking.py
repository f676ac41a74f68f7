import io
import os
import shutil
import stat
import tarfile
import zipfile
from collections import namedtuple
from contextlib import nullcontext

import pytest

from proxy_attention.data.tools import unpacking
from proxy_attention.data.tools.unpacking import unpack
from proxy_attention.errors import DataError

FORMS = ("set.zip", "set.tar", "set.tar.gz", "set.tgz")
FILES = {"set/a.txt": b"one", "set/deep/er/b.txt": b"two" * 999, "set/empty.txt": b""}


def tar_entry(name, **fields):
    entry = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


def make_tar(path, entries):
    """A tar archive of (entry, content) pairs; entries are names or TarInfo."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for entry, content in entries:
            made = tar_entry(entry) if isinstance(entry, str) else entry
            made.size = len(content)
            tar.addfile(made, io.BytesIO(content))
    return path


def make_zip(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return path


def make(path, files=FILES):
    return (make_zip if path.suffix == ".zip" else make_tar)(path, list(files.items()))


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def out(tmp_path):
    """A folder to unpack into, beside which something lies that must stay as it is."""
    (tmp_path / "beside.txt").write_text("mine")
    yield tmp_path / "out"
    assert (tmp_path / "beside.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} <= {"beside.txt", "out", *FORMS}


@pytest.mark.parametrize("form", FORMS)
def test_files_and_folders_come_out_as_they_went_in(form, tmp_path, out):
    assert unpack(make(tmp_path / form), out) == 3
    assert files_of(out) == FILES


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["../beside.txt", "/etc/beside.txt", "a/../../beside.txt", "..\\beside.txt", "C:\\b"])
def test_a_name_that_leads_outside_is_refused(form, name, tmp_path, out):
    with pytest.raises(DataError, match=rf"^{form} must stay in its folder; .* leads to ") as refused:
        unpack(make(tmp_path / form, {"a.txt": b"x", name: b"y"}), out)

    assert "\n" not in str(refused.value)
    assert files_of(out) in ({}, {"a.txt": b"x"})


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["../beside.txt", "/etc/passwd", "a/../../beside.txt", ".."])
def test_a_link_that_leads_outside_is_refused(kind, target, tmp_path, out):
    archive = make_tar(tmp_path / "set.tar", [(tar_entry("link", type=kind, linkname=target), b"")])

    with pytest.raises(DataError, match="must stay in its folder; 'link' leads to "):
        unpack(archive, out)
    assert not list(out.iterdir())


def test_a_link_of_a_zip_archive_that_leads_outside_is_refused(tmp_path, out):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16

    with pytest.raises(DataError, match=r"must stay in its folder; 'link' leads to '\.\./beside\.txt'"):
        unpack(make_zip(tmp_path / "set.zip", [(link, "../beside.txt")]), out)


def test_nothing_is_written_through_a_link_of_the_archive(tmp_path, out):
    """The classic: a link to a folder, then a file below it; and one link that leads out over another."""
    through = [(tar_entry("d", type=tarfile.SYMTYPE, linkname="."), b""), ("d/x.txt", b"x")]
    chained = [
        (tar_entry("a/b", type=tarfile.DIRTYPE), b""),
        (tar_entry("a/b/up", type=tarfile.SYMTYPE, linkname="../.."), b""),
        (tar_entry("over", type=tarfile.SYMTYPE, linkname="a/b/up/../beside.txt"), b""),
    ]

    for entries in (through, chained):
        with pytest.raises(DataError, match=r"must (hold the file that a link leads to|not put a file in the place)"):
            unpack(make_tar(tmp_path / "set.tar", entries), out)
        assert not [path for path in out.rglob("*") if path.is_symlink()]


def test_nothing_is_written_through_a_link_that_lay_there_before(tmp_path, out):
    out.mkdir()
    (out / "a").symlink_to(tmp_path)
    (out / "b.txt").symlink_to(tmp_path / "beside.txt")

    with pytest.raises(DataError, match="must hold folders where it puts files; 'a' is none"):
        unpack(make(tmp_path / "set.zip", {"a/beside.txt": b"theirs"}), out)
    with pytest.raises(DataError, match=r"set.tar must stay in its folder; 'b.txt' leads to "):
        unpack(make(tmp_path / "set.tar", {"b.txt": b"theirs"}), out)
    unpack(make(tmp_path / "set.zip", {"b.txt": b"theirs"}), out)

    assert files_of(out)["b.txt"] == b"theirs"
    assert not (out / "b.txt").is_symlink()


@pytest.mark.parametrize(("kind", "target"), [(tarfile.SYMTYPE, "../a/one.txt"), (tarfile.LNKTYPE, "a/one.txt")])
def test_a_link_to_a_file_of_the_archive_becomes_that_file(kind, target, tmp_path, out):
    entries = [(tar_entry("b/two.txt", type=kind, linkname=target), b""), ("a/one.txt", b"one")]

    assert unpack(make_tar(tmp_path / "set.tar", entries), out) == 2
    assert files_of(out) == {"a/one.txt": b"one", "b/two.txt": b"one"}
    assert not (out / "b" / "two.txt").is_symlink()


@pytest.mark.parametrize("target", ["nothing.txt", "a", "link"])
def test_a_link_to_no_file_is_refused(target, tmp_path, out):
    entries = [("a/one.txt", b"one"), (tar_entry("link", type=tarfile.SYMTYPE, linkname=target), b"")]

    with pytest.raises(DataError, match="must hold the file that a link leads to; 'link' leads to none"):
        unpack(make_tar(tmp_path / "set.tar", entries), out)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_is_refused(kind, tmp_path, out):
    with pytest.raises(DataError, match=r"set.tar must hold files and folders only; 'dev' is a device"):
        unpack(make_tar(tmp_path / "set.tar", [(tar_entry("dev", type=kind), b"")]), out)
    assert not list(out.iterdir())


def test_permissions_are_not_taken_from_the_archive(tmp_path, out):
    entries = [(tar_entry("d", type=tarfile.DIRTYPE, mode=0o000), b""), (tar_entry("d/run", mode=0o6777), b"x")]
    before = os.umask(0o022)
    try:
        unpack(make_tar(tmp_path / "set.tar", entries), out)
    finally:
        os.umask(before)

    assert stat.S_IMODE((out / "d" / "run").stat().st_mode) == 0o644
    assert stat.S_IMODE((out / "d").stat().st_mode) == 0o755


@pytest.mark.parametrize("form", FORMS)
def test_of_two_files_with_one_name_the_last_counts(form, tmp_path, out):
    entries = [("a.txt", b"first"), ("a.txt", b"last")]
    with pytest.warns(UserWarning, match="Duplicate") if form == "set.zip" else nullcontext():
        archive = (make_zip if form == "set.zip" else make_tar)(tmp_path / form, entries)

    unpack(archive, out)

    assert files_of(out) == {"a.txt": b"last"}


def test_a_file_in_the_place_of_a_folder_is_refused_and_the_reverse(tmp_path, out):
    with pytest.raises(DataError, match="must not put a file in the place of a folder; got 'a'"):
        unpack(make(tmp_path / "set.tar", {"a/b.txt": b"x", "a": b"y"}), out)
    shutil.rmtree(out)
    with pytest.raises(DataError, match="must hold folders where it puts files; 'a' is none"):
        unpack(make(tmp_path / "set.tar", {"a": b"y", "a/b.txt": b"x"}), out)


@pytest.mark.parametrize("form", ["set.zip", "set.tgz"])
def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(form, tmp_path, out):
    bomb = {f"{i}.bin": bytes(4 * 2**20) for i in range(5)}

    with pytest.raises(DataError, match=r"must unpack to at most 100 times its size; 0.0 MB would become 20"):
        unpack(make(tmp_path / form, bomb), out)
    assert len(files_of(out)) <= 4


def test_an_archive_that_does_not_fit_on_the_disk_is_refused(tmp_path, out, monkeypatch):
    usage = namedtuple("usage", "free")(2000)
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda path: usage)

    for form in ("set.zip", "set.tar"):
        with pytest.raises(DataError, match="must fit on the disk; it unpacks to 0 MB or more, 0 MB are free"):
            unpack(make(tmp_path / form), out)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("part", [0.0, 0.1, 0.4, 0.8])
def test_an_archive_of_which_a_part_is_missing_is_refused(form, part, tmp_path, out):
    """tarfile itself takes a cut between two members for the end."""
    content = {f"{i}.bin": os.urandom(512 * (i + 1)) for i in range(9)}
    whole = make(tmp_path / form, content).read_bytes()
    cut = int(len(whole) * part) // 512 * 512
    (tmp_path / form).write_bytes(whole[:cut])

    with pytest.raises(DataError, match=f"^{form} must be a whole zip or tar archive; "):
        unpack(tmp_path / form, out)


@pytest.mark.parametrize("form", ["set.zip", "set.tgz"])
def test_a_changed_byte_is_noticed(form, tmp_path, out):
    content = bytearray(make(tmp_path / form, {"a.bin": os.urandom(9000)}).read_bytes())
    content[4000] ^= 1
    (tmp_path / form).write_bytes(content)

    with pytest.raises(DataError, match=f"^{form} must be a whole zip or tar archive; "):
        unpack(tmp_path / form, out)


def test_a_changed_header_is_noticed(tmp_path, out):
    archive = make(tmp_path / "set.tar", {"a.bin": b"a" * 512, "b.bin": b"b" * 512, "c.bin": b"c"})
    content = bytearray(archive.read_bytes())
    content[1024] ^= 1  # the name of the second; tarfile itself would stop here in silence
    archive.write_bytes(content)

    with pytest.raises(DataError, match=r"set.tar must be a whole zip or tar archive; bad checksum"):
        unpack(archive, out)


@pytest.mark.parametrize("where", ["header", "further header"])
def test_a_negative_size_is_refused_and_not_followed_back_for_ever(where, tmp_path, out):
    entry = tarfile.TarInfo("a.bin")
    if where == "header":
        entry.size = -1024
        content = entry.tobuf(tarfile.GNU_FORMAT)
    else:
        entry.pax_headers = {"size": "-2048"}
        content = entry.tobuf(tarfile.PAX_FORMAT)
    (tmp_path / "set.tar").write_bytes(make(tmp_path / "set.tar").read_bytes()[:1024] + content + bytes(10240))

    with pytest.raises(DataError, match=r"set.tar must be a whole zip or tar archive; bad size -"):
        unpack(tmp_path / "set.tar", out)


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path, out):
    archive = make_tar(tmp_path / "set.tgz", [(tar_entry("a", pax_headers={"comment": "x" * 2**20}), b"x")])

    with pytest.raises(DataError, match=r"set.tgz must be a whole zip or tar archive; .*bad size 1048"):
        unpack(archive, out)


def test_an_encrypted_archive_is_refused(tmp_path, out):
    archive = make(tmp_path / "set.zip", {"a.txt": b"x"})
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        content[content.index(signature) + offset] |= 1
    archive.write_bytes(content)

    with pytest.raises(DataError, match=r"set.zip must not be encrypted; 'a.txt' is"):
        unpack(archive, out)


def test_a_disk_that_cannot_be_written_to_is_no_fault_of_the_archive(tmp_path, out):
    archive = make(tmp_path / "set.tar")
    out.write_text("a file")

    with pytest.raises(FileExistsError):
        unpack(archive, out)


def test_progress_ends_at_most_at_the_size_of_the_archive(tmp_path, out):
    seen = []
    archive = make(tmp_path / "set.tar", {f"{i}.bin": bytes(2000) for i in range(500)})

    unpack(archive, out, progress=lambda done, total: seen.append((done, total)))

    assert 50 <= len(seen) <= 101
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {archive.stat().st_size}
    assert seen[-1][0] <= archive.stat().st_size
