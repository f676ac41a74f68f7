import os
import resource
import threading

import numpy as np
import pytest
import torch

from proxy_attention.data.cache import CacheEntry

SIZE = 8
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, SIZE, SIZE), dtype=np.uint8)
LARGE = 700_000
"""Bytes of an array of which one fits into a MiB, and two do not."""


@pytest.fixture
def entry(tmp_path):
    return CacheEntry(tmp_path / "images" / "one", limit_mb=1)


def write(entry, images=IMAGES, *, at_most=None):
    """Write the images in two parts, as a builder does."""
    with entry.locked():
        size = images.shape[-1]
        entry.write_array([images[:2], images[2:]], at_most=at_most or len(images), size=size)


def large(fill):
    """An array of ``LARGE`` bytes or a little less: one image."""
    side = int((LARGE / 3) ** 0.5)
    return np.full((1, 3, side, side), fill, dtype=np.uint8)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_entry_knows_nothing(entry):
    assert entry.unreadable() is None
    assert entry.array(5, SIZE) is None


def test_an_array_is_mapped_as_it_was_written(entry):
    write(entry)

    assert entry.array(5, SIZE).numpy().tolist() == IMAGES.tolist()


def test_fewer_images_may_come_than_there_was_room_for(entry):
    write(entry, at_most=9)

    assert (entry.folder / "8px.u8").stat().st_size == IMAGES.size
    assert entry.array(5, SIZE).numpy().tolist() == IMAGES.tolist()


def test_an_array_of_another_count_or_size_is_not_there(entry):
    write(entry)

    assert entry.array(4, SIZE) is None
    assert entry.array(5, SIZE + 1) is None


def test_the_unreadable_images_are_those_that_were_noted(entry):
    with entry.locked():
        entry.write_checked([4, 1])

    assert entry.unreadable() == {1, 4}


@pytest.mark.parametrize("left", [0, 100])
def test_a_truncated_array_is_not_there(entry, left):
    write(entry)
    os.truncate(entry.folder / "8px.u8", left)

    assert entry.array(5, SIZE) is None


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"other": 1}', '{"unreadable": 3, "sha256_of_array": []}', '{"unreadable": [{}]}', ""]
)
def test_a_broken_note_says_nothing(entry, content):
    write(entry)
    for name in ("checked.json", "8px.json"):
        (entry.folder / name).write_text(content)

    assert entry.unreadable() is None
    assert entry.array(5, SIZE) is None


def test_a_bit_that_flipped_is_seen(entry, caplog):
    write(entry)
    path = entry.folder / "8px.u8"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)

    assert entry.array(5, SIZE) is None
    assert "is not what was written: it is made again" in caplog.text


def test_every_process_maps_the_same_file_and_none_writes_to_it(entry):
    write(entry)
    mapped = entry.array(5, SIZE)
    path = entry.folder / "8px.u8"

    mapped.fill_(7)

    with open("/proc/self/maps") as maps:  # noqa: PTH123
        assert str(path) in maps.read()
    assert path.read_bytes() == IMAGES.tobytes()


def test_an_entry_is_read_without_its_lock(entry):
    write(entry)
    (entry.folder / "lock").unlink()
    (entry.folder / "lock").mkdir()

    assert entry.array(5, SIZE) is not None


def test_one_builder_is_let_in_at_a_time(entry):
    order = []

    def build():
        with entry.locked():
            order.append("second")

    with entry.locked():
        thread = threading.Thread(target=build)
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join()

    assert order == ["first", "second"]


def test_a_builder_sweeps_up_what_a_killed_one_left_of_its_entry(entry):
    entry.folder.mkdir(parents=True)
    (entry.folder / "8px.u8abc.part").write_bytes(b"half")
    (entry.folder / ".checked.json.xyz").write_bytes(b"half")

    with entry.locked():
        assert names(entry.folder) == ["lock"]


def test_what_a_killed_builder_left_of_another_entry_is_swept_up(entry):
    other = entry.folder.parent / "other"
    other.mkdir(parents=True)
    (other / "8px.u8abc.part").write_bytes(b"half")

    write(entry)

    assert names(other) == ["lock"]


def test_what_a_living_builder_of_another_entry_has_begun_stays(entry):
    other = CacheEntry(entry.folder.parent / "other", limit_mb=1)
    with other.locked():
        (other.folder / "8px.u8abc.part").write_bytes(b"half")

        write(entry)

        assert names(other.folder) == ["8px.u8abc.part", "lock"]


def test_an_array_that_cannot_be_finished_leaves_nothing(entry):
    def parts():
        yield IMAGES[:2]
        raise RuntimeError("an image has changed")

    with pytest.raises(RuntimeError, match="an image has changed"), entry.locked():
        entry.write_array(parts(), at_most=5, size=SIZE)

    assert names(entry.folder) == ["lock"]


def test_a_full_disk_is_an_error_and_leaves_nothing(entry):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))  # a longer file is refused, as by a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            write(entry)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert names(entry.folder) == ["lock"]


def test_the_least_recently_used_array_makes_room_and_whoever_maps_it_keeps_it(entry):
    first, second, third = (CacheEntry(entry.folder.parent / name, limit_mb=2) for name in "abc")
    size = large(0).shape[-1]
    for number, one in enumerate((first, second), 1):
        write(one, large(number))
        os.utime(one.folder / f"{size}px.u8", (number, number))
    mapped = second.array(1, size).clone(), second.array(1, size)
    os.utime(second.folder / f"{size}px.u8", (2, 2))
    first.array(1, size)  # used: now the second is the older

    write(third, large(3))

    assert names(second.folder) == ["lock"]
    assert torch.equal(*mapped)
    assert first.array(1, size) is not None
    assert third.array(1, size) is not None


def test_the_arrays_of_all_entries_share_the_limit(entry):
    for number in range(3):
        write(CacheEntry(entry.folder.parent / str(number), limit_mb=1), large(number))

        assert [path.parent.name for path in entry.folder.parent.glob("*/*.u8")] == [str(number)]


def test_room_is_made_before_an_array_is_written(entry):
    old = CacheEntry(entry.folder.parent / "old", limit_mb=1)
    write(old, large(1))

    def parts():
        assert names(old.folder) == ["lock"]
        yield large(2)

    with entry.locked():
        entry.write_array(parts(), at_most=1, size=large(2).shape[-1])


def test_an_array_that_alone_exceeds_the_limit_stays(entry):
    small = CacheEntry(entry.folder, limit_mb=0)

    write(small)

    assert small.array(5, SIZE) is not None
