"""What the rows say: estimates and claims over the pairs of pairing.py, by seed; draws no figure."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from proxy_attention.config import LEAKING
from study.analysis.estimates import Estimate, estimate, holm
from study.analysis.grouping import _levels
from study.analysis.pairs import (
    ACCURACIES,
    DIFFERENCES,
    SETTING,
    TRAINING,
    contrasts,
    controls,
    difference,
    level_name,
    sides,
    twins,
)
from study.plan import PROXY
from study.run_folder import COMPLETE

ENOUGH_SEEDS = 5
ALPHA = 0.05
PRIMARY, SECONDARY, FURTHER, LEVEL = "primary", "secondary", "further", "level"
"""What a claim is: asked in advance; chosen on val and read on test; everything else, of which level by level."""


@dataclass(frozen=True)
class Claim:
    """A difference in accuracy between two things that were trained as pairs, in percentage points.

    Attributes:
        role: PRIMARY, SECONDARY, FURTHER or LEVEL.
        adjusted: p on test after Holm, over all claims but the primary and the secondary; NaN where there is none.
        factor, level: of which factor's level a LEVEL claim is.
        setting: the fields of the setting that a SECONDARY claim is of, those that vary.
        leaking: whether a trial in it trains on validation images, so that ``val`` says nothing.
        question: what it answers, where that is told in a sentence.
        control: the arm that attention is set against; empty where that is not what is asked.
    """

    text: str
    seeds: tuple[int, ...]
    val: Estimate
    test: Estimate
    role: str = FURTHER
    adjusted: float = math.nan
    factor: str = ""
    level: str = ""
    setting: tuple[tuple[str, str], ...] = ()
    leaking: bool = False
    question: str = ""
    control: str = ""

    @property
    def verdict(self) -> str:
        """What may be said: nothing at all under five seeds."""
        if len(self.seeds) < ENOUGH_SEEDS:
            return f"{len(self.seeds)} seed{'s' * (len(self.seeds) != 1)}: too few to tell"
        if not (self.test.low > 0 or self.test.high < 0):
            return "no difference shown"
        if self.adjusted >= ALPHA:
            return "no difference shown (Holm)"
        return "higher" if self.test.low > 0 else "lower"


def claims(frame: pd.DataFrame, *, chosen_on: int | None = None, planned: pd.DataFrame | None = None) -> list[Claim]:
    """The study's answers: the primary, the secondary, and the rest with p adjusted.

    The rest are each arm against its twin without proxies, the contrasts of pairing.py (rivals, proxies alone, both,
    and what proxies add to a rival), attention against chance, and each level of each factor that varies. The same
    pairs of trials are claimed once.

    Args:
        frame: as ``with_baselines`` gives it.
        chosen_on: the seed on which a search chose its settings. It is left out: the chosen look good there by choice.
        planned: every planned row, which tells the baseline of an arm; ``frame`` itself if nothing was left out of it.
    """
    everything = frame[frame["status"] == COMPLETE].drop_duplicates(["config_digest", "arm"])
    done = everything if chosen_on is None else everything[everything["seed"] != chosen_on]
    settings = done[done["test_difference"].notna() & (done["arm"] == PROXY)]
    proxies = "proxies" if chosen_on is None else "chosen proxies"
    named = [_by_seed(settings, f"{proxies} - baseline", role=PRIMARY), *_secondary(settings, everything, chosen_on)]
    rest = [*_of_arms(frame if planned is None else planned, done, proxies), *_by_level(settings)]
    adjusted = holm([claim.test.p for claim in rest])
    rest = [dataclasses.replace(claim, adjusted=p) for claim, p in zip(rest, adjusted, strict=True)]
    return [*(claim for claim in named if claim.seeds), *rest]


def _of_arms(planned: pd.DataFrame, done: pd.DataFrame, proxies: str) -> Iterator[Claim]:
    """The claims that are of arms, each set of pairs once."""
    order = {side.name: place for place, side in enumerate(sides(planned))}
    found = [*twins(planned, done, proxies=proxies), *contrasts(planned, done, proxies=proxies)]
    found.sort(key=lambda contrast: order[contrast.side])
    seen: set[frozenset[str]] = set()
    for contrast in [*found, *controls(done)]:
        pairs = frozenset(contrast.pairs["pair"])
        if pairs and pairs not in seen:
            claim = _by_seed(contrast.pairs, contrast.text)
            yield dataclasses.replace(claim, question=contrast.question, control=contrast.control)
        seen.add(pairs)


def _secondary(settings: pd.DataFrame, everything: pd.DataFrame, chosen_on: int | None) -> Iterator[Claim]:
    """The setting that is best on val, against its baseline; none where there is no choice.

    Val is the mean over the seeds; of a search, that of the seed on which it chose. Only settings that are complete on
    all seeds may be chosen: another seed is another val. An audit, whose val was trained on, may not.
    """
    settings = settings[~settings["split"].isin(LEAKING)]
    if settings.empty:
        return
    key = settings[SETTING].astype(str).agg("|".join, axis=1)
    counts = key.value_counts()
    candidates = set(counts.index[counts == counts.max()])
    judged = everything[everything["arm"] == PROXY]
    if chosen_on is not None:
        judged = judged[judged["seed"] == chosen_on]
    judged = judged.assign(key=judged[SETTING].astype(str).agg("|".join, axis=1))
    judged = judged[judged["key"].isin(candidates)]
    if judged["key"].nunique() < 2:
        return
    best = judged.groupby("key", sort=False)["val_accuracy"].mean().idxmax()
    rows = settings[key == best]
    varying = [name for name in SETTING if judged[name].nunique() > 1]
    setting = tuple((name, _text(rows[name].iloc[0])) for name in varying)
    yield dataclasses.replace(_by_seed(rows, "best on val - baseline", role=SECONDARY), setting=setting)


def _by_level(settings: pd.DataFrame) -> Iterator[Claim]:
    """Each level of each factor that varies, over the search's settings, against the baselines."""
    for factor in SETTING:
        if settings[factor].nunique() < 2:
            continue
        levels = _levels(settings[factor])
        for level, rows in settings.groupby(levels, sort=True, observed=True):
            name = level_name(factor, level)  # a level of the training has a baseline of its own
            text = f"{name} + proxies - {name}" if factor in TRAINING else f"{name} - baseline"
            claim = _by_seed(rows, text, role=LEVEL)
            yield dataclasses.replace(claim, factor=factor, level=_text(level))


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _by_seed(paired: pd.DataFrame, text: str, *, role: str = FURTHER) -> Claim:
    """The mean difference of each seed, and its estimate over the seeds."""
    means = paired.groupby("seed")[DIFFERENCES].mean()
    val, test = (estimate([float(v) for v in means[difference(accuracy)]]) for accuracy in ACCURACIES)
    seeds = tuple(int(seed) for seed in means.index)
    return Claim(text, seeds, val, test, role=role, leaking=not LEAKING.isdisjoint(paired["split"]))
