"""Read a run and compute its findings once, for the terminal and the report; prints and draws nothing."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from proxy_attention.config import LEAKING
from study.analysis.arm_statistics import (
    ArmStatistics,
    ExplanationStatistics,
    arm_statistics,
    explanation_statistics,
)
from study.analysis.claims import Claim, claims
from study.analysis.grouping import tables
from study.analysis.pairs import with_baselines
from study.analysis.query import query
from study.plan import BASELINE, PROXY, Plan
from study.results import load_epochs, load_results, with_weights_named
from study.run_folder import COMPLETE, RunFolder


@dataclass(frozen=True)
class Findings:
    """Rows, statistics and claims of a run, read and computed once.

    Attributes:
        results: the rows of ``load_results``.
        rows: ``results`` with their differences to the baselines, and weights files named
            without this machine's folders.
        selected: the rows for which the query holds; every row without a query.
        scope: the complete rows of ``selected`` that may be compared: without the seed on which a search chose.
        all_epochs: the rows of ``load_epochs``.
        arms: statistics of each arm over the scope.
        explanations: measures of each arm's explanations over the scope; empty where none was evaluated.
        claims: the claims over ``selected``, the primary first.
        tables: ``selected`` by each factor that varies, and by arm.
    """

    run: RunFolder
    plan: Plan
    results: pd.DataFrame
    rows: pd.DataFrame
    selected: pd.DataFrame
    scope: pd.DataFrame
    all_epochs: pd.DataFrame
    arms: list[ArmStatistics]
    explanations: list[ExplanationStatistics]
    claims: list[Claim]
    tables: dict[str, pd.DataFrame]

    @classmethod
    def of(cls, folder: Path, *, expression: str | None = None, results: pd.DataFrame | None = None) -> "Findings":
        """Read a run and compute its findings.

        Args:
            expression: a pandas query; rows for which it does not hold are in no table and no claim, but an arm keeps
                the baseline that it was planned with.
            results: what ``load_results`` gave, where it was read before.
        Raises: ConfigError if there is no run, or for a query that pandas cannot evaluate.
        """
        run = RunFolder(folder)
        results = load_results(folder) if results is None else results
        return cls._compute(run, run.read_plan(), results, load_epochs(folder), expression)

    def of_all_rows(self) -> "Findings":
        """Return the findings of every row, without the query; nothing is read again."""
        whole = len(self.selected) == len(self.rows)
        return self if whole else self._compute(self.run, self.plan, self.results, self.all_epochs, None)

    @classmethod
    def _compute(
        cls, run: RunFolder, plan: Plan, results: pd.DataFrame, epochs: pd.DataFrame, expression: str | None
    ) -> "Findings":
        paired = with_baselines(results)
        rows = with_weights_named(paired)
        # a query is about the values of results.csv, where weights are whole paths
        selected = rows if expression is None else rows.loc[query(paired, expression).index]
        chosen_on = None if plan.search == "grid" else plan.seeds[0]
        scope = comparable(selected, chosen_on=chosen_on)
        return cls(
            run=run,
            plan=plan,
            results=results,
            rows=rows,
            selected=selected,
            scope=scope,
            all_epochs=epochs,
            arms=arm_statistics(rows, scope),
            explanations=explanation_statistics(rows, scope),
            claims=claims(selected, chosen_on=chosen_on, planned=rows),
            tables=tables(selected),
        )

    @cached_property
    def reports(self) -> dict[str, dict[str, Any]]:
        """report.json of the complete trials, by trial_id; read when it is first asked for, by pictures."""
        done = self.rows["trial_id"][self.rows["status"] == COMPLETE]
        return {name: self.run.trial(name).report() or {} for name in done}

    @property
    def epochs(self) -> pd.DataFrame:
        """The epochs of the selected trials."""
        return self._epochs_of(self.selected)

    @property
    def scope_epochs(self) -> pd.DataFrame:
        """The epochs of the trials in the scope."""
        return self._epochs_of(self.scope)

    def _epochs_of(self, rows: pd.DataFrame) -> pd.DataFrame:
        return self.all_epochs[self.all_epochs["trial_id"].isin(rows["trial_id"])]

    @property
    def arm_names(self) -> list[str]:
        """The arms of the scope: the baseline, the proxies, the others by name."""
        found = set(self.scope["arm"])
        return [*(arm for arm in (BASELINE, PROXY) if arm in found), *sorted(found - {BASELINE, PROXY})]

    @property
    def leaking(self) -> list[str]:
        """The arms in which a trial trains on validation images."""
        return sorted({str(arm) for arm in self.rows["arm"][self.rows["split"].isin(LEAKING)]})

    @property
    def why_no_claims(self) -> str:
        """Say why complete trials are compared in no claim; empty where there is a claim, or no complete trial."""
        done = self.selected[self.selected["status"] == COMPLETE]
        if self.claims or done.empty:
            return ""
        if self.plan.search != "grid" and set(done["seed"]) == {self.plan.seeds[0]}:
            return (
                f"nothing to compare: on seed {self.plan.seeds[0]} the settings were chosen, so they look better there "
                "than they are; --extend with more --seeds compares them"
            )
        return "nothing to compare: no trial has its baseline"

    def marked(self, arm: str) -> str:
        """Return the arm's name, marked where its val says nothing."""
        return f"{arm} (LEAKING)" if arm in self.leaking else arm


def comparable(rows: pd.DataFrame, *, chosen_on: int | None) -> pd.DataFrame:
    """Select the complete rows that may be compared.

    Args:
        chosen_on: the seed on which a search chose its settings. Its rows are left out, if there are others.
    """
    done = rows[rows["status"] == COMPLETE]
    others = done[done["seed"] != chosen_on] if chosen_on is not None else done
    return others if len(others) else done
