import dataclasses

import optuna
import pytest
from written_runs import write_run

from study.analysis.importance import importances
from study.foreign_text import sqlite_url
from study.run_folder import RunFolder


@pytest.fixture
def plan(tmp_path):
    """The plan of a search by optuna, without a trial."""
    return RunFolder(write_run(tmp_path / "small" / "optuna", search="optuna")).read_plan()


@pytest.fixture
def searched(plan, tmp_path):
    """Make a run's optuna.db of as many trials, the first a baseline; threshold decides the value, weight does not."""

    def make(trials):
        run = tmp_path / "a b%2Fc?d=e#f ü"  # a path is no address
        run.mkdir()
        storage = optuna.storages.RDBStorage(sqlite_url(RunFolder(run).optuna_db))
        study = optuna.create_study(storage=storage, study_name="small", direction="maximize")
        schedule = optuna.distributions.CategoricalDistribution(["2", "1,p"])
        unit = optuna.distributions.FloatDistribution(0, 1)
        study.add_trial(
            optuna.trial.create_trial(params={"schedule": "2"}, distributions={"schedule": schedule}, value=99.0)
        )
        for number in range(trials):
            threshold, weight = number / trials, (number * 7 % trials) / trials
            study.add_trial(
                optuna.trial.create_trial(
                    params={"schedule": "1,p", "threshold": threshold, "weight": weight},
                    distributions={"schedule": schedule, "threshold": unit, "weight": unit},
                    value=80 + 10 * threshold,
                )
            )
        storage.engine.dispose()
        return run, plan

    return make


def test_the_importance_of_a_search_is_of_its_trials_with_proxies_and_the_same_every_time(searched):
    run, plan = searched(16)

    values, count = importances(run, plan)

    assert list(values) == ["threshold", "weight"]  # the schedule is the same in all of them
    assert values["threshold"] > 0.8
    assert sum(values.values()) == pytest.approx(1)
    assert count == 16
    assert importances(run, plan) == (values, count)


def test_a_few_trials_say_nothing_of_importance(searched):
    assert importances(*searched(3)) == ({}, 0)


def test_a_damaged_optuna_db_says_nothing_of_importance_and_is_named(plan, tmp_path, caplog):
    (tmp_path / "optuna.db").write_bytes(b"no database" * 100)

    assert importances(tmp_path, plan) == ({}, 0)
    assert "optuna.db" in caplog.text


def test_a_grid_has_no_importance(searched):
    run, plan = searched(1)

    assert importances(run, dataclasses.replace(plan, search="grid")) == ({}, 0)
