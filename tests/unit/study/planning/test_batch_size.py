import dataclasses

import pytest

from proxy_attention.errors import ConfigError
from proxy_attention.files import read_json, write_json
from study.planning import batch_size
from study.planning.batch_size import DATA_FIELDS, STEPS, find_batch_size, largest_that_fits, step_budget_mb
from study.planning.prepare import Prepared
from study.planning.request import Request
from study.planning.resources import Machine, Resources
from study.planning.search import ways_to_train
from study.planning.step_memory import STEP_FIELDS, StepProcess
from study.planning.study_data import StudyData
from study.planning.study_file import parse_study
from study.run_folder import RunFolder

ONE_AT_A_TIME = Resources(cpus=1, gpus=0.0, concurrency=1, device="cpu")


@pytest.mark.parametrize("at_most", [1, 2, 3, 7, 8, 9, 100])
def test_the_largest_that_fits_is_found_wherever_it_lies(at_most):
    for true in range(at_most + 20):
        assert largest_that_fits(lambda size, true=true: size <= true, at_most=at_most) == min(true, at_most)


ASKED = {
    (0, 65_536): [1],
    (1, 65_536): [1, 2],
    (5, 65_536): [1, 2, 4, 8, 6, 5],
    (100, 65_536): [1, 2, 4, 8, 16, 32, 64, 128, 96, 112, 104, 100, 102, 101],
    (1000, 240): [1, 2, 4, 8, 16, 32, 64, 128, 240],
    (200, 240): [1, 2, 4, 8, 16, 32, 64, 128, 240, 184, 212, 198, 205, 201, 199, 200],
    (9, 1): [1],
}


@pytest.mark.parametrize(("case", "asked"), ASKED.items(), ids=str)
def test_sizes_are_doubled_and_then_bisected(case, asked):
    true, at_most = case
    seen = []

    largest_that_fits(lambda size: seen.append(size) or size <= true, at_most=at_most)

    assert seen == asked


@pytest.mark.parametrize("true", [0, 1, 2, 3, 1000, 4095, 4096, 65_535, 65_536, 10**6])
def test_no_size_is_asked_about_twice_and_there_is_an_end(true):
    seen = []

    largest_that_fits(lambda size: seen.append(size) or size <= true, at_most=65_536)

    assert len(set(seen)) == len(seen) <= 2 * 16 + 1


# ---- the memory that there is


@pytest.mark.parametrize(("at_once", "each"), [(1, 250), (2, 250), (4, 125), (16, 31.25)])
def test_trials_at_once_share_half_of_the_memory_and_none_has_more_than_a_quarter(at_once, each):
    assert step_budget_mb(dataclasses.replace(ONE_AT_A_TIME, concurrency=at_once), 1000.0, images_mb=70.0) == each


def test_a_gpu_holds_the_images_and_their_proxies_beside_a_step():
    gpu = Resources(cpus=1, gpus=1.0, concurrency=1, device="cuda")

    assert step_budget_mb(gpu, 1000.0, images_mb=70.0) == 760
    assert step_budget_mb(dataclasses.replace(gpu, gpus=0.5, concurrency=2), 1000.0, images_mb=70.0) == 310
    assert step_budget_mb(gpu, 1000.0, images_mb=5000.0) == 250  # they are streamed


# ---- one size for a study


@pytest.fixture
def auto(study_text):
    return study_text.replace("batch_size = 8", 'batch_size = "auto"').replace("seeds = [0, 1]", "seeds = [0]")


@pytest.fixture
def fitting(monkeypatch):
    """Let a batch fit that is no larger than its model's; returns the models that were asked about."""
    asked = []

    def fake(largest_of):
        def fits(self, step, size):
            asked.append(step.config.model)
            return size <= largest_of[step.config.model]

        monkeypatch.setattr(StepProcess, "fits", fits)
        monkeypatch.setattr(batch_size, "STEPS", 1)
        return asked

    return fake


@pytest.fixture
def found(image_folder, tmp_path):
    """Find the size for a study's text."""

    def run(text, *settings, resources=ONE_AT_A_TIME, **rest):
        study = parse_study(text, settings=settings)
        configs = ways_to_train(study, (*DATA_FIELDS, *STEP_FIELDS))
        return find_batch_size(
            configs, StudyData(image_folder), resources=resources, file=tmp_path / "sizes.json", **rest
        )

    return run


def test_a_study_whose_trials_name_their_own_size_asks_nothing(found, study_text, fitting):
    assert found(study_text) is None
    assert fitting({}) == []


def test_the_smallest_of_what_its_models_allow_is_that_of_all_trials(found, auto, fitting):
    fitting({"test_resnet": 9, "test_vit": 5, "resnet18": 20})
    models = 'model=["test_resnet", "test_vit"]'

    assert found(auto, models).size == 5
    assert found(auto).size == 9


def test_a_model_that_only_an_arm_has_counts_too_unless_the_arm_names_its_size(found, auto, fitting):
    fitting({"test_resnet": 9, "test_vit": 5})
    arm = auto + '[[arm]]\nname = "vit"\nmodel = "test_vit"\nschedule = "2"\n'

    assert found(arm).size == 5
    assert found(arm + "batch_size = 16\n").size == 9


def test_an_epoch_keeps_its_steps_whatever_would_fit(found, auto, fitting, monkeypatch):
    fitting({"test_resnet": 1000})
    monkeypatch.setattr(batch_size, "STEPS", STEPS)

    result = found(auto)

    assert (STEPS, result.size) == (10, 3)  # of 32 training images
    assert result.reason == "which leaves an epoch 10 steps: found now"
    assert found(auto, "train_fraction=[0.5, 1.0]").size == 1


def test_what_was_found_is_not_searched_again(found, auto, fitting):
    asked = fitting({"test_resnet": 9})
    assert found(auto).reason == "the largest that trains here: found now"
    asked.clear()

    assert found(auto).reason == "the largest that trains here: found before"
    assert (found(auto).size, asked) == (9, [])


CHANGES = ("image_size=48", "freeze_trunk=true", "augment=none", "precision=bf16", "threads=2", "model=test_vit")


@pytest.mark.parametrize("change", CHANGES)
def test_another_way_to_train_is_searched_for_itself(found, auto, fitting, change):
    asked = fitting({"test_resnet": 9, "test_vit": 9})
    found(auto)
    asked.clear()

    assert found(auto, change).reason.endswith("found now")
    assert asked


def test_another_budget_is_searched_for_itself(found, auto, fitting):
    fitting({"test_resnet": 9})
    found(auto)

    assert found(auto, resources=dataclasses.replace(ONE_AT_A_TIME, concurrency=4)).reason.endswith("found now")


def test_a_search_that_ended_at_its_bound_serves_only_where_there_is_no_more_to_find(found, auto, fitting):
    fitting({"test_resnet": 20})
    assert found(auto, "train_fraction=0.5").size == 16

    assert found(auto).size == 20
    again = found(auto, "train_fraction=0.5")
    assert (again.size, again.reason) == (16, "which leaves an epoch 1 steps: found before")


@pytest.mark.parametrize("damage", ["", "no JSON", "[]", '"text"', "null"])
def test_a_damaged_cache_is_as_if_it_were_not_there(found, auto, fitting, tmp_path, damage):
    fitting({"test_resnet": 9})
    (tmp_path / "sizes.json").write_text(damage)

    assert found(auto).reason.endswith("found now")
    assert found(auto).reason.endswith("found before")


@pytest.mark.parametrize("entry", [None, 9, [9], [9, 8], [0, 8], [-1, 8], [True, 8], [9.0, 32], ["9", 32], [9, 10**6]])
def test_an_entry_that_cannot_be_is_as_if_it_were_not_there(found, auto, fitting, tmp_path, entry):
    fitting({"test_resnet": 9})
    found(auto)
    (key,) = read_json(tmp_path / "sizes.json")
    write_json(tmp_path / "sizes.json", {key: entry, "other": 1})

    assert found(auto).reason.endswith("found now")
    assert read_json(tmp_path / "sizes.json") == {key: [9, 32], "other": 1}


def test_what_may_not_be_kept_is_not(found, auto, fitting, tmp_path):
    fitting({"test_resnet": 9})

    found(auto, keep=False)

    assert not (tmp_path / "sizes.json").exists()


def test_it_is_told_what_is_tried(found, auto, fitting):
    fitting({"test_resnet": 2})
    told = []

    found(auto, tell=told.append)

    assert told == [f"finding the batch size: test_resnet at 32 px with {n} images a step" for n in (1, 2, 4, 3)]


def test_a_model_that_does_not_train_with_one_image_is_refused_in_one_line(found, auto, fitting):
    fitting({"test_resnet": 0})

    with pytest.raises(
        ConfigError,
        match=r"^batch_size must leave a step room in memory; got 'auto', but test_resnet at 32 px does not train with "
        r"one image in the \d+ MB that a trial may take here$",
    ):
        found(auto)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[search]\nbatch_size = ["auto", 32]', r"\[search\]"),
        ('[[arm]]\nname = "all"\nbatch_size = "auto"', r"\[\[arm\]\] 'all'"),
    ],
)
def test_a_size_that_is_found_is_the_whole_studys(text, place):
    with pytest.raises(
        ConfigError, match=rf"^batch_size must be 'auto' for the whole study, in \[fixed\]; got it in {place}$"
    ):
        parse_study(text)


# ---- from plan to rows


def test_the_size_is_plain_in_every_trial_and_a_restore_takes_it_from_the_plan(prepared_run, auto, fitting, tmp_path):
    asked = fitting({"test_resnet": 9})
    run = tmp_path / "small" / "grid"
    first = prepared_run(run, auto)
    asked.clear()
    (tmp_path / ".cache" / "batch_sizes.json").unlink()

    again = Prepared.of(Request.of_run(run, command=""), Machine(cpus=2, gpus=0, total_cpus=2, total_gpus=0))

    assert {trial.config.batch_size for trial in first.plan.trials} == {9}
    assert RunFolder(run).read_plan().measured == {"batch_size": 9}
    assert asked == []
    assert again.plan == dataclasses.replace(first.plan, about=again.plan.about)
    assert again.batch_size.reason == "as planned"


@pytest.mark.parametrize("search", ["optuna", "random"])
def test_what_a_search_suggests_and_confirms_has_the_size_of_the_baseline(
    prepared_run, auto, fitting, tmp_path, search
):
    fitting({"test_resnet": 9})
    prepared = prepared_run(tmp_path / "small" / search, auto, search=search, suggestions=3, confirm=1)
    study = prepared.study

    suggested = prepared.planner.trial(7, "proxy", study.config({"schedule": "1,p", "threshold": 0.6}, 4))

    assert {prepared.example.batch_size, suggested.config.batch_size} == {9}
    assert {trial.config.batch_size for trial in prepared.plan.trials} <= {9}


def test_threads_are_measured_first_and_precision_with_the_size_that_was_found(
    prepared_run, auto, fitting, tmp_path, monkeypatch
):
    fitting({"test_resnet": 9})
    seen = []
    monkeypatch.setattr("study.planning.benchmark._train_together", lambda config: 1.0)
    monkeypatch.setattr(
        "study.planning.benchmark._images_per_second",
        lambda configs: seen.append((len(configs), configs[0].batch_size)) or 1.0,
    )
    monkeypatch.setattr(
        "study.planning.benchmark.fastest_precision", lambda config, device: seen.append(config.batch_size) or "bf16"
    )
    text = auto.replace('precision = "fp32"\nthreads = 1\n', "")

    prepared = prepared_run(tmp_path / "small" / "grid", text)

    assert seen == [(1, 32), (2, 32), 9]
    assert prepared.plan.measured == {
        "threads": 1,
        "batch_size": 9,
        "precision of test_resnet at 32 px in batches of 9": "bf16",
    }
