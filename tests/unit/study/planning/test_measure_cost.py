import pytest

from study.planning.measure_cost import progress_of, trial_costs, with_cost


def test_the_cost_of_a_run_is_measured(prepared_run, tmp_path):
    cost = with_cost(prepared_run(tmp_path / "run", write=False)).cost

    assert 0 < cost.speed.pass_seconds < cost.speed.train_seconds < 1
    assert (cost.train_images, cost.val_images, cost.test_images, cost.concurrency) == (32, 8, 16, 2)
    assert cost.images_mb == pytest.approx(56 * 3 * 32**2 / 2**20)
    assert cost.work.trials == 8


def test_what_the_files_of_a_trial_hold_is_no_longer_left(prepared_run, broken_run, study_text):
    text = (broken_run / "study.toml").read_text()

    costs = trial_costs(prepared_run(broken_run, text, write=False))

    assert [(cost.complete, cost.epochs_done) for cost in costs] == [(True, 2), (False, 1), (False, 0), (False, 0)]


@pytest.mark.parametrize("search", ["optuna", "random"])
def test_what_a_search_has_not_suggested_yet_is_drawn(prepared_run, tmp_path, search):
    prepared = prepared_run(tmp_path / "run", write=False, search=search, suggestions=5, confirm=1)

    costs = trial_costs(prepared)

    assert len(costs) == prepared.trial_count == 8
    assert [bool(cost.trial_id) for cost in costs] == [search == "random"] * 5 + [False] * 3


def test_without_a_cost_nothing_is_expected(prepared_run, tmp_path):
    expected = progress_of(prepared_run(tmp_path / "run", write=False))

    assert (expected.epochs, expected.extra_epochs) == (0, {})
