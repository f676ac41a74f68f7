"""Draw frames and claims as SVG, in one style with colours that the colour-blind tell apart; knows no HTML.

The same input gives the same bytes: there is no date, and ids are salted with a constant. Text is never read as
mathematics, because names of classes and arms are other people's.
"""

import io
import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.analysis.claims import ENOUGH_SEEDS, Claim
from study.analysis.estimates import estimate
from study.plan import BASELINE, PROXY

OKABE_ITO = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito, Color Universal Design, 2008; without its yellow, which is too light for a line on white."""

LINES = ("-", "-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
MARKS = ("o", "s", "D", "^", "v", "P", "X")
WIDTH = 4.6
"""Inches. A phone shows it at about three quarters, in which ten points can still be read."""

FEW_CLASSES = 20
LONGEST_NAME = 24
LONGEST_LINE = 30
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "proxy-attention",
    "text.parse_math": False,
}


def svg(figure: Figure) -> bytes:
    """Encode a figure as SVG."""
    out = io.BytesIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's fonts draw it, ours only measure
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def palette_places(arms: Sequence[str]) -> dict[str, int]:
    """Give each arm a place in the palette; that of the baseline and of the proxies is always the same."""
    others = sorted(set(arms) - {BASELINE, PROXY})
    return {arm: number % len(OKABE_ITO) for number, arm in enumerate((BASELINE, PROXY, *others))}


def curves(epochs: pd.DataFrame, *, labels: Mapping[str, str]) -> bytes:
    """Draw val accuracy by epoch: of each arm the mean over seeds, in a band of one sample standard deviation.

    Args:
        epochs: ``arm``, ``seed``, ``epoch``, ``val_accuracy``, ``proxy_step``.
        labels: what to call each arm; its keys are the arms, in order.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(3.4)
        places = palette_places(list(labels))
        for arm, label in labels.items():
            mean, spread = over_seeds(epochs[epochs["arm"] == arm])
            x, place = mean.index.to_numpy() + 1, places[arm]
            look: dict[str, Any] = {
                "color": OKABE_ITO[place],
                "linestyle": LINES[place],
                "marker": MARKS[place],
                "ms": 4,
            }
            axes.plot(
                x, mean, label=_short(label), zorder=9 - place, **look
            )  # the first arms above: they are the claim
            axes.fill_between(x, mean - spread, mean + spread, color=OKABE_ITO[place], alpha=0.15, linewidth=0)
        for epoch in sorted(epochs["epoch"][epochs["proxy_step"].astype(bool)].unique()):
            axes.axvline(epoch + 1, color="#888888", linestyle=":", linewidth=1, zorder=0)
        axes.set(xlabel="epoch", ylabel="val accuracy, %")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        _legend_above(figure)
        return svg(figure)


def over_seeds(epochs: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Compute mean and sample standard deviation of val accuracy over seeds, by epoch, from the mean of each seed."""
    by_seed = epochs.groupby(["epoch", "seed"])["val_accuracy"].mean().groupby("epoch")
    return by_seed.mean(), by_seed.std()


def val_beside_test(rows: pd.DataFrame, *, labels: Mapping[str, str]) -> bytes:
    """Draw val and test accuracy of each arm: a thin dot a seed, the mean, and its 95 % interval from five seeds on.

    If the two differ by more than chance, val was trained on or chosen by.

    Args:
        rows: ``arm``, ``seed``, ``val_accuracy``, ``test_accuracy``, one a complete trial.
        labels: what to call each arm; its keys are the arms, in order.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(0.9 + 0.45 * len(labels))
        for name, colour, mark, shift in (("val", OKABE_ITO[2], "D", -0.14), ("test", OKABE_ITO[1], "o", 0.14)):
            means = rows.groupby(["arm", "seed"])[f"{name}_accuracy"].mean()
            for row, arm in enumerate(labels):
                found = estimate(means[arm])
                enough = found.n >= ENOUGH_SEEDS
                heights = [row + shift] * found.n
                axes.plot(found.values, heights, linestyle="", marker=".", ms=5, alpha=0.5, color=colour)
                axes.errorbar(
                    found.mean,
                    row + shift,
                    xerr=found.mean - found.low if enough else None,
                    color=colour,
                    marker=mark,
                    markerfacecolor="white" if name == "val" else colour,
                    linestyle="",
                    capsize=4,
                    label=name if row == 0 else None,
                )
        axes.set_yticks(range(len(labels)), [_short(label, 30) for label in labels.values()])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set(xlabel="accuracy, %")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        _legend_above(figure)
        return svg(figure)


def forest(claims: Sequence[Claim], *, title: str = "") -> bytes:
    """Draw a row a claim: a bar to its mean difference on test, a dot a seed, and the interval from five seeds on."""
    with matplotlib.rc_context(STYLE):
        texts = [claim.level or claim.text.replace(" - ", " \N{MINUS SIGN} ") for claim in claims]
        names = [_wrapped(text) for text in texts]
        lines = max((name.count("\n") + 1 for name in names), default=1)
        figure, axes = _figure(0.9 + max(0.42, 0.17 * lines) * len(claims) + 0.25 * bool(title))
        for row, claim in enumerate(claims):
            place = 1 if claim.test.mean >= 0 else 2
            axes.barh(row, claim.test.mean, height=0.6, color=OKABE_ITO[place], alpha=0.35)
            values = claim.test.values
            offsets = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else np.zeros(1)
            axes.plot(values, row + offsets, linestyle="", marker="o", ms=4, color=OKABE_ITO[place])
            if len(values) >= ENOUGH_SEEDS and math.isfinite(claim.test.low):
                half = claim.test.mean - claim.test.low
                axes.errorbar(claim.test.mean, row, xerr=half, color="black", capsize=4, linewidth=1.2)
        axes.axvline(0, color="black", linewidth=1)
        axes.set_yticks(range(len(claims)), names)
        axes.set_ylim(len(claims) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        widest = max(len(line) for name in names for line in name.split("\n"))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6 if widest < 24 else 4))  # long names leave less
        axes.set(title=_short(title, 40))
        figure.supxlabel("difference in test accuracy, points", fontsize=STYLE["axes.labelsize"])
        return svg(figure)


def importance(values: Mapping[str, float]) -> bytes:
    """Draw a bar for each searched field: the share of the variation of val accuracy that it explains."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(0.8 + 0.4 * len(values))
        bars = axes.barh(range(len(values)), list(values.values()), height=0.6, color=OKABE_ITO[1])
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.set_yticks(range(len(values)), [_short(name) for name in values])
        axes.set(xlim=(0, 1.12 * max([*values.values(), 1e-9])), xlabel="share of the variation of val accuracy")
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        return svg(figure)


def confusion(counts: np.ndarray, classes: Sequence[str], *, title: str) -> bytes:
    """Draw a confusion matrix, in percent of the images of each true class.

    Args:
        counts: (C, C), ``[true, predicted]``.
    """
    with matplotlib.rc_context(STYLE):
        few = len(classes) <= FEW_CLASSES
        figure, axes = _figure(WIDTH if few else WIDTH - 0.4)
        shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        axes.set(xlabel="predicted", ylabel="true", title=_short(title, 48))
        axes.grid(visible=False)
        if few:
            names = [_short(name, 12) for name in classes]
            axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(len(names)), names)
            size = 8 if len(names) <= 12 else 6
            for (y, x), share in np.ndenumerate(shares):
                if share:
                    colour = "white" if share > 50 else "black"
                    axes.text(x, y, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=size)
        else:
            figure.colorbar(picture, ax=axes, label="% of the true class", shrink=0.8)
        return svg(figure)


def reliability(bins: Mapping[str, np.ndarray]) -> bytes:
    """Draw accuracy against confidence, an arm a line; a larger mark stands for more images.

    Args:
        bins: of each arm (B, 3): images, mean confidence, accuracy.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(4.2)
        axes.plot([0, 1], [0, 1], color="#888888", linestyle=":", label="as sure as right")
        places = palette_places(list(bins))
        for arm, rows in bins.items():
            counts, sure, right = rows[rows[:, 0] > 0].T
            place = places[arm]
            axes.plot(sure, right, color=OKABE_ITO[place], linestyle=LINES[place], linewidth=1.2)
            sizes = 12 + 160 * counts / counts.sum()
            label = _short(arm)
            axes.scatter(sure, right, sizes, color=OKABE_ITO[place], marker=MARKS[place], alpha=0.7, label=label)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
        _legend_above(figure)
        return svg(figure)


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _legend_above(figure: Figure) -> None:
    figure.legend(loc="outside upper left", ncols=2, columnspacing=1.2, handlelength=2.2)


def _short(text: str, longest: int = LONGEST_NAME) -> str:
    """Replace what XML may not hold, and cut a long text."""
    text = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _wrapped(text: str) -> str:
    """Wrap a name at up to four lines, as a difference of differences needs."""
    text = _short(text, 4 * LONGEST_LINE)
    lines = textwrap.wrap(text, LONGEST_LINE, max_lines=4, placeholder="…", break_on_hyphens=False)
    return text if len(text) <= LONGEST_LINE else "\n".join(lines)
