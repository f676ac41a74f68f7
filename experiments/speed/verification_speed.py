"""What verified state costs: whole processes that train one trial, with the checksums and without, in turn."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.speed.measure import Effort, Row, Section, Target, row_of

ROOT = Path(__file__).resolve().parents[2]
UNIT = "% of an epoch"
TARGET = Target("at most", 2.0)


@dataclass(frozen=True)
class Case:
    """A trial of the embedded sample, interrupted once and resumed."""

    title: str
    model: str
    schedule: str
    precision: str
    threads: int
    train_fraction: float = 1.0


QUICK = Case("the model of quick", "test_resnet", "1,p", "fp32", threads=1)
LARGE = Case("resnet18, whose checkpoint has 134 MB", "resnet18", "1,p", "bf16", threads=2)
TINY = Case("tiny", "test_resnet", "1,p", "fp32", threads=1, train_fraction=0.05)

TRIAL = """
import json, os, resource, sys, time
from pathlib import Path
from experiments.speed.verification_speed import count_checksums, without_checksums
settings = json.loads(sys.argv[1])
counted = count_checksums() if settings["verify"] else without_checksums()
from proxy_attention.config import TrialConfig
from proxy_attention.data.images import load
from proxy_attention.data.sources import open_source
from proxy_attention.trial import run_trial
import torch
torch.set_num_threads(settings["threads"])
config = TrialConfig(model=settings["model"], schedule=settings["schedule"], train_fraction=settings["train_fraction"],
                     precision=settings["precision"], threads=settings["threads"], lr=0.004,
                     image_size=64, judge_images=0)
images = load(open_source(config.dataset), config.image_size, cache=Path(settings["cache"]))
folder = Path(settings["folder"])
stopped = run_trial(config, images, directory=folder)
records = [next(stopped).record]
stopped.close()
ends = [progress for progress in run_trial(config, images, directory=folder)]
records += [progress.record for progress in ends[:-1]]
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "cpu": used.ru_utime + used.ru_stime,
    "epochs": len(records),
    "test": ends[-1].report.test_accuracy,
    "counted": sum(counted),
    "epoch_seconds": sum(r.train_seconds + r.proxy_seconds + r.eval_seconds for r in records),
}))
"""


def without_checksums() -> list[float]:
    """Take the checksums out of this process: files are written without one, and believed when they are read.

    Returns: no seconds.
    """
    from proxy_attention import checkpoints, files, trial_store
    from proxy_attention.data import cache
    from proxy_attention.files import read_json

    checkpoints.append_checksum = lambda path: None
    checkpoints.compare_appended = lambda path: True
    files.with_checksum = dict
    files.without_checksum = lambda values: (values, False)
    trial_store.checksums_of = lambda directory: {}
    cache.file_sha256 = lambda path: read_json(path.with_suffix(".json"))["sha256_of_array"]
    return []


def count_checksums() -> list[float]:
    """Count the seconds that each checksum of this process takes, in whatever thread; the list grows as it runs."""
    from proxy_attention import checkpoints, files, trial_store
    from proxy_attention.data import cache

    seconds: list[float] = []

    def counted(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def call(argument: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(argument)
            finally:
                seconds.append(time.perf_counter() - started)

        return call

    for module, names in (
        (checkpoints, ("append_checksum", "compare_appended")),
        (files, ("with_checksum", "without_checksum")),
        (trial_store, ("checksums_of",)),
        (cache, ("file_sha256",)),
    ):
        for name in names:
            setattr(module, name, counted(getattr(module, name)))
    return seconds


def verification(effort: Effort) -> list[Section]:
    """Train each case with and without checksums, in turn, the order changing from round to round."""
    rows: list[Row] = []
    for case in (TINY,) if effort.tiny else (QUICK, LARGE):
        rows += _rows(case, effort)
    notes = (
        "Whole processes, from start to end: imports, a cached array of the embedded sample at 64 px, training, a",
        "checkpoint after each epoch, one interruption, the results. The two of a round train the same trial, one with",
        "every checksum written and compared, one with none; both must give the same accuracy.",
        "Ratio: the difference of a round's two processes, per epoch, in percent of an epoch's seconds (training,",
        "proxy step, validation). Checkpoints are written and hashed while training goes on. Counted: what all",
        "checksums of the one process took, in any thread, in percent of its epochs' seconds.",
    )
    return [Section("Verified state", notes, tuple(rows))]


def _rows(case: Case, effort: Effort) -> list[Row]:
    wall: list[float] = []
    cpu: list[float] = []
    counted: list[float] = []
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(-1, effort.rounds):
            order = (True, False) if number % 2 else (False, True)
            found = {verify: _train(case, verify, Path(folder), number) for verify in order}
            if found[True]["test"] != found[False]["test"]:
                raise AssertionError("checksums must change no number")
            if number < 0:  # the first round fills the cache
                continue
            of_an_epoch = found[False]["epoch_seconds"] / found[False]["epochs"]
            for values, name in ((wall, "wall"), (cpu, "cpu")):
                extra = (found[True][name] - found[False][name]) / found[True]["epochs"]
                values.append(100 * extra / of_an_epoch)
            counted.append(100 * found[True]["counted"] / found[True]["epoch_seconds"])
            for verify in order:
                seconds[verify].append(found[verify]["wall"])
    ours, theirs = (f"{sorted(seconds[verify])[len(seconds[verify]) // 2]:.1f} s" for verify in (True, False))
    return [
        row_of(f"{case.title}: seconds in checksums, counted", "", "", counted, measure=UNIT, target=TARGET),
        row_of(f"{case.title}: wall time", ours, theirs, wall, measure=UNIT, target=TARGET),
        row_of(f"{case.title}: processor time", "", "", cpu, measure=UNIT, target=TARGET),
    ]


def _train(case: Case, verify: bool, folder: Path, number: int) -> dict[str, float]:
    """Train the trial in a process of its own; returns what it printed, and its wall seconds."""
    settings = {
        "verify": verify,
        "model": case.model,
        "schedule": case.schedule,
        "precision": case.precision,
        "threads": case.threads,
        "train_fraction": case.train_fraction,
        "cache": str(folder / "cache"),
        "folder": str(folder / f"{number}-{verify}"),
    }
    environment = {**os.environ, "OMP_NUM_THREADS": str(case.threads)}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", TRIAL, json.dumps(settings)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    wall = time.perf_counter() - started
    values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**values, "wall": wall}
