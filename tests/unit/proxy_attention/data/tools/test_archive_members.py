import io
import tarfile
import zipfile

import pytest

from proxy_attention.data.tools.archive_members import check_size, is_archive, members_of
from proxy_attention.errors import DataError


def write_tar(path, *entries):
    with tarfile.open(path, "w") as tar:
        for name, content, fields in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for field, value in fields.items():
                setattr(entry, field, value)
            tar.addfile(entry, io.BytesIO(content))
    return path


def test_an_archive_is_told_by_its_name():
    archives = ("set.zip", "set.tar", "set.tar.gz", "set.tgz", "a.TAR.GZ")

    assert [name for name in (*archives, "setid.mat", "fer2013.csv", "tar") if is_archive(name)] == [*archives]


def test_the_members_of_a_tar_archive_tell_what_they_are(tmp_path):
    archive = write_tar(
        tmp_path / "set.tar",
        ("a", b"", {"type": tarfile.DIRTYPE}),
        ("a/b.txt", b"two", {}),
        ("a/soft", b"", {"type": tarfile.SYMTYPE, "linkname": "b.txt"}),
        ("hard", b"", {"type": tarfile.LNKTYPE, "linkname": "a/b.txt"}),
    )

    found = [(member.name, member.kind, member.size, member.target) for member in members_of(archive, tmp_path)]

    assert found == [
        ("a", "folder", 0, ""),
        ("a/b.txt", "file", 3, ""),
        ("a/soft", "link", 0, "a/b.txt"),
        ("hard", "link", 0, "a/b.txt"),
    ]


def test_the_content_of_a_member_can_be_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a/b.txt", "two")

    member = next(members := members_of(tmp_path / "set.zip", tmp_path))

    assert (member.name, member.kind, member.size) == ("a/b.txt", "file", 3)
    with member.content() as file:
        assert file.read() == b"two"
    assert not list(members)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_the_data_filter_of_tarfile_refuses_a_link_out_of_the_folder(kind, tmp_path):
    archive = write_tar(tmp_path / "set.tar", ("a/link", b"", {"type": kind, "linkname": "../../up"}))

    with pytest.raises(DataError, match=r"set.tar must stay in its folder; 'a/link' leads to '\.\./\.\./up'"):
        list(members_of(archive, tmp_path))


def test_a_small_archive_may_be_one_long_list(tmp_path):
    (tmp_path / "set.zip").write_bytes(bytes(100))

    check_size(tmp_path / "set.zip", 16 * 2**20, free=2**30)
    with pytest.raises(DataError, match="must unpack to at most 100 times its size"):
        check_size(tmp_path / "set.zip", 16 * 2**20 + 1, free=2**30)
    with pytest.raises(DataError, match="must fit on the disk"):
        check_size(tmp_path / "set.zip", 101, free=100)
