"""What the rows say: each trial against its own baseline, paired by seed and split; draws no figure."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from proxy_attention.config import PROXY_FIELDS, TrialConfig
from proxy_attention.errors import ConfigError, unknown
from study.plan import BASELINE, PROXY
from study.results import COMPLETE

ENOUGH_SEEDS = 5
MOST_LEVELS = 8
ACCURACIES = ("val_accuracy", "test_accuracy")
FACTORS = ("dataset", "model", "schedule", "threshold", "weight", "subset", "arm")
_OTHER = [f.name for f in dataclasses.fields(TrialConfig) if f.name not in (*PROXY_FIELDS, "schedule")]


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


@dataclass(frozen=True)
class Claim:
    """A difference in accuracy between two things that were trained as pairs, in percentage points."""

    text: str
    seeds: tuple[int, ...]
    val: Estimate
    test: Estimate

    @property
    def verdict(self) -> str:
        """What may be said: nothing at all under five seeds."""
        if len(self.seeds) < ENOUGH_SEEDS:
            return f"{len(self.seeds)} seed{'s' * (len(self.seeds) != 1)}: too few to tell"
        if self.test.low > 0:
            return "higher"
        return "lower" if self.test.high < 0 else "no difference shown"


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


def with_baselines(results: pd.DataFrame) -> pd.DataFrame:
    """The rows with ``baseline_id``, ``val_difference`` and ``test_difference`` added.

    The baseline of a trial is the complete trial without a proxy step that agrees with it in every field that is no
    proxy field, and in the split that was drawn. Rows without one, baselines among them, have missing values there.
    """
    frame = results.copy()
    frame["baseline_id"] = pd.Series(pd.NA, index=frame.index, dtype="object")
    for accuracy in ACCURACIES:
        frame[_difference(accuracy)] = math.nan
    done = frame[frame["status"] == COMPLETE]
    plain = done[done["threshold"].isna()]
    baselines = {_pair_key(row): row for _, row in plain.iloc[::-1].iterrows()}
    for index, row in done[done["threshold"].notna()].iterrows():
        baseline = baselines.get(_pair_key(row))
        if baseline is None:
            continue
        frame.loc[index, "baseline_id"] = baseline["trial_id"]
        for accuracy in ACCURACIES:
            frame.loc[index, _difference(accuracy)] = row[accuracy] - baseline[accuracy]
    return frame


def _difference(accuracy: str) -> str:
    return accuracy.replace("accuracy", "difference")


def _pair_key(row: pd.Series) -> tuple[str, ...]:
    """What a trial and its baseline share: every field that is no proxy field (the seed too), the split, the length."""
    return (*(str(row[field]) for field in _OTHER), str(row["split_digest"]), str(row["epochs_done"]))


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
            overall, paired = estimate(part[accuracy]), estimate(part[_difference(accuracy)])
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
        if named and rows[factor].nunique() > MOST_LEVELS:  # a range was searched: a row a draw would say nothing
            rows = rows.assign(**{factor: pd.qcut(rows[factor].astype(float), 4, precision=2, duplicates="drop")})
        found[factor] = group(rows, [factor] if named or factor == "schedule" else [factor, "arm"])
    return found


def claims(frame: pd.DataFrame, *, chosen_on: int | None = None) -> list[Claim]:
    """The study's answers, the primary first: proxies against the baseline, each arm, and attention against chance.

    Args:
        frame: as ``with_baselines`` gives it.
        chosen_on: the seed on which a search chose its settings. It is left out: the chosen look good there by choice.
    """
    done = frame[frame["status"] == COMPLETE].drop_duplicates(["config_digest", "arm"])
    if chosen_on is not None:
        done = done[done["seed"] != chosen_on]
    paired = done[done["test_difference"].notna()]
    arms = sorted(set(done["arm"]) - {PROXY, BASELINE})
    settings = "proxies" if chosen_on is None else "chosen proxies"
    found = [
        _by_seed(paired[paired["arm"] == PROXY], f"{settings} - baseline"),
        *(_by_seed(paired[paired["arm"] == arm], f"{arm} - baseline") for arm in arms),
        *(
            _by_seed(_against_control(done[done["arm"] == PROXY], done[done["arm"] == arm]), f"saliency - {arm}")
            for arm in arms
        ),
    ]
    return [claim for claim in found if claim.seeds]


def _against_control(proxies: pd.DataFrame, control: pd.DataFrame) -> pd.DataFrame:
    """Each proxy trial that differs from a control trial in the mask alone, with the difference to it."""
    fields = [field for field in (*_OTHER, "schedule", *PROXY_FIELDS) if field != "mask"]

    def key(row: pd.Series) -> tuple[str, ...]:
        return (*(str(row[field]) for field in fields), str(row["split_digest"]))

    controls = {key(row): row for _, row in control.iterrows() if row["mask"] != "saliency"}
    rows = []
    for _, row in proxies.iterrows():
        other = controls.get(key(row))
        if other is not None:
            rows.append({"seed": row["seed"], **{_difference(a): row[a] - other[a] for a in ACCURACIES}})
    return pd.DataFrame(rows, columns=["seed", *map(_difference, ACCURACIES)])


def _by_seed(paired: pd.DataFrame, text: str) -> Claim:
    """The mean difference of each seed, and its estimate over the seeds."""
    means = paired.groupby("seed")[[_difference(a) for a in ACCURACIES]].mean()
    val, test = (estimate([float(v) for v in means[_difference(accuracy)]]) for accuracy in ACCURACIES)
    return Claim(text, tuple(int(seed) for seed in means.index), val, test)


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
