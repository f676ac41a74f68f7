"""No damage to a file of an interrupted study, its caches among them, changes what the study ends with."""

import random
import shutil

import pandas as pd
import pytest
from damage import flipped, flips, mutations
from driving import VOLATILE

from proxy_attention.checkpoints import newest_checkpoint, read_state
from proxy_attention.data.cache import CacheEntry
from proxy_attention.errors import ConfigError, DivergedError
from proxy_attention.files import load_json, write_json
from study import planned_images
from study.execution.runner import worker_settings
from study.execution.worker import run_planned
from study.planning.batch_size import _read_size, _write_size
from study.results import load_epochs, load_results
from study.run_folder import RunFolder

pytestmark = pytest.mark.slow

FLIPS = 500
KEY = "test_resnet at 32 px"


def run_shared(prepared, number, *, stop_after=None):
    """Run a planned trial as a worker of the study does, with its shared states and its cached images."""
    told = []

    def report(metrics):
        told.append(metrics)
        if len(told) == stop_after:
            raise KeyboardInterrupt

    planned_images._images.cache_clear()  # as a new worker would begin
    run_planned(prepared.plan.trials[number], worker_settings(prepared, known=prepared.plan.trials), report)


@pytest.fixture(scope="module")
def text(study_text):
    """The small study on one seed, with a longer trial; its fourth trial diverges."""
    text = (
        study_text.replace("seeds = [0, 1]", "seeds = [0]")
        .replace('"2", "1,p"', '"4", "1,p,2"')
        .replace('"1,p"', '"1,p,2"')
    )
    return text.replace("threshold = [0.3, 0.6]", "threshold = [0.3]").replace('mask = "random"', "lr = 1e30")


@pytest.fixture(scope="module")
def interrupted(prepared_run, text, tmp_path_factory):
    """A run whose baseline is complete, whose trial with proxies is interrupted, and whose control has failed."""
    prepared = prepared_run(tmp_path_factory.mktemp("storage") / "small" / "grid", text)
    run_shared(prepared, 0)
    with pytest.raises(KeyboardInterrupt):
        run_shared(prepared, 1, stop_after=2)
    with pytest.raises(DivergedError):
        run_shared(prepared, 2)
    _write_size(prepared.run.batch_sizes, KEY, 64, 128)
    return prepared.run


@pytest.fixture
def run(interrupted, tmp_path):
    """A copy of the run, with its storage's caches, that a test may damage."""
    shutil.copytree(interrupted.path.parent.parent, tmp_path / "storage")
    return RunFolder(tmp_path / "storage" / "small" / "grid")


def only(folder, pattern):
    found = sorted(folder.rglob(pattern))
    assert found, pattern
    return found[0]


def file_of(run, kind):
    trials = [run.trial(trial.trial_id) for trial in run.read_plan().trials]
    return {
        "plan": lambda: run.plan_file,
        "trial": lambda: trials[1].trial_file,
        "epochs": lambda: trials[1].epochs_file,
        "error": lambda: trials[2].error_file,
        "checkpoint": lambda: sorted((trials[1].path / "checkpoints").iterdir())[-1],
        "state": lambda: only(run.shared_states, "*.pt"),
        "pixels": lambda: only(run.caches, "*.u8"),
        "hash of the pixels": lambda: only(run.caches, "32px.json"),
        "unreadable images": lambda: only(run.caches, "checked.json"),
        "batch sizes": lambda: run.batch_sizes,
    }[kind]()


def same(one, two):
    return one.drop(columns="commit").equals(two.drop(columns="commit"))


@pytest.mark.parametrize("kind", ["plan", "trial", "epochs", "error"])
def test_of_500_flipped_bits_in_a_file_of_an_interrupted_run_none_gives_another_row(run, kind, caplog):
    rows, epochs = load_results(run.path), load_epochs(run.path)
    named = 0
    for _ in flips(file_of(run, kind), random.Random(kind), FLIPS):
        caplog.clear()
        try:
            found = load_results(run.path)
            records = load_epochs(run.path) if kind == "epochs" else epochs
        except ConfigError:
            named += 1
            continue
        accuracies = ["val_accuracy", "test_accuracy"]
        pd.testing.assert_frame_equal(found[accuracies], rows[accuracies])
        assert records.merge(epochs).shape == records.shape  # every epoch that is told is a true one
        named += "is damaged" in caplog.text or not same(found, rows)
    assert named or kind == "trial"


def test_of_500_flipped_bits_in_a_checkpoint_none_is_read(run):
    trial = run.read_plan().trials[1]
    file = file_of(run, "checkpoint")
    for path in file.parent.iterdir():
        if path != file:
            path.unlink()
    assert newest_checkpoint(file.parent, identity=trial.config_digest) is not None

    for bit in flips(file, random.Random("checkpoint"), FLIPS):
        assert newest_checkpoint(file.parent, identity=trial.config_digest) is None, bit


def test_of_500_flipped_bits_in_a_shared_state_none_is_read(run):
    file = file_of(run, "state")
    for bit in flips(file, random.Random("state"), FLIPS):
        assert read_state(file) is None, bit


@pytest.mark.parametrize("kind", ["pixels", "hash of the pixels", "unreadable images"])
def test_of_500_flipped_bits_in_the_image_cache_none_is_seen(run, kind):
    file = file_of(run, kind)
    entry = CacheEntry(file.parent, 100)
    count = file_of(run, "pixels").stat().st_size // (3 * 32 * 32)
    true = entry.array(count, 32).clone()
    for bit in flips(file, random.Random(kind), FLIPS):
        pixels = entry.array(count, 32)
        assert pixels is None or (kind != "pixels" and pixels.equal(true)), bit
        assert entry.unreadable() in (None, frozenset()), bit


def test_of_500_flipped_bits_in_the_batch_sizes_none_gives_another(run):
    for bit in flips(run.batch_sizes, random.Random("sizes"), FLIPS):
        assert _read_size(run.batch_sizes, KEY, 100) in (None, 64), bit


@pytest.mark.parametrize("kind", ["error", "hash of the pixels", "unreadable images", "batch sizes"])
def test_of_2000_changed_values_none_is_a_traceback(run, kind):
    """Files as someone wrote them who knows of checksums: each value may be anything."""
    file, draws = file_of(run, kind), random.Random(kind)
    whole, entry = load_json(file), CacheEntry(file.parent, 100)
    failed = run.trial(run.read_plan().trials[2].trial_id)
    for _ in range(2000):
        write_json(file, mutations(whole, draws))
        if kind == "error":
            assert failed.status()[0] in ("failed", "interrupted")
        elif kind == "batch sizes":
            assert _read_size(file, KEY, 100) in (None, *range(1, 101))
        else:
            entry.array(1, 32)
            entry.unreadable()


def test_a_run_with_a_flipped_bit_in_each_of_its_files_ends_as_one_without(
    run, interrupted, prepared_run, text, caplog
):
    whole = prepared_run(run.path.parent.parent / "whole" / "grid", text, without=("cache", "sharing"))
    for number in (0, 1):
        run_shared(whole, number)
    for kind in ("epochs", "trial", "error", "checkpoint", "pixels", "batch sizes"):
        content = file_of(run, kind).read_bytes()
        file_of(run, kind).write_bytes(flipped(content, len(content) * 4))
    for state in run.shared_states.glob("*.pt"):
        state.write_bytes(flipped(state.read_bytes(), 8_000))
    report = run.trial(run.read_plan().trials[0].trial_id).report_file
    report.write_bytes(flipped(report.read_bytes(), 800))

    prepared = prepared_run(run.path, text, write=False)
    for number in (0, 1):
        run_shared(prepared, number)

    assert "is damaged" in caplog.text
    assert "is not what was written: it is made again" in caplog.text
    one, two = (load_results(each.path)[:2].drop(columns=VOLATILE) for each in (run, whole.run))
    pd.testing.assert_frame_equal(one, two)
    for trial in prepared.plan.trials[:2]:
        one, two = (each.trial(trial.trial_id).weights_file for each in (run, whole.run))
        assert one.read_bytes() == two.read_bytes()
