"""Estimate means with their intervals and p-values, and adjust p-values by Holm; knows no trial."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A mean with its values, spread and confidence interval.

    Attributes:
        values: the values of the mean, one a seed or one a trial.
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
        """Number of values."""
        return len(self.values)

    @property
    def p(self) -> float:
        """Two-sided p of a mean of zero; of differences, this is the paired t test.

        NaN for fewer than two values, and for values that do not vary.
        """
        if self.n < 2 or self.sd <= 1e-9 * max(map(abs, self.values)):
            return math.nan
        return float(stats.ttest_1samp(self.values, 0.0).pvalue)


def estimate(values: Iterable[float]) -> Estimate:
    """Compute mean, sample standard deviation and 95 % interval; NaNs are left out."""
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


def holm(values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number; NaN stays NaN and is not counted.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scand. J. Statist. 6 (1979).
    """
    order = sorted((i for i, p in enumerate(values) if not math.isnan(p)), key=lambda i: values[i])
    adjusted, highest = [math.nan] * len(values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * values[i]))
        adjusted[i] = highest
    return adjusted
