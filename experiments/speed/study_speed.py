"""What a whole study costs: with sharing and reuse, without, and with one process a trial; trains for minutes."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from experiments.speed.measure import THE_TIME, Effort, Section, Target, row_of
from study.execution.ray_session import ray_session
from study.execution.runner import run_missing_trials
from study.planning.measure_cost import trial_costs
from study.planning.prepare import Prepared, write_plan
from study.planning.request import Request
from study.planning.resources import this_machine
from study.planning.study_file import parse_study
from study.planning.work_left import work_left
from study.results import METRICS, load_results
from study.run_folder import COMPLETE

ROUNDS = 3
ONCE = ("fresh", "processes")
"""Ways that are run in the first round only: they take four times as long."""
EFFICIENCY = 0.85
STUDY = """
[study]
question = "What does a grid cost?"
seeds = [0]
[fixed]
model = "test_resnet"
image_size = 64
precision = "fp32"
threads = 1
train_fraction = {part}
[search]
schedule = ["{alone}", "{with_step}"]
threshold = [0.2, 0.4, 0.6, 0.8]
weight = [0.5, 0.75, 1.0]
subset = [0.5, 1.0]
"""
"""One baseline and 24 settings of one proxy step."""

ONE_TRIAL = """
import json, sys
from pathlib import Path
from study.plan import PlannedTrial
from study.run_folder import RunFolder
from study.execution.worker import WorkerSettings, run_planned
run, planned = Path(sys.argv[1]), PlannedTrial.of(json.loads(sys.argv[2]))
run_planned(planned, WorkerSettings(RunFolder(run), None, "cpu", ""), lambda metrics: None)
"""


class Count:
    """A watcher that counts the epochs that were really trained."""

    def __init__(self) -> None:
        self.epochs = 0

    def epoch(self) -> None:
        """A trial has trained an epoch."""
        self.epochs += 1

    def trial(self, trial_id: str, arm: str, val_accuracy: float) -> None:
        """Nothing: only epochs are counted."""

    def failure(self, trial_id: str) -> None:
        """Nothing: a trial that is missing is seen at the end."""


def study(effort: Effort) -> list[Section]:
    """The grid of one baseline and 24 settings, four ways, in turn; every way must give the same rows."""
    sizes = ("2", "p,1", 0.05) if effort.tiny else ("8", "4,p,3", 0.45)
    text = STUDY.format(alone=sizes[0], with_step=sizes[1], part=sizes[2])
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    with (
        tempfile.TemporaryDirectory() as folder,
        ray_session(this_machine(), address=None, dashboard=False, verbose=False),
    ):
        for number in range(1 if effort.tiny else ROUNDS):
            rows = {}
            for name, (without, run) in WAYS.items():
                if number and name in ONCE:
                    continue
                prepared = _planned(Path(folder) / f"{number}-{name}", text, without)
                todo = work_left(trial_costs(prepared), prepared.settings.sharing, device="cpu")
                started = time.perf_counter()
                trained = run(prepared)
                seconds[name].append(time.perf_counter() - started)
                rows[name] = _metrics(prepared)
                if not without:
                    shared = todo
                    assert trained == shared.epochs, "each distinct epoch must be trained once"
            assert all(found == rows["shared"] for found in rows.values()), "the rows must not depend on the way"
    part = shared.epochs / shared.nominal_epochs
    ours = seconds["shared"]
    found = []
    for name, words in WORDS.items():
        ratios = [own / theirs for own, theirs in zip(ours, seconds[name], strict=False)]
        target = Target("at most", part / EFFICIENCY) if name == "unshared" else None
        mine, theirs = (f"{sorted(values)[len(values) // 2]:.0f} s" for values in (ours, seconds[name]))
        found.append(row_of(words, mine, theirs, ratios, measure=THE_TIME, target=target))
    notes = (
        (
            f"One baseline `{sizes[0]}` and 24 settings of `{sizes[1]}`, one seed, test_resnet at 64 px, one thread a "
            f"trial, two at once: {shared.epochs} distinct of {shared.nominal_epochs} nominal epochs ({part:.3f}), all "
            "counted as they were trained."
        ),
        "The last two ways were run once, the others three times.",
        "Wall time of the trials in a Ray session that runs already. Every way gave the same rows, to the bit.",
        "The target is the distinct part over 0.85. Of `20,p,19`, 496 of 1,000 epochs are distinct.",
    )
    return [Section("A study: sharing and reuse", notes, tuple(found))]


def _planned(storage: Path, text: str, without: tuple[str, ...]) -> Prepared:
    request = Request(
        study=parse_study(text),
        search="grid",
        name="speed",
        run=storage / "speed" / "grid",
        suggestions=0,
        confirm=0,
        data_root=None,
        cpus_per_trial=1,
        gpus_per_trial=0.0,
        concurrency=2,
        command="python experiments/speed/run.py --only study",
        without=without,
    )
    prepared = Prepared.of(request, this_machine())
    write_plan(prepared)
    return prepared


def _with_ray(prepared: Prepared) -> int:
    watcher = Count()
    run_missing_trials(prepared, watcher)
    return watcher.epochs


def _one_process_a_trial(prepared: Prepared) -> int:
    """Plain processes, two at once: what a shell loop over the trials would do."""

    def run(values: str) -> None:
        command = [sys.executable, "-c", ONE_TRIAL, str(prepared.run.path), values]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[2])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, [json.dumps(trial.as_dict()) for trial in prepared.plan.trials]))
    return 0


def _metrics(prepared: Prepared) -> list[tuple[object, ...]]:
    """What a row says, but for times and memory."""
    rows = load_results(prepared.run.path)
    assert (rows["status"] == COMPLETE).all()
    names = [name for name in METRICS if not name.endswith(("_seconds", "_mb"))]
    return [tuple(row) for row in rows[["config_digest", *names]].itertuples(index=False)]


WAYS: dict[str, tuple[tuple[str, ...], Callable[[Prepared], int]]] = {
    "shared": ((), _with_ray),
    "unshared": (("sharing",), _with_ray),
    "fresh": (("cache", "sharing", "reuse"), _with_ray),
    "processes": (("cache", "sharing", "reuse"), _one_process_a_trial),
}
"""Every way: what it leaves out, and how it runs; it returns the epochs that it saw trained."""

WORDS = {
    "unshared": "shared and reused / workers reused, nothing shared",
    "fresh": "shared and reused / nothing shared, a fresh Ray worker a trial",
    "processes": "shared and reused / a plain process a trial, two at once",
}
