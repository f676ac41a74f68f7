"""Decoded images on disk: made once, shared, bounded, and never anything but what decoding gives."""

import dataclasses
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from proxy_attention.data.embedded.sample import open_sample
from proxy_attention.data.folder import list_folder
from proxy_attention.data.images import inspect, load
from proxy_attention.data.pixels import Streamed
from proxy_attention.data.registry import SOURCES
from proxy_attention.data.training_set import SUBSTITUTES, Proxies
from proxy_attention.errors import DataError
from proxy_attention.evaluation import evaluate
from proxy_attention.models.build import build
from proxy_attention.training import new_state, train_epoch

SIZE = 32


def refuse(content):
    raise AssertionError("an image was decoded")


@pytest.fixture
def images(own_images):
    return list_folder(own_images)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def arrays(cache):
    return sorted(cache.glob("images/*/*.u8"))


def same(one, other):
    """Two image sets that no trial could tell apart."""
    everything = torch.arange(len(one))
    return (
        torch.equal(one.images[everything], other.images[everything])
        and torch.equal(one.labels, other.labels)
        and torch.equal(one.own_test, other.own_test)
        and (one.names, one.classes, one.digest, one.skipped)
        == (other.names, other.classes, other.digest, other.skipped)
    )


def spoil(catalogue, *numbers):
    """The same catalogue with text for these images."""
    return dataclasses.replace(catalogue, read=lambda i: b"no image" if i in numbers else catalogue.read(i))


def test_images_from_the_cache_are_those_decoded_without_one(images, cache):
    made, mapped, plain = load(images, SIZE, cache=cache), load(images, SIZE, cache=cache), load(images, SIZE)

    assert same(made, plain)
    assert same(mapped, plain)


def test_nothing_is_decoded_the_second_time(images, cache):
    load(images, SIZE, cache=cache)
    again = dataclasses.replace(images, decode=refuse)

    assert len(load(again, SIZE, cache=cache)) == 56
    assert inspect(again, size=SIZE, cache=cache, verify=True).digest == load(again, SIZE, cache=cache).digest


def test_an_inspection_leaves_the_images_there_for_the_trials(images, cache):
    found = inspect(images, size=SIZE, cache=cache)

    loaded = load(dataclasses.replace(images, decode=refuse), SIZE, cache=cache)

    assert loaded.digest == found.digest == inspect(images).digest


def test_an_inspection_without_a_size_notes_what_it_found_and_keeps_no_pixel(images, cache):
    bad = spoil(images, 3, 5)
    inspect(bad, "skip", cache=cache)

    found = inspect(dataclasses.replace(bad, decode=refuse), "skip", cache=cache)

    assert found == inspect(bad, "skip")
    assert len(found.skipped) == 2
    assert arrays(cache) == []


def test_unreadable_images_are_named_from_the_cache_as_they_are_without_one(images, cache):
    bad = spoil(images, 3, 5)
    messages = []

    for catalogue, where in ((bad, None), (bad, cache), (dataclasses.replace(bad, decode=refuse), cache)):
        with pytest.raises(DataError) as error:
            load(catalogue, SIZE, cache=where)
        messages.append(str(error.value))

    assert len(set(messages)) == 1
    assert "2 of 56 are not" in messages[0]
    assert same(load(bad, SIZE, "skip", cache=cache), load(bad, SIZE, "skip"))


def test_a_changed_image_is_noticed_and_another_entry_made(images, own_images, cache):
    before = load(images, SIZE, cache=cache)
    first, second = sorted(own_images.rglob("*.png"))[:2]
    shutil.copy(first, second)

    after = load(images, SIZE, cache=cache)

    assert after.digest != before.digest
    assert same(after, load(images, SIZE))
    assert len(arrays(cache)) == 2


def test_another_size_lies_beside_the_first(images, cache):
    for size in (16, 32, 16):
        assert same(load(images, size, cache=cache), load(images, size))

    assert [path.name for path in arrays(cache)] == ["16px.u8", "32px.u8"]
    assert len({path.parent for path in arrays(cache)}) == 1


def test_contents_that_another_decoder_reads_are_other_images(images, cache):
    load(images, SIZE, cache=cache)

    load(dataclasses.replace(images, form="another"), SIZE, cache=cache)

    assert len(arrays(cache)) == 2


def test_every_process_maps_the_same_file_and_none_writes_to_it(images, cache):
    loaded = load(images, SIZE, cache=cache)
    (path,) = arrays(cache)
    before = path.read_bytes()

    loaded.images.fill_(7)

    assert path.read_bytes() == before
    assert str(path) in Path("/proc/self/maps").read_text()
    assert same(load(images, SIZE, cache=cache), load(images, SIZE))


@pytest.mark.parametrize("left", [0, 1000])
def test_a_truncated_file_is_made_again(images, cache, left):
    load(images, SIZE, cache=cache)
    (path,) = arrays(cache)
    os.truncate(path, left)

    assert same(load(images, SIZE, cache=cache), load(images, SIZE))


@pytest.mark.parametrize("name", ["checked.json", "32px.json"])
def test_a_broken_note_is_made_again(images, cache, name):
    load(images, SIZE, cache=cache)
    (path,) = cache.glob(f"images/*/{name}")
    path.write_text("{")

    assert same(load(images, SIZE, cache=cache), load(images, SIZE))
    assert path.read_text() != "{"


def test_a_bit_that_flipped_is_seen_by_whoever_verifies(images, cache, caplog):
    plain = load(images, SIZE)
    load(images, SIZE, cache=cache)
    (path,) = arrays(cache)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    assert not same(load(images, SIZE, cache=cache), plain)

    assert same(load(images, SIZE, cache=cache, verify=True), plain)
    assert "is not what was written: it is made again" in caplog.text
    assert same(load(images, SIZE, cache=cache), plain)


def test_threads_that_build_at_once_decode_every_image_once(images, cache):
    decoded, loaded, barrier = [], [], threading.Barrier(4)

    def counting(content):
        decoded.append(content)
        return images.decode(content)

    def work():
        barrier.wait()
        loaded.append(load(dataclasses.replace(images, decode=counting), SIZE, cache=cache))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(decoded) == 56
    assert all(same(one, load(images, SIZE)) for one in loaded)
    assert len(arrays(cache)) == 1


BUILDER = """
import dataclasses, sys, time
from pathlib import Path
from proxy_attention.data.folder import list_folder
from proxy_attention.data.images import load
root, cache, gate = map(Path, sys.argv[1:])
images = list_folder(root)
def decode(content):
    (gate / "building").touch()
    while not (gate / "go").exists():
        time.sleep(0.005)
    return images.decode(content)
load(dataclasses.replace(images, decode=decode), 32, cache=cache)
"""


@pytest.fixture
def builder(own_images, cache, tmp_path):
    """Another process, in the middle of building; it goes on when ``go`` is there."""
    process = subprocess.Popen([sys.executable, "-c", BUILDER, own_images, cache, tmp_path])
    while not (tmp_path / "building").exists():
        assert process.poll() is None
        time.sleep(0.005)
    yield process
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()


def waiting(images, cache):
    """A thread that wants the same images, and the list in which it will put them."""
    loaded = []
    thread = threading.Thread(target=lambda: loaded.append(load(images, SIZE, cache=cache)))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    return thread, loaded


def test_who_comes_second_waits_for_the_process_that_builds(builder, images, cache, tmp_path):
    thread, loaded = waiting(dataclasses.replace(images, decode=refuse), cache)

    (tmp_path / "go").touch()
    thread.join()

    assert builder.wait() == 0
    assert same(loaded[0], load(images, SIZE))


def test_a_killed_builder_is_followed_by_the_next_and_leaves_nothing(builder, images, cache):
    assert len(list(cache.glob("images/*/*.part"))) == 1
    thread, loaded = waiting(images, cache)

    builder.send_signal(signal.SIGKILL)
    thread.join()

    assert same(loaded[0], load(images, SIZE))
    assert list(cache.glob("images/*/*.part")) == []
    assert len(arrays(cache)) == 1


def test_what_a_killed_builder_left_of_other_images_is_swept_up(images, cache):
    other = cache / "images" / "other"
    other.mkdir(parents=True)
    (other / "32px.u8abc.part").write_bytes(b"half")

    load(images, SIZE, cache=cache)

    assert [path.name for path in other.iterdir()] == ["lock"]


def test_images_that_change_while_they_are_read_are_an_error(images, cache):
    reads = []

    def changing(i):
        reads.append(i)
        return images.read((i + 1) % 56 if len(reads) > 56 and i == 4 else i)

    with pytest.raises(DataError, match=r"images must not change while they are read; these did: \S+$"):
        load(dataclasses.replace(images, read=changing), SIZE, cache=cache)
    assert arrays(cache) == []
    assert list(cache.glob("images/*/*.part")) == []


def test_a_cache_that_cannot_be_written_to_does_not_stop_anyone(images, cache, caplog):
    cache.write_text("a file where a folder should be")
    caplog.set_level(logging.INFO)

    assert same(load(images, SIZE, cache=cache), load(images, SIZE))
    assert inspect(images, size=SIZE, cache=cache) == inspect(images)
    assert "cannot be used" in caplog.text


def test_a_full_disk_leaves_nothing_behind_and_does_not_stop_anyone(images, cache, caplog):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    plain = load(images, SIZE)
    caplog.set_level(logging.INFO)

    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))  # a longer file is refused, as by a full disk
    try:
        loaded = load(images, SIZE, cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert same(loaded, plain)
    assert "cannot be used" in caplog.text
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["lock"]


def test_a_cache_that_is_complete_is_read_without_its_lock(images, cache):
    load(images, SIZE, cache=cache)
    (lock,) = cache.glob("images/*/lock")
    lock.unlink()
    lock.mkdir()

    assert same(load(dataclasses.replace(images, decode=refuse), SIZE, cache=cache), load(images, SIZE))


def test_the_least_recently_used_array_makes_room_and_whoever_maps_it_keeps_it(images, cache):
    small, middle, large = 40, 48, 56  # 268,800 + 387,072 + 526,848 bytes: more than a MiB together
    mapped = {size: load(images, size, cache=cache, limit_mb=1) for size in (small, middle)}
    for path in arrays(cache):
        os.utime(path, (1, 1))
    load(images, small, cache=cache, limit_mb=1)

    load(images, large, cache=cache, limit_mb=1)

    assert [path.name for path in arrays(cache)] == ["40px.u8", "56px.u8"]
    assert not list(cache.glob("images/*/48px.json"))
    assert same(mapped[middle], load(images, middle))


def test_the_arrays_of_all_data_sets_share_the_limit(images, cache):
    others = dataclasses.replace(images, form="another")

    for catalogue in (images, others, images):
        assert same(load(catalogue, 64, cache=cache, limit_mb=1), load(images, 64))  # 688,128 bytes each
        assert len(arrays(cache)) == 1


def test_a_set_larger_than_the_limit_is_streamed_and_not_cached(images, cache):
    bad = spoil(images, 3)
    streamed = load(bad, SIZE, "skip", cache=cache, limit_mb=0)

    assert isinstance(streamed.images, Streamed)
    assert same(streamed, load(bad, SIZE, "skip"))
    assert arrays(cache) == []
    load(dataclasses.replace(bad, decode=refuse), SIZE, "skip", cache=cache, limit_mb=0)


def test_a_streamed_image_that_changes_or_goes_is_an_error_by_name(images, own_images, cache):
    streamed, plain = load(images, SIZE, cache=cache, limit_mb=0), load(images, SIZE)
    first, second, third = sorted((own_images / "train").rglob("*.png"))[:3]
    shutil.copy(third, first)
    second.unlink()

    for number, path, message in ((0, first, "must not change"), (1, second, "must stay readable")):
        with pytest.raises(DataError, match=f"images {message} during a trial; {path.relative_to(own_images)} "):
            streamed.images[torch.tensor([number])]
    assert torch.equal(streamed.images[torch.tensor([2])], plain.images[2:3])


@pytest.fixture
def three_ways(images, cache):
    """The same images in memory, mapped and streamed."""
    load(images, SIZE, cache=cache)
    return [
        load(images, SIZE),
        load(images, SIZE, cache=cache),
        load(images, SIZE, cache=cache / "none", limit_mb=0),
    ]


@pytest.mark.parametrize("substitute", SUBSTITUTES)
@pytest.mark.parametrize("batch_size", [5, 32])
def test_training_and_evaluation_do_not_depend_on_where_the_pixels_lie(
    config, training_set_of, three_ways, substitute, batch_size
):
    trial = config(schedule="2", batch_size=batch_size, substitute=substitute)
    found = []
    for images in three_ways:
        given = training_set_of(trial, images)
        ids = given.train[::3]
        given = given.with_proxies(Proxies(ids=ids, pixels=255 - given.originals(ids)))
        model = build(trial.model, classes=4, image_size=SIZE, weights="none", seed=0).to(torch.device("cpu"))
        state = new_state(model, trial, images=len(given.train), device=torch.device("cpu"))
        totals = [train_epoch(state, given, trial, epoch=epoch) for epoch in range(2)]
        measured = evaluate(model, images.images, images.labels, ids=np.arange(40, 56), precision="fp32")
        found.append((totals, model.module.state_dict(), measured))

    (expected, weights, measured), *others = found
    for totals, other_weights, other_measured in others:
        for one, other in zip(expected, totals, strict=True):
            assert torch.equal(one.losses, other.losses)
            assert torch.equal(one.predicted, other.predicted)
        assert all(torch.equal(weights[name], other_weights[name]) for name in weights)
        assert other_measured.loss == measured.loss
        assert other_measured.confusion.tolist() == measured.confusion.tolist()


def test_a_whole_trial_does_not_depend_on_where_the_pixels_lie(config, finish, metrics, three_ways):
    trial = config(dataset="folder", schedule="1,p,1", batch_size=8, compound=True, scope="dataset")

    expected, *others = (
        [metrics(told) for told in (*records, report)] for records, report in (finish(trial, x) for x in three_ways)
    )

    assert expected[1]["wrong_images"] > 0
    for other in others:
        assert other == expected


@pytest.mark.parametrize("dataset", [name for name, source in SOURCES.items() if not source.needs_root])
def test_every_data_set_that_ships_can_be_cached(dataset, cache):
    loaded = load(SOURCES[dataset].open(None, "parent-folder"), 16, cache=cache)

    assert same(loaded, load(open_sample(), 16))
