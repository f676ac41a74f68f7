"""Predictions as CSV, JSON and a table, and what is counted of them."""

import csv
import io
import json

import pytest
from rich.console import Console

from study.inference.predictions import as_csv, as_json, as_table, percent, summarise


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def as_printed(table):
    out = io.StringIO()
    Console(file=out, width=120).print(table)
    return [line.split() for line in out.getvalue().splitlines()]


def test_a_prediction_is_correct_wrong_or_not_known(prediction):
    assert prediction(true="cat").correct is True
    assert prediction(true="dog").correct is False
    assert prediction().correct is None
    assert prediction(top=(), true="cat", error="x").correct is None


def test_a_summary_counts_the_images_that_have_a_prediction_and_a_true_class(prediction):
    (one,) = summarise(
        [prediction(true="cat"), prediction(true="dog"), prediction(), prediction(top=(), true="cat", error="x")]
    )

    assert (one.images, one.errors, one.n, one.correct, one.accuracy) == (4, 1, 2, 1, 50.0)
    assert one.line == "0-x: 4 images, 1 without a prediction, accuracy 50.00 % (n = 2)"


def test_each_model_has_a_summary_in_the_order_in_which_they_first_occur(prediction):
    found = summarise([prediction(trial_id=name) for name in ("1-b", "0-a", "1-b")])

    assert [one.line for one in found] == [
        "1-b: 2 images, no true class is known",
        "0-a: 1 image, no true class is known",
    ]


# ---- CSV


def test_csv_quotes_whatever_a_name_holds(prediction):
    odd = 'a, "b"\nc.png'

    (row,) = rows_of(as_csv([prediction(image=odd)], top=1))

    assert row["image"] == odd
    assert (row["confidence"], row["true"], row["correct"], row["error"]) == ("0.75", "", "", "")


def test_csv_has_two_columns_for_each_further_class(prediction):
    few = prediction(top=(("cat", 1.0),))

    rows = rows_of(as_csv([prediction(), few], top=2))

    assert list(rows[0])[4:8] == ["predicted", "confidence", "class_2", "probability_2"]
    assert [(row["class_2"], row["probability_2"]) for row in rows] == [("dog", "0.25"), ("", "")]


@pytest.mark.parametrize("start", "=+-@\t\r")
def test_no_cell_is_a_formula(prediction, start):
    odd = prediction(image=f"{start}1.png", top=((f"{start}cmd", 1.0),), error=f"{start}x")

    (row,) = rows_of(as_csv([odd], top=1))

    assert row["image"] == f"./{start}1.png"
    assert row["predicted"] == f"'{start}cmd"
    assert row["error"] == f"'{start}x"


def test_a_class_that_is_a_number_stays_one(prediction):
    (row,) = rows_of(as_csv([prediction(top=(("-1", 0.6), ("+1", 0.4)))], top=2))

    assert (row["predicted"], row["class_2"]) == ("-1", "+1")


# ---- JSON


def test_json_holds_every_prediction_and_a_summary_of_each_model(prediction):
    text = as_json([prediction(true="cat"), prediction(true="dog")], top=1)

    found = json.loads(text)
    assert found["models"] == [
        {
            "trial_id": "0-x", "arm": "proxy", "seed": 0, "images": 2, "errors": 0, "n": 2, "correct": 1,
            "accuracy": 50.0,
        }
    ]  # fmt: skip
    assert found["predictions"][1] == {
        "image": "a.png", "trial_id": "0-x", "arm": "proxy", "seed": 0, "predicted": "cat", "confidence": 0.75,
        "top": [{"class": "cat", "probability": 0.75}], "true": "dog", "correct": False, "error": None,
    }  # fmt: skip


def test_json_has_null_for_what_is_unknown(prediction):
    found = json.loads(as_json([prediction(top=(), error="the file is empty")], top=1))

    (one,) = found["predictions"]
    assert (one["predicted"], one["confidence"], one["true"], one["correct"]) == (None, None, None, None)
    assert (one["top"], one["error"]) == ([], "the file is empty")
    assert found["models"][0]["accuracy"] is None


# ---- table


def test_a_table_has_no_column_that_would_be_empty(prediction):
    assert as_printed(as_table([prediction()], top=1)) == [
        ["image", "trial_id", "arm", "seed", "predicted", "confidence"],
        ["a.png", "0-x", "proxy", "0", "cat", "75.0", "%"],
    ]


def test_a_table_shows_further_classes_the_true_one_and_errors_where_there_are_any(prediction):
    header, first, second = as_printed(
        as_table([prediction(true="dog"), prediction(image="b.png", top=(), error="empty")], top=2)
    )

    assert header[5:] == ["confidence", "and", "then", "true", "correct", "error"]
    assert first[4:] == ["cat", "75.0", "%", "dog", "25.0", "%", "dog", "no"]
    assert second == ["b.png", "0-x", "proxy", "0", "empty"]


def test_a_share_is_shown_in_percent():
    assert percent(0.7126) == "71.3 %"
