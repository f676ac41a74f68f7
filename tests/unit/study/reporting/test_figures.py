import math
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from report_page import SVG, words_of

from study.analysis.claims import Claim
from study.analysis.estimates import estimate
from study.reporting import figures


def words(drawn):
    """Every text of a figure, as a reader sees it."""
    return words_of(ET.fromstring(drawn))


def groups(drawn, name):
    """How many parts of a picture matplotlib calls so."""
    return sum(element.get("id", "").startswith(name) for element in ET.fromstring(drawn).iter(f"{SVG}g"))


def claim(*values, text="a - b", **given):
    found = estimate(values)
    return Claim(text, tuple(range(len(values))), found, found, **given)


def epochs(*rows):
    return pd.DataFrame(rows, columns=["arm", "seed", "epoch", "val_accuracy", "proxy_step"])


@pytest.fixture
def two_arms():
    return epochs(
        *(("baseline", seed, epoch, 50 + 10 * epoch + seed, False) for seed in (0, 1) for epoch in (0, 1)),
        *(("proxy", seed, epoch, 51 + 10 * epoch + seed, epoch == 1) for seed in (0, 1) for epoch in (0, 1)),
    )


def test_a_step_is_marked_where_one_was_taken_and_nowhere_else():
    """The first step was skipped on both seeds, the second on one."""
    took = {(0, 2), (0, 3), (1, 3)}
    rows = [("proxy", seed, epoch, 50.0 + epoch, (seed, epoch) in took) for seed in (0, 1) for epoch in range(5)]
    never = [(*row[:-1], False) for row in rows]

    marked, plain = (figures.curves(epochs(*each), labels={"proxy": "proxy"}) for each in (rows, never))

    assert groups(marked, "line2d") - groups(plain, "line2d") == 2


DRAWN = {
    "curves": lambda name: figures.curves(
        epochs(("proxy", 0, 0, 50.0, False), ("proxy", 0, 1, 60.0, True)), labels={"proxy": name}
    ),
    "forest": lambda name: figures.forest([claim(1.0, 2.0, text=name)], title=name),
    "importance": lambda name: figures.importance({name: 0.75, "weight": 0.25}),
    "confusion": lambda name: figures.confusion(np.eye(2), [name, "b"], title=name),
    "reliability": lambda name: figures.reliability({name: np.array([[3, 0.9, 1.0]])}),
}
"""Every figure, drawn with a name that somebody else chose."""


@pytest.fixture(scope="module", params=DRAWN)
def figure(request):
    """The name of a figure, and what is drawn."""
    return request.param, DRAWN[request.param]("x")


def test_the_same_numbers_give_the_same_bytes(figure):
    name, drawn = figure

    assert DRAWN[name]("x") == drawn


def test_a_figure_says_neither_when_nor_with_what_it_was_drawn(figure):
    assert b"<dc:date" not in figure[1]
    assert b"Matplotlib" not in figure[1]


def test_a_figure_asks_for_nothing_from_elsewhere(figure):
    for element in ET.fromstring(figure[1]).iter():
        links = [value for name, value in element.attrib.items() if name.endswith("href")]
        assert all(link.startswith(("#", "data:")) for link in links)


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("name", ["<script>&\"'$x^2$类 🙂", "a\x01b\udcff"])
def test_a_name_stands_as_text_but_for_what_xml_may_not_hold(draw, name):
    shown = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in name)

    assert shown in words(draw(name))


def test_a_long_name_is_cut():
    assert "x" * 23 + "…" in words(DRAWN["importance"]("x" * 25))


def test_a_curve_is_the_mean_and_spread_over_seeds_of_the_means_over_settings():
    rows = epochs(("proxy", 0, 0, 50, 0), ("proxy", 0, 0, 54, 0), ("proxy", 1, 0, 60, 0))

    mean, spread = figures.over_seeds(rows)

    assert mean.tolist() == [(52 + 60) / 2]
    assert spread.tolist() == [pytest.approx(8 / math.sqrt(2))]


def test_the_curves_name_every_arm_as_they_are_told(two_arms):
    shown = words(figures.curves(two_arms, labels={"baseline": "baseline", "proxy": "proxy (LEAKING)"}))

    assert {"baseline", "proxy (LEAKING)", "epoch", "val accuracy, %"} <= set(shown)


def test_one_seed_has_a_curve_and_no_band(two_arms):
    one = two_arms[two_arms["seed"] == 0]

    assert {"baseline", "proxy"} <= set(words(figures.curves(one, labels={"baseline": "baseline", "proxy": "proxy"})))


def test_an_arm_keeps_its_colour_whoever_stands_beside_it():
    few, many = figures.palette_places(["proxy"]), figures.palette_places(["random-mask", "proxy", "baseline"])

    assert few["proxy"] == many["proxy"] == 1
    assert many == {"baseline": 0, "proxy": 1, "random-mask": 2}


@pytest.mark.parametrize(("seeds", "intervals"), [(1, 0), (4, 0), (5, 1)])
def test_an_interval_is_drawn_from_five_seeds_on(seeds, intervals):
    assert groups(figures.forest([claim(*range(seeds))]), "LineCollection") == intervals


def test_a_row_of_a_forest_has_a_dot_a_seed():
    drawn = figures.forest([claim(1.0, 2.0, 3.0)])
    colour = figures.OKABE_ITO[1].lower()

    dots = [use for use in ET.fromstring(drawn).iter(f"{SVG}use") if colour in use.get("style", "").lower()]
    assert len(dots) == 3


def test_a_level_is_named_by_itself_under_the_name_of_its_factor():
    shown = words(figures.forest([claim(1.0, text="threshold 0.3 - baseline", level="0.3")], title="threshold"))

    assert {"0.3", "threshold"} <= set(shown)
    assert "threshold 0.3 - baseline" not in shown


def test_a_claim_of_a_long_name_stands_whole_on_several_lines():
    shown = words(figures.forest([claim(1.0, text="(rival-and-proxies - rival) - (proxies - baseline)")]))

    assert "(rival-and-proxies \N{MINUS SIGN} rival) \N{MINUS SIGN}" in shown
    assert "(proxies \N{MINUS SIGN} baseline)" in shown


def test_each_seed_is_a_thin_dot_beside_the_mean_of_its_arm():
    rows = pd.DataFrame(
        {"arm": "a", "seed": [0, 0, 1, 2], "val_accuracy": [80.0, 82, 83, 84], "test_accuracy": [70.0, 72, 73, 74]}
    )

    drawn = ET.fromstring(figures.val_beside_test(rows, labels={"a": "a"}))

    marks = [use for use in drawn.iter(f"{SVG}use") if "opacity: 0.5" in use.get("style", "")]
    assert len(marks) == 2 * 3  # val and test of three seeds: two settings of a seed are one


def test_importance_is_written_at_its_bar():
    assert {"threshold", "0.75", "weight", "0.25"} <= set(
        words(figures.importance({"threshold": 0.75, "weight": 0.25}))
    )


def test_a_confusion_is_in_percent_of_the_true_class():
    drawn = figures.confusion(np.array([[3, 1], [0, 0]]), ["a", "b"], title="t")

    assert sorted(word for word in words(drawn) if word.isdigit()) == ["25", "75"]  # a class without images is empty


def test_many_classes_are_drawn_without_words():
    shown = words(figures.confusion(np.eye(30), [f"class-{i}" for i in range(30)], title="t"))

    assert "% of the true class" in shown
    assert not [word for word in shown if word.startswith("class-")]


def test_a_bin_without_images_has_no_mark():
    drawn = figures.reliability({"a": np.array([[0, 0.0, 0.0], [2, 0.5, 0.5], [6, 0.9, 1.0]])})

    assert groups(drawn, "PathCollection") == 2  # the marks, and the one in the legend
    root = ET.fromstring(drawn)
    marks = next(g for g in root.iter(f"{SVG}g") if g.get("id", "").startswith("PathCollection"))
    assert len(list(marks.iter(f"{SVG}use"))) + len(marks.findall(f"{SVG}path")) == 2


def test_val_stands_beside_test_for_every_arm_in_the_order_that_was_asked():
    rows = pd.DataFrame(
        {
            "arm": ["baseline", "leaky"] * 5,
            "seed": [seed for seed in range(5) for _ in range(2)],
            "val_accuracy": [80.0, 95.0] * 5,
            "test_accuracy": [79.0, 80.0] * 5,
        }
    )

    drawn = figures.val_beside_test(rows, labels={"leaky": "leaky (LEAKING)", "baseline": "baseline"}).decode()

    assert drawn.index("leaky (LEAKING)") < drawn.index("baseline")
    assert ">val<" in drawn
    assert ">test<" in drawn
    assert drawn == figures.val_beside_test(rows, labels={"leaky": "leaky (LEAKING)", "baseline": "baseline"}).decode()
