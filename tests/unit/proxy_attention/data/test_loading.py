import dataclasses
import hashlib
import logging
import os
import resource

import numpy as np
import pytest
import torch
from grey_images import CATALOGUE, CONTENTS, COUNT, SIZE, arrays, changed, decode, decode_grey, same, undecodable

from proxy_attention.data.catalogue import CHUNK, named
from proxy_attention.data.groups import Groups
from proxy_attention.data.loading import digest_of, streamed
from proxy_attention.errors import DataError


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


BAD = changed(i3=b"text", i35=b"")


# ---- without a cache


def test_every_image_is_read_hashed_and_decoded_in_order():
    decoded = decode()

    assert decoded.digests == [hashlib.sha256(content).hexdigest() for content in CONTENTS]
    assert decoded.unreadable == frozenset()
    assert decoded.pixels.shape == (COUNT, 3, SIZE, SIZE)
    assert decoded.pixels[:, 0, 0, 0].tolist() == list(range(COUNT))


def test_unreadable_images_are_numbered_and_their_pixels_left_out():
    decoded = decode(BAD)

    assert decoded.unreadable == {3, 35}
    assert decoded.pixels[:, 0, 0, 0].tolist() == [i for i in range(COUNT) if i not in (3, 35)]
    assert decoded.digests[3] == hashlib.sha256(b"text").hexdigest()


def test_an_image_that_cannot_be_read_has_no_digest():
    def read(i):
        if i == 3:
            raise FileNotFoundError
        return CONTENTS[i]

    decoded = decode(dataclasses.replace(CATALOGUE, read=read))

    assert decoded.unreadable == {3}
    assert [i for i, digest in enumerate(decoded.digests) if not digest] == [3]


def test_without_a_size_every_image_is_decoded_and_no_pixel_kept():
    decoded = decode(BAD, None)

    assert decoded.pixels is None
    assert decoded.unreadable == {3, 35}


def test_progress_counts_the_images_to_the_end():
    seen = []

    decode(progress=lambda done, total: seen.append((done, total)))

    assert seen == [(i, COUNT) for i in range(1, COUNT + 1)]


# ---- with a cache


def test_images_from_the_cache_are_those_decoded_without_one(cache):
    made, mapped = decode(BAD, cache=cache), decode(undecodable(BAD), cache=cache)

    assert same(made, decode(BAD))
    assert same(mapped, decode(BAD))


def test_without_a_size_the_unreadable_images_are_noted_and_no_pixel_is_kept(cache):
    decode(BAD, None, cache=cache)

    assert decode(undecodable(BAD), None, cache=cache).unreadable == {3, 35}
    assert arrays(cache) == []


def test_images_that_are_known_to_be_unreadable_are_not_decoded_again(cache):
    decode(BAD, None, cache=cache)
    decoded = []

    decode(dataclasses.replace(BAD, decode=lambda raw: decoded.append(raw) or decode_grey(raw)), cache=cache)

    assert sorted(decoded) == [CONTENTS[i] for i in range(COUNT) if i not in (3, 35)]


def test_another_size_lies_beside_the_first(cache):
    for size in (4, 8, 4):
        assert same(decode(size=size, cache=cache), decode(size=size))

    assert [path.name for path in arrays(cache)] == ["4px.u8", "8px.u8"]
    assert len({path.parent for path in arrays(cache)}) == 1


@pytest.mark.parametrize("other", [changed(i3=b"\xff"), dataclasses.replace(CATALOGUE, form="another")])
def test_another_content_or_another_form_of_it_makes_another_entry(other, cache):
    decode(cache=cache)

    assert same(decode(other, cache=cache), decode(other))
    assert len({path.parent for path in arrays(cache)}) == 2


def truncate(folder):
    os.truncate(folder / "4px.u8", 100)


def forget(folder):
    (folder / "checked.json").write_text("{")


def break_note(folder):
    (folder / "4px.json").write_text("{")


@pytest.mark.parametrize("spoil", [truncate, forget, break_note])
def test_what_is_spoiled_in_the_cache_is_made_again(spoil, cache):
    decode(cache=cache)
    spoil(arrays(cache)[0].parent)

    assert same(decode(cache=cache), decode())
    assert same(decode(undecodable(CATALOGUE), cache=cache), decode())


def test_a_bit_that_flipped_is_made_good(cache):
    decode(cache=cache)
    (path,) = arrays(cache)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)

    assert same(decode(cache=cache), decode())
    assert same(decode(cache=cache), decode())


def test_images_that_change_while_they_are_read_are_an_error(cache):
    reads = []

    def read(i):
        reads.append(i)
        return CONTENTS[(i + 1) % COUNT if len(reads) > COUNT and i == 4 else i]

    with pytest.raises(DataError, match=r"images must not change while they are read; these did: 4.png$"):
        decode(dataclasses.replace(CATALOGUE, read=read), cache=cache)
    assert arrays(cache) == []
    assert list(cache.glob("images/*/*.part")) == []


def test_a_cache_that_cannot_be_written_to_does_not_stop_anyone(cache, caplog):
    cache.write_text("a file where a folder should be")
    caplog.set_level(logging.INFO)

    assert same(decode(cache=cache), decode())
    assert "cannot be used" in caplog.text


def test_a_full_disk_does_not_stop_anyone(cache, caplog):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    caplog.set_level(logging.INFO)

    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))  # a longer file is refused, as by a full disk
    try:
        decoded = decode(cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert same(decoded, decode())
    assert "cannot be used" in caplog.text


# ---- streamed


def test_a_set_larger_than_the_limit_has_no_pixels_and_is_noted_in_the_cache(cache):
    decoded = decode(BAD, cache=cache, limit_mb=0)

    assert decoded.pixels is None
    assert arrays(cache) == []
    assert decode(undecodable(BAD), cache=cache, limit_mb=0).unreadable == {3, 35}


def test_streamed_images_are_decoded_when_they_are_asked_for():
    kept = [i for i in range(COUNT) if i not in (3, 35)]
    pixels = streamed(BAD, decode(BAD).digests, kept, SIZE)

    assert pixels.shape == (38, 3, SIZE, SIZE)
    assert pixels[torch.tensor([37, 0, 3])][:, 0, 0, 0].tolist() == [39, 0, 4]


def test_a_streamed_image_that_changes_or_goes_is_an_error_by_name():
    def read(i):
        if i == 1:
            raise FileNotFoundError
        return b"\xff" if i == 0 else CONTENTS[i]

    pixels = streamed(dataclasses.replace(CATALOGUE, read=read), decode().digests, list(range(COUNT)), SIZE)

    for number, law in (
        (0, "must not change during a trial; 0.png has"),
        (1, "must stay readable during a trial; 1.png"),
    ):
        with pytest.raises(DataError, match=f"images {law}"):
            pixels[torch.tensor([number])]
    assert pixels[torch.tensor([2])][:, 0, 0, 0].tolist() == [2]


# ---- names and digests


def test_ten_names_are_told_and_the_rest_counted():
    names = [f"{i}.png" for i in range(13)]

    assert named(names[:3]) == "0.png, 1.png, 2.png"
    assert named(names) == f"{', '.join(names[:10])} and 3 more"


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"labels": (1,) * COUNT}, True),
        ({"classes": ("lynx", "dog")}, True),
        ({"own_test": (False,) * COUNT}, True),
        ({"own_val": (True,) + (False,) * (COUNT - 1)}, True),
        ({"groups": Groups.of(["one"] * COUNT)}, True),
        ({"names": tuple(f"elsewhere/{i}" for i in range(COUNT))}, False),
        ({"classes": ("dog", "cat"), "labels": tuple(1 - i % 2 for i in range(COUNT))}, False),
    ],
)
def test_a_digest_is_of_label_split_and_content_and_not_of_names(change, differs):
    digests, everything = decode().digests, range(COUNT)
    other = dataclasses.replace(CATALOGUE, **change)

    assert (digest_of(CATALOGUE, digests, everything) != digest_of(other, digests, everything)) == differs


def test_a_digest_is_of_the_chosen_images_in_their_order():
    digests = decode().digests
    found = {digest_of(CATALOGUE, digests, numbers) for numbers in ([0, 1, 2], [0, 2, 1], [0, 1], [0, 1, 3])}

    assert len(found) == 4
    assert digest_of(CATALOGUE, ["00", "11"], [1]) == hashlib.sha256(b"dog\x000\x0011\n").hexdigest()


def test_there_are_more_images_than_a_thread_reads_at_a_time():
    assert COUNT > CHUNK
    assert np.unique(np.frombuffer(b"".join(CONTENTS), dtype=np.uint8)).size == COUNT
