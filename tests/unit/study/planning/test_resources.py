import dataclasses
import os

import pytest

from proxy_attention.errors import ConfigError
from study.planning.resources import Machine, Resources, pack_gpus, share_machine, this_machine

LAPTOP = Machine(cpus=2, gpus=0, total_cpus=2, total_gpus=0)
SERVER = Machine(cpus=16, gpus=1, total_cpus=16, total_gpus=1)
CLUSTER = Machine(cpus=8, gpus=2, total_cpus=24, total_gpus=4)


def shared(machine, **asked):
    """(CPUs, GPUs, at once, device)."""
    nothing = dict.fromkeys(("threads", "cpus_per_trial", "gpus_per_trial", "concurrency"))
    found = share_machine(machine, **{"trials": 20, **nothing, **asked})
    return found.cpus, found.gpus, found.concurrency, found.device


CASES = {
    "a lone trial uses all cores": (LAPTOP, {"trials": 1}, (2, 0, 1, "cpu")),
    "no trial is shared out as one": (LAPTOP, {"trials": 0}, (2, 0, 1, "cpu")),
    "trials share the cores": (LAPTOP, {}, (1, 0, 2, "cpu")),
    "two trials of four cores get two each": (Machine(4, 0, 4, 0), {"trials": 2}, (2, 0, 2, "cpu")),
    "one thread, twenty trials": (LAPTOP, {"threads": 1}, (1, 0, 2, "cpu")),
    "a lone trial of one thread": (LAPTOP, {"threads": 1, "trials": 1}, (1, 0, 1, "cpu")),
    "two threads": (LAPTOP, {"threads": 2}, (2, 0, 1, "cpu")),
    "more threads than cores": (LAPTOP, {"threads": 8}, (2, 0, 1, "cpu")),
    "cpus asked for": (LAPTOP, {"cpus_per_trial": 2}, (2, 0, 1, "cpu")),
    "cpus asked for beat threads": (SERVER, {"threads": 1, "cpus_per_trial": 4, "gpus_per_trial": 0}, (4, 0, 4, "cpu")),
    "one at once uses all cores": (LAPTOP, {"concurrency": 1}, (2, 0, 1, "cpu")),
    "more at once than fit": (LAPTOP, {"concurrency": 9, "threads": 1}, (1, 0, 2, "cpu")),
    "a GPU is used where there is one": (SERVER, {}, (16, 1, 1, "cuda")),
    "half a GPU": (SERVER, {"gpus_per_trial": 0.5}, (8, 0.5, 2, "cuda")),
    "a third of a GPU": (SERVER, {"gpus_per_trial": 1 / 3}, (5, 1 / 3, 3, "cuda")),
    "a tenth of a GPU": (SERVER, {"gpus_per_trial": 0.1}, (1, 0.1, 10, "cuda")),
    "no GPU is insisted on": (SERVER, {"gpus_per_trial": 0}, (1, 0, 16, "cpu")),
    "a cluster": (CLUSTER, {}, (6, 1, 4, "cuda")),
    "a cluster, two GPUs each": (CLUSTER, {"gpus_per_trial": 2}, (8, 2, 2, "cuda")),
    "a lone trial fits a node": (CLUSTER, {"trials": 1}, (8, 1, 1, "cuda")),
}


@pytest.mark.parametrize(("machine", "asked", "expected"), CASES.values(), ids=CASES.keys())
def test_the_machine_is_shared_among_the_trials(machine, asked, expected):
    assert shared(machine, **asked) == expected


TOO_MUCH = {
    "cpus": (LAPTOP, {"cpus_per_trial": 3}, "--cpus-per-trial must be at most 2, the CPUs there are; got 3"),
    "cpus of a node": (CLUSTER, {"cpus_per_trial": 9}, "--cpus-per-trial must be at most 8, the CPUs there are; got 9"),
    "gpus": (LAPTOP, {"gpus_per_trial": 1.0}, "--gpus-per-trial must be at most 0, the GPUs there are; got 1"),
    "part of no gpu": (
        LAPTOP,
        {"gpus_per_trial": 0.5},
        "--gpus-per-trial must be at most 0, the GPUs there are; got 0",
    ),
    "gpus of a node": (CLUSTER, {"gpus_per_trial": 3.0}, "--gpus-per-trial must be at most 2, the GPUs there are; got"),
}


@pytest.mark.parametrize(("machine", "asked", "message"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_more_than_there_is_is_refused(machine, asked, message):
    with pytest.raises(ConfigError, match=message):
        shared(machine, **asked)


def test_this_machine_has_the_cores_that_the_process_may_use():
    machine = this_machine()

    assert machine.cpus == machine.total_cpus == len(os.sched_getaffinity(0))


ALONE = Resources(cpus=1, gpus=1.0, concurrency=2, device="cuda")


@pytest.mark.parametrize(
    ("peak_mb", "memory_mb", "cpus", "expected"),
    [
        (400, 10_000, 16, (1 / 9, 18)),  # 9,000 MB for trials of 400 and a context of 600 each
        (400, 10_000, 3, (1 / 3, 6)),  # no more than there are CPUs for
        (5_000, 10_000, 16, (1.0, 2)),  # only one fits
        (0, 10_000, 16, (1.0, 2)),  # nothing was measured
    ],
)
def test_as_many_trials_share_a_gpu_as_fit(peak_mb, memory_mb, cpus, expected):
    found = pack_gpus(ALONE, peak_mb=peak_mb, memory_mb=memory_mb, cpus=cpus)

    assert (found.gpus, found.concurrency) == expected


def test_a_share_that_the_user_has_set_is_left_as_it_is():
    half = dataclasses.replace(ALONE, gpus=0.5)

    assert pack_gpus(half, peak_mb=10, memory_mb=80_000, cpus=64) == half
