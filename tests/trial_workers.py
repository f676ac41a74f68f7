"""Runs trials in processes of their own and returns their outcomes; the processes import this module by name."""

import contextlib
import dataclasses
import hashlib
import pickle

import torch
from safetensors.torch import load_file

from proxy_attention.memory import freeze_imports
from proxy_attention.trial import run_trial
from proxy_attention.trial_store import read_recipes


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a trial.

    Attributes:
        told: all results, which sharing must not change.
        seconds: the training seconds of each epoch.
        trained: how many epochs the trial has trained itself.
    """

    told: dict
    seconds: list
    trained: int


def sha(tensor):
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()[:16]


def plain(record):
    """Return the fields of a record or report, without seconds and memory."""
    return {name: value for name, value in dataclasses.asdict(record).items() if not name.endswith(("_seconds", "_mb"))}


def outcome(trial, images, folder, sharing=None):
    """Run a trial to its end and return its outcome."""
    *progress, last = run_trial(trial, images, directory=folder, sharing=sharing)
    records = [record for item in progress for record in (*item.earlier, item.record)]
    weights = load_file(folder / "weights.safetensors")
    told = {
        "records": [plain(record) for record in records],
        "report": plain(last.report),
        "weights": {name: sha(tensor) for name, tensor in weights.items()},
        "recipes": [(r.step, sha(r.ids), sha(r.predicted), sha(r.maps)) for r in read_recipes(folder)],
        "examples": {i.record.epoch: sha(i.examples.proxies) for i in progress if i.examples is not None},
    }
    return Outcome(told, [r.train_seconds for r in records], sum(not item.borrowed for item in progress))


def work(connection):
    """Run the trials that arrive on this connection, each to its end or for so many epochs; send back the outcome."""
    freeze_imports()
    torch.set_num_threads(1)
    held = []
    with contextlib.suppress(EOFError):  # the test has ended
        while True:
            trial, images, folder, sharing, stop_after = pickle.loads(connection.recv_bytes())
            if stop_after is None:
                said = outcome(trial, images, folder, sharing)
            else:
                held.append(run_trial(trial, images, directory=folder, sharing=sharing))
                said = [next(held[-1]).record.epoch for _ in range(stop_after)]
            connection.send_bytes(pickle.dumps(said))
