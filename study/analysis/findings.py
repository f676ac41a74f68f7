"""Rows, pairs and claims of a run, read and computed once; the terminal and the report render the same object."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from proxy_attention.config import LEAKING
from study.analysis.claims import Claim, claims
from study.analysis.pairs import with_baselines
from study.plan import BASELINE, PROXY, Plan
from study.results import load_epochs, load_results, with_weights_named
from study.run_folder import COMPLETE, RunFolder


@dataclass(frozen=True)
class Run:
    """What a run's files say, read once.

    Attributes:
        rows: one a planned trial, with its differences; weights as they may be told.
        scope: the complete rows that may be compared: of a search, without the seed on which it chose.
        reports: report.json of the complete trials.
        answers: the claims, the primary first.
    """

    folder: Path
    plan: Plan
    rows: pd.DataFrame
    scope: pd.DataFrame
    epochs: pd.DataFrame
    reports: dict[str, dict[str, Any]]
    answers: list[Claim]

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Raises: ConfigError if there is no run."""
        run = RunFolder(folder)
        plan = run.read_plan()
        rows = with_baselines(with_weights_named(load_results(folder)))
        chosen_on = None if plan.search == "grid" else plan.seeds[0]
        done, scope = rows[rows["status"] == COMPLETE], comparable(rows, chosen_on=chosen_on)
        epochs = load_epochs(folder)
        return cls(
            folder=folder,
            plan=plan,
            rows=rows,
            scope=scope,
            epochs=epochs[epochs["trial_id"].isin(scope["trial_id"])],
            reports={name: run.trial(name).report() or {} for name in done["trial_id"]},
            answers=claims(rows, chosen_on=chosen_on),
        )

    @property
    def arms(self) -> list[str]:
        """The arms of the scope: the baseline, the proxies, the others by name."""
        found = set(self.scope["arm"])
        return [*(arm for arm in (BASELINE, PROXY) if arm in found), *sorted(found - {BASELINE, PROXY})]

    @property
    def leaking(self) -> list[str]:
        """The arms in which a trial trains on validation images."""
        return sorted({str(arm) for arm in self.rows["arm"][self.rows["split"].isin(LEAKING)]})

    def marked(self, arm: str) -> str:
        """The arm's name where its val is shown."""
        return f"{arm} (LEAKING)" if arm in self.leaking else arm


def comparable(rows: pd.DataFrame, *, chosen_on: int | None) -> pd.DataFrame:
    """The complete rows that may be compared: without the seed on which a search chose, where there are others."""
    done = rows[rows["status"] == COMPLETE]
    others = done[done["seed"] != chosen_on] if chosen_on is not None else done
    return others if len(others) else done
