"""What the rows say: estimates and claims over the pairs of pairing.py, by seed; draws no figure."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from proxy_attention.config import LEAKING, PROXY_FIELDS
from proxy_attention.errors import ConfigError, unknown
from study.pairing import (
    ACCURACIES,
    DIFFERENCES,
    MOST_LEVELS,
    SETTING,
    TRAINING,
    contrasts,
    controls,
    difference,
    level_name,
    sides,
    twins,
)
from study.plan import BASELINE, PROXY
from study.results import COMPLETE

ENOUGH_SEEDS = 5
ALPHA = 0.05
PRIMARY, SECONDARY, FURTHER, LEVEL = "primary", "secondary", "further", "level"
"""What a claim is: asked in advance; chosen on val and read on test; everything else, of which level by level."""

FACTORS = [*TRAINING, "schedule", *PROXY_FIELDS, "arm"]
"""What a table may be made by, in this order, where it varies."""


@dataclass(frozen=True)
class Estimate:
    """A mean with everything that it takes to believe it.

    Attributes:
        values: what was averaged, one a seed or one a trial.
        sd: sample standard deviation; NaN for fewer than two.
        low, high: 95 % confidence interval of the mean (Student's t); NaN for fewer than two.
    """

    values: tuple[float, ...]
    mean: float
    sd: float
    low: float
    high: float

    @property
    def n(self) -> int:
        """How many were averaged."""
        return len(self.values)

    @property
    def p(self) -> float:
        """Two-sided p of a mean of zero: the paired t test, where the values are differences.

        NaN for fewer than two values, and for values that do not vary, of which t knows nothing.
        """
        if self.n < 2 or self.sd <= 1e-9 * max(map(abs, self.values)):
            return math.nan
        return float(stats.ttest_1samp(self.values, 0.0).pvalue)


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


def estimate(values: Iterable[float]) -> Estimate:
    """Mean, sample standard deviation and 95 % interval."""
    series = [float(value) for value in values if not math.isnan(value)]
    n = len(series)
    if not n:
        return Estimate((), math.nan, math.nan, math.nan, math.nan)
    mean = sum(series) / n
    if n < 2:
        return Estimate(tuple(series), mean, math.nan, math.nan, math.nan)
    sd = math.sqrt(sum((value - mean) ** 2 for value in series) / (n - 1))
    half = float(stats.t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
    return Estimate(tuple(series), mean, sd, mean - half, mean + half)


def group(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """One row a group: n, mean and sample standard deviation of both accuracies, paired differences to the baseline.

    Trials with one digest count once: a search may suggest a setting twice, and it would be the same number twice.

    Args:
        frame: as ``with_baselines`` gives it.
        columns: what to group by; rows in which one of them is missing are left out.
    Raises: ConfigError for a column that is not there.
    """
    for column in columns:
        if column not in frame.columns:
            raise unknown("--group-by", column, [str(name) for name in frame.columns])
    done = frame[frame["status"] == COMPLETE].drop_duplicates(["config_digest", "arm"])
    rows = []
    for key, part in done.groupby(list(columns), sort=True, dropna=True, observed=True):
        row = dict(zip(columns, key if isinstance(key, tuple) else (key,), strict=True))
        row["n"] = len(part)
        for accuracy in ACCURACIES:
            name = accuracy.split("_")[0]
            overall, paired = estimate(part[accuracy]), estimate(part[difference(accuracy)])
            row |= {f"{name}_mean": overall.mean, f"{name}_sd": overall.sd, f"{name}_difference": paired.mean}
            row |= {f"{name}_difference_sd": paired.sd, "pairs": paired.n}
        rows.append(row)
    tail = [f"{n}_{m}" for n in ("val", "test") for m in ("mean", "sd", "difference", "difference_sd")]
    return pd.DataFrame(rows, columns=[*columns, "n", "pairs", *tail])


def tables(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A table for every factor that varies, and always one by arm; proxy factors over the search's settings only."""
    found = {}
    for factor in FACTORS:
        if factor == "arm":
            found[factor] = group(frame, ["arm"])
            continue
        named = factor in PROXY_FIELDS
        rows = frame[frame["arm"] == PROXY] if named else frame[frame["arm"].isin([BASELINE, PROXY])]
        if rows[factor].nunique() < 2:
            continue
        rows = rows.assign(**{factor: _levels(rows[factor])}) if named else rows
        found[factor] = group(rows, [factor] if named or factor == "schedule" else [factor, "arm"])
    return found


def _levels(values: pd.Series) -> pd.Series:
    """The values as they are; by quarters where a range was searched: a row a draw would say nothing."""
    if values.nunique() <= MOST_LEVELS or not pd.api.types.is_numeric_dtype(values.infer_objects()):
        return values
    return pd.qcut(values.astype(float), 4, precision=2, duplicates="drop")


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


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number; NaN stays NaN and is not counted.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scand. J. Statist. 6 (1979).
    """
    order = sorted((i for i, p in enumerate(values) if not math.isnan(p)), key=lambda i: values[i])
    adjusted, highest = [math.nan] * len(values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * values[i]))
        adjusted[i] = highest
    return adjusted


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


def query(frame: pd.DataFrame, expression: str) -> pd.DataFrame:
    """The rows for which a pandas query holds.

    Raises: ConfigError if pandas cannot evaluate it, or it is not true or false of each row.
    """
    try:
        holds = frame.eval(expression)  # as DataFrame.query does, which would take numbers for row labels
        if not (isinstance(holds, pd.Series) and pd.api.types.is_bool_dtype(holds)):
            raise TypeError("it is not true or false of each row")
        return frame[holds]
    except Exception as error:  # pandas hands on whatever its parser and the expression raise
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"--query must be a pandas query over the columns; got {expression!r}: {reason}") from error
