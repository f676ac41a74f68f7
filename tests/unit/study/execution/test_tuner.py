"""What Tune passes on, without Ray; with it: ``test_whole_studies`` and ``test_faults``."""

import pickle
from types import SimpleNamespace

from study.execution.tuner import Outcome, _Watch, run_trials
from study.run_folder import RunFolder


class Told(list):
    def epoch(self):
        self.append("epoch")

    def trial(self, *what):
        self.append(what)

    def failure(self, trial_id):
        self.append(f"{trial_id} failed")


def test_a_watcher_is_told_of_trained_epochs_complete_trials_and_failures(tmp_path):
    told = Told()
    watch = _Watch(told, RunFolder(tmp_path))
    last = {"trial": "0000-a", "arm": "baseline", "val_accuracy": 50.0}
    trial = SimpleNamespace(last_result=last, config={}, custom_dirname="0001-b")  # no worker has begun it

    for trained in (1, 0):
        watch.on_trial_result(0, [], trial, {"trained": trained})
    watch.on_trial_complete(0, [], trial)
    watch.on_trial_complete(0, [], SimpleNamespace(last_result={}))  # it had nothing to report
    watch.on_trial_error(0, [], trial)

    assert told == ["epoch", ("0000-a", "baseline", 50.0), "0001-b failed"]
    assert pickle.loads(pickle.dumps(watch)).__dict__ == {}  # Tune pickles it, a terminal cannot be


def test_no_trials_need_no_ray():
    assert run_trials([], None, None, None) == Outcome(interrupted=False, errors={})
