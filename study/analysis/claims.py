"""Make the claims of a study: differences in accuracy over pairs of trials, by seed, each with its verdict."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from proxy_attention.config import LEAKING
from study.analysis.arms import arms_of, level_name
from study.analysis.contrasts import control_contrasts, counterpart_contrasts, rival_contrasts, training_contrasts
from study.analysis.estimates import Estimate, estimate, holm
from study.analysis.grouping import levels_of
from study.analysis.pairs import ACCURACIES, DIFFERENCES, SETTING, TRAINING, difference
from study.plan import PROXY
from study.run_folder import COMPLETE

ENOUGH_SEEDS = 5
ALPHA = 0.05
PRIMARY, SECONDARY, FURTHER, LEVEL = "primary", "secondary", "further", "level"
"""Roles of claims: asked in advance; of the setting chosen on val; of other arms; of one level of a factor."""


@dataclass(frozen=True)
class Claim:
    """A difference in accuracy over pairs of trials, in percentage points.

    Attributes:
        text: the difference in words, as in ``proxies - baseline``.
        seeds: the seeds that have a pair; ``val`` and ``test`` are estimated over them.
        role: PRIMARY, SECONDARY, FURTHER or LEVEL.
        adjusted: p on test after Holm, over all claims but the primary and the secondary; NaN where there is none.
        factor, level: the level that a LEVEL claim is about, and its factor.
        setting: names and values of the varying fields, of the setting that a SECONDARY claim is about.
        leaking: whether a trial in it trains on validation images, so that ``val`` says nothing.
        question: the question that it answers, where the report asks it in a sentence.
        control: the arm with another mask that attention is compared with; empty for every other claim.
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
        """What the difference on test shows; with fewer than five seeds, that they are too few."""
        if len(self.seeds) < ENOUGH_SEEDS:
            return f"{len(self.seeds)} seed{'s' * (len(self.seeds) != 1)}: too few to tell"
        if not (self.test.low > 0 or self.test.high < 0):
            return "no difference shown"
        if self.adjusted >= ALPHA:
            return "no difference shown (Holm)"
        return "higher" if self.test.low > 0 else "lower"


def claims(frame: pd.DataFrame, *, chosen_on: int | None = None, planned: pd.DataFrame | None = None) -> list[Claim]:
    """Make the study's claims: the primary, the secondary, then the rest with p adjusted by Holm.

    The rest are the contrasts of contrasts.py (each arm with the same training without proxies; rivals, proxies alone,
    both, and what proxies add to a rival; attention with chance, an arm with its control), and each level of each
    factor that varies. The same pairs of trials are claimed once.

    Args:
        frame: the rows to compare, as ``with_baselines`` gives them.
        chosen_on: the seed on which a search chose its settings. It is left out: there they are the best by choice.
        planned: every planned row, from which the baseline of an arm is found; default: ``frame``.
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
    """Claim the contrasts between arms, in the order of the arms, each set of pairs once."""
    arms = arms_of(planned)
    order = {arm.name: place for place, arm in enumerate(arms)}
    contrasts = [
        *counterpart_contrasts(arms, done, proxies=proxies),
        *training_contrasts(arms, done, proxies=proxies),
    ]
    contrasts.sort(key=lambda contrast: order[contrast.arm])
    claimed: set[frozenset[str]] = set()
    for contrast in [*contrasts, *control_contrasts(done), *rival_contrasts(done, proxies=proxies)]:
        pairs = frozenset(contrast.pairs["pair"])
        if pairs and pairs not in claimed:
            claim = _by_seed(contrast.pairs, contrast.text)
            yield dataclasses.replace(claim, question=contrast.question, control=contrast.control)
        claimed.add(pairs)


def _secondary(settings: pd.DataFrame, everything: pd.DataFrame, chosen_on: int | None) -> Iterator[Claim]:
    """Claim the setting that is best on val, against its baseline; nothing where there is no choice.

    Val is the mean over the seeds; in a search, the val of the seed on which it chose. Only settings that are complete
    on all seeds may be chosen: another seed has another val. An audit may not, since its val was trained on.
    """
    settings = settings[~settings["split"].isin(LEAKING)]
    if settings.empty:
        return
    key = settings[SETTING].astype(str).agg("|".join, axis=1)
    counts = key.value_counts()
    candidates = set(counts.index[counts == counts.max()])
    tried = everything[everything["arm"] == PROXY]
    if chosen_on is not None:
        tried = tried[tried["seed"] == chosen_on]
    if tried.empty:
        return
    tried = tried.assign(key=tried[SETTING].astype(str).agg("|".join, axis=1))
    tried = tried[tried["key"].isin(candidates)]
    if tried["key"].nunique() < 2:
        return
    best = tried.groupby("key", sort=False)["val_accuracy"].mean().idxmax()
    rows = settings[key == best]
    varying = [name for name in SETTING if tried[name].nunique() > 1]
    setting = tuple((name, _text(rows[name].iloc[0])) for name in varying)
    yield dataclasses.replace(_by_seed(rows, "best on val - baseline", role=SECONDARY), setting=setting)


def _by_level(settings: pd.DataFrame) -> Iterator[Claim]:
    """Claim each level of each factor that varies, over the search's settings, against the baselines."""
    for factor in SETTING:
        if settings[factor].nunique() < 2:
            continue
        levels = levels_of(settings[factor])
        for level, rows in settings.groupby(levels, sort=True, observed=True):
            name = level_name(factor, level)  # a level of the training has a baseline of its own
            text = f"{name} + proxies - {name}" if factor in TRAINING else f"{name} - baseline"
            claim = _by_seed(rows, text, role=LEVEL)
            yield dataclasses.replace(claim, factor=factor, level=_text(level))


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _by_seed(paired: pd.DataFrame, text: str, *, role: str = FURTHER) -> Claim:
    """Claim a difference, estimated over the seeds from the mean of each seed."""
    means = paired.groupby("seed")[DIFFERENCES].mean()
    val, test = (estimate([float(v) for v in means[difference(accuracy)]]) for accuracy in ACCURACIES)
    seeds = tuple(int(seed) for seed in means.index)
    return Claim(text, seeds, val, test, role=role, leaking=not LEAKING.isdisjoint(paired["split"]))
