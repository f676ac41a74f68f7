import threading
import time

import pytest
import torch

from proxy_attention.data.pixels import (
    PREFETCHED_BATCHES,
    Streamed,
    in_batches,
    map_prefetched,
    select_images,
    stream_from_host,
    to_device,
)

CPU = torch.device("cpu")
IMAGES = torch.arange(20, dtype=torch.uint8)[:, None, None, None].expand(20, 3, 4, 4).contiguous()
IDS = torch.tensor([7, 0, 7, 19, 3])
KINDS = {"in memory": IMAGES, "streamed": stream_from_host(IMAGES, CPU)}


def fills(images):
    return images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_taken_by_number_in_any_order_and_twice(kind):
    taken = select_images(KINDS[kind], IDS)

    assert taken.shape == (5, 3, 4, 4)
    assert taken.dtype == torch.uint8
    assert fills(taken) == [7, 0, 7, 19, 3]
    assert len(select_images(KINDS[kind], IDS[:0])) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_batches_cut_the_images_in_their_order(kind, size):
    batches = list(in_batches(KINDS[kind], IDS, size))

    assert fills(torch.cat(batches)) == [7, 0, 7, 19, 3]
    assert [len(batch) for batch in batches] == [min(size, 5 - i) for i in range(0, 5, size)]


@pytest.mark.parametrize("kind", KINDS)
def test_of_no_images_there_is_no_batch(kind):
    assert list(in_batches(KINDS[kind], IDS[:0], 2)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_handed_out_is_a_copy(kind):
    select_images(KINDS[kind], IDS).fill_(99)
    next(in_batches(KINDS[kind], IDS, 2)).fill_(99)

    assert fills(IMAGES) == list(range(20))


def test_streamed_pixels_have_the_shape_length_and_device_of_a_tensor():
    streamed = stream_from_host(IMAGES, CPU)

    assert streamed.shape == IMAGES.shape
    assert len(streamed) == 20
    assert streamed.device == CPU
    assert streamed.to(torch.device("meta")).device.type == "meta"
    assert torch.equal(streamed[IDS], IMAGES[IDS])


def test_on_a_cpu_pixels_stay_as_they_are():
    assert to_device(IMAGES, CPU) is IMAGES


def test_work_is_handed_out_in_order_whichever_ends_first():
    def slow_at_first(number):
        time.sleep(0.05 if number == 0 else 0)
        return number

    assert list(map_prefetched(slow_at_first, range(20), threads=4, depth=8)) == list(range(20))


def test_work_is_begun_ahead_but_not_further_than_it_is_deep():
    begun = []
    results = map_prefetched(lambda number: begun.append(number) or number, range(100), threads=1, depth=3)
    assert begun == []

    for taken in range(10):
        assert next(results) == taken
        assert len(begun) <= taken + 1 + 3
    results.close()

    assert max(begun) < 14


def test_whoever_stops_early_leaves_no_thread_behind():
    before = threading.active_count()
    batches = in_batches(stream_from_host(IMAGES, CPU), torch.arange(20), 1)

    next(batches)
    assert threading.active_count() > before
    batches.close()

    assert threading.active_count() == before
    assert PREFETCHED_BATCHES < 19


def test_an_error_of_the_work_is_raised_where_its_result_was_due():
    results = map_prefetched(lambda number: 1 // number, [2, 1, 0, 5], threads=2, depth=4)

    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_set_that_takes_more_than_half_of_the_free_memory_of_a_gpu_goes_there_batch_by_batch(monkeypatch):
    device = torch.device("cuda", 0)
    size = IMAGES.numel()
    ids = torch.randint(20, (100,))

    for free, kind in ((2 * size, torch.Tensor), (2 * size - 1, Streamed)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10 * free))
        placed = to_device(IMAGES, device)
        batches = list(in_batches(placed, ids, 7))

        assert isinstance(placed, kind)
        assert {batch.device for batch in batches} == {device}
        assert torch.equal(torch.cat(batches).cpu(), IMAGES[ids])
        assert torch.equal(select_images(placed, ids).cpu(), IMAGES[ids])
