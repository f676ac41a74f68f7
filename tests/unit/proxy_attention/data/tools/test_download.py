import pytest
from published_archives import archives_of, pack, publish, serve, tree

from proxy_attention.data.source import Archive
from proxy_attention.data.tools import download as module
from proxy_attention.data.tools.download import download, finish, unfinished
from proxy_attention.data.tools.http_file import FetchError
from proxy_attention.errors import ConfigError, DataError


@pytest.fixture
def server():
    with serve() as made:
        yield made


@pytest.fixture
def published(server):
    """Every file that a data root must hold after a download from the server."""
    return publish(server)


@pytest.fixture
def archives(published, server):
    return archives_of(server)


def fetch(archives, root):
    """Download into a data root; returns the lines that were told."""
    told = []
    download(archives, root, tell=told.append)
    return told


def test_archives_are_fetched_and_unpacked_also_those_inside_others(published, archives, server, tmp_path):
    told = fetch(archives, tmp_path)

    assert told == [
        f"fetching {server.url}/images.tgz",
        "unpacking images.tgz",
        f"fetching {server.url}/lists.zip",
        "unpacking lists.zip",
        "unpacking inner.tar.gz",
        f"fetching {server.url}/plain.mat",
    ]
    assert unfinished(tmp_path)
    finish(tmp_path)
    assert not unfinished(tmp_path)
    assert tree(tmp_path) == published


def test_a_download_that_was_not_finished_fetches_nothing_again(archives, server, tmp_path):
    fetch(archives, tmp_path)
    server.asked.clear()

    assert fetch(archives, tmp_path) == []
    assert server.asked == []


def test_a_download_that_was_interrupted_goes_on_where_it_stopped(published, archives, server, tmp_path, monkeypatch):
    def press(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "unpack", press)
        with pytest.raises(KeyboardInterrupt):
            fetch(archives, tmp_path)
    assert unfinished(tmp_path)
    server.asked.clear()

    fetch(archives, tmp_path)
    finish(tmp_path)

    assert "/images.tgz" not in server.asked
    assert tree(tmp_path) == published


def test_what_is_unpacked_replaces_files_and_joins_folders_that_lie_there(published, archives, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "test.txt").write_text("an older list")
    (tmp_path / "set" / "mine.txt").write_text("mine")

    fetch(archives, tmp_path)
    finish(tmp_path)

    assert tree(tmp_path) == published | {"set/mine.txt": b"mine"}


def test_an_archive_that_a_person_put_there_is_used_and_a_wrong_one_is_fetched_again(
    published, archives, server, tmp_path
):
    (tmp_path / "images.tgz").write_bytes(server.files["/images.tgz"])
    (tmp_path / "lists.zip").write_bytes(server.files["/lists.zip"][:-9])

    told = fetch(archives, tmp_path)

    assert told[0] == "images.tgz is there and whole"
    assert "lists.zip is there and is not what the publisher ships: it is fetched again" in told
    assert "/images.tgz" not in server.asked
    finish(tmp_path)
    assert tree(tmp_path) == published


def test_a_file_with_another_md5_than_the_publisher_states_is_not_kept(archives, server, tmp_path):
    server.files["/images.tgz"] = server.files["/images.tgz"][:-200]

    with pytest.raises(FetchError, match=r"/images.tgz cannot be fetched: what came is not whole, or not what "):
        fetch(archives, tmp_path)
    assert tree(tmp_path) == {}


def test_without_a_network_the_error_says_how_to_go_on_by_hand(archives, server, tmp_path):
    server.close()

    with pytest.raises(FetchError) as refused:
        fetch(archives, tmp_path)

    text = str(refused.value)
    assert "/images.tgz cannot be fetched: [Errno 111] Connection refused; try again, or put " in text
    assert f"put images.tgz, lists.zip, plain.mat into {str(tmp_path)!r} (from {server.url}/images.tgz, " in text
    assert not unfinished(tmp_path)


def test_by_hand_only_what_is_left_must_be_got(archives, server, tmp_path):
    del server.files["/lists.zip"]

    with pytest.raises(FetchError, match=r"HTTP Error 404: Not Found; try again, or put lists.zip, plain.mat into"):
        fetch(archives, tmp_path)
    assert unfinished(tmp_path)


def test_a_server_that_falls_silent_is_given_up(archives, server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    server.silent = 9

    with pytest.raises(FetchError, match=r"/images.tgz cannot be fetched: timed out; try again"):
        fetch(archives, tmp_path)


def test_a_file_without_a_known_md5_is_not_fetched(tmp_path):
    with pytest.raises(FetchError, match=r"a.zip must have a known md5 to be fetched; get it from http://here by hand"):
        download([Archive(url="http://here", md5="", filename="a.zip", most_mb=1)], tmp_path, tell=print)


def test_a_hostile_archive_leaves_nothing_where_images_are_looked_for(server, tmp_path):
    server.files = {"/bad.zip": pack({"set/a.txt": b"x", "../../evil.txt": b"y"}, "zip")}

    root = tmp_path / "one" / "two" / "three"
    with pytest.raises(DataError, match=r"bad.zip must stay in its folder; '../../evil.txt' leads to"):
        fetch(archives_of(server), root)
    assert list(tmp_path.rglob("evil.txt")) == []
    assert {path.name for path in root.iterdir()} == {"bad.zip", module.WORK}


def test_an_archive_that_holds_the_folder_of_unfinished_files_is_refused(server, tmp_path):
    server.files = {"/bad.zip": pack({f"{module.WORK}/images.tgz.done": b""}, "zip")}

    with pytest.raises(DataError, match=r"an archive must not hold '.preparing', where preparing keeps its own files"):
        fetch(archives_of(server), tmp_path)


@pytest.mark.parametrize("place", ["", "lock", "download", "images.tgz.unpacked", "images.tgz.done"])
def test_a_link_where_preparing_keeps_its_files_is_refused(place, archives, server, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    link = tmp_path / "root" / module.WORK / place
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "mine" / ("file" if place == "lock" else ""))

    with pytest.raises(ConfigError, match=r"^data root must hold no link where preparing keeps its files; '.*' is one"):
        fetch(archives, tmp_path / "root")

    assert server.asked == []
    assert tree(tmp_path / "mine") == {"file": b"mine"}


def test_more_than_an_archive_has_at_most_is_not_downloaded(server, tmp_path):
    server.files = {"/large.zip": bytes(1_000_001)}

    with pytest.raises(FetchError, match=r"large.zip cannot be fetched: more came than the 1,000,000 bytes"):
        fetch(archives_of(server), tmp_path)
    assert tree(tmp_path) == {}


def test_a_second_process_does_not_download_into_the_same_data_root(archives, tmp_path):
    with (
        module._sole_process(tmp_path),
        pytest.raises(ConfigError, match="data root must be prepared by one process at a time; another is at work"),
    ):
        fetch(archives, tmp_path)
