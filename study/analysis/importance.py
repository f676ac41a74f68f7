"""Compute the importance of each searched field from the trials in optuna.db; writes nothing, knows no Ray."""

import logging
import math
from pathlib import Path
from typing import Any

from study.foreign_text import sqlite_url
from study.plan import Plan
from study.run_folder import RunFolder

FEWEST_TRIALS = 4
log = logging.getLogger(__name__)


def importances(run: Path, plan: Plan) -> tuple[dict[str, float], int]:
    """Return the importance of each searched field for val accuracy, the largest first, and the number of trials used.

    Only trials with proxies are used: the baseline has no proxy fields. The result is ({}, 0) where no search ran,
    where its trials are too few or all alike, and where optuna.db cannot be read, which the log then says.

    Source: fANOVA; Hutter et al., An Efficient Approach for Assessing Hyperparameter Importance, ICML 2014.
    """
    file = RunFolder(run).optuna_db
    if plan.search != "optuna" or not file.is_file() or file.is_symlink():
        return {}, 0
    import optuna  # here: only the report of a search needs it, and it takes a second
    from sqlalchemy.exc import SQLAlchemyError

    try:
        storage = optuna.storages.RDBStorage(sqlite_url(file, read_only=True), skip_table_creation=True)
    except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as error:
        log.warning("%s cannot be read: %s", file, " ".join(str(error).split())[:200])
        return {}, 0
    try:
        study = optuna.load_study(study_name=plan.name, storage=storage)
        done = [trial for trial in study.get_trials(deepcopy=False) if _is_used(trial)]
        most = max((len(trial.params) for trial in done), default=0)
        done = [trial for trial in done if len(trial.params) == most]
        varying = [name for name in (done[0].params if done else ()) if len({t.params[name] for t in done}) > 1]
        if len(done) < FEWEST_TRIALS or not varying or len({trial.value for trial in done}) < 2:
            return {}, 0
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return optuna.importance.get_param_importances(study, evaluator=evaluator, params=varying), len(done)
    except (SQLAlchemyError, optuna.exceptions.OptunaError, KeyError, ValueError, RuntimeError) as error:
        log.warning("%s says nothing of importance: %s", file, " ".join(str(error).split())[:200])
        return {}, 0
    finally:
        storage.engine.dispose()


def _is_used(trial: Any) -> bool:
    return trial.state.name == "COMPLETE" and trial.value is not None and math.isfinite(trial.value)
