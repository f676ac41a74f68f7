import io

import numpy as np
import pytest
from PIL import Image

from study.reporting.image_grid import GridRow, ImageGrid, LabelledImage, heatmap, in_columns, png


def plain(value, side=4):
    return np.full((side, side, 3), value, dtype=np.uint8)


def test_a_picture_stands_where_its_row_and_its_place_say():
    grid = ImageGrid(
        "title",
        (
            (
                GridRow("a", (LabelledImage(plain(10)), LabelledImage(plain(200)))),
                GridRow("b", (LabelledImage(plain(90)),)),
            ),
        ),
        16,
        40,
    )

    with Image.open(io.BytesIO(png(grid))) as picture:
        drawn = np.asarray(picture.convert("L"))

    found = {value: np.argwhere(drawn == value).mean(0) for value in (10, 200, 90)}
    assert found[10][0] == pytest.approx(found[200][0], abs=0.5)
    assert found[200][1] - found[10][1] == pytest.approx(22, abs=0.5)  # a side and a gap
    assert found[90][0] - found[10][0] == pytest.approx(22, abs=0.5)
    assert found[90][1] == pytest.approx(found[10][1], abs=0.5)


def test_a_file_has_as_many_colours_as_leave_it_small(monkeypatch):
    strewn = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    grid = ImageGrid("title", ((GridRow("", (LabelledImage(strewn),)),),), 60, 40)

    full = png(grid)
    monkeypatch.setattr("study.reporting.image_grid.MOST_BYTES", len(full) - 1)
    fewer = png(grid)
    monkeypatch.setattr("study.reporting.image_grid.MOST_BYTES", 0)
    fewest = png(grid)

    assert [Image.open(io.BytesIO(content)).mode for content in (full, fewer, fewest)] == ["RGB", "P", "P"]
    assert len(full) > len(fewer) > len(fewest)


def test_columns_are_of_the_same_height_each_under_the_header():
    rows = [GridRow(str(i), ()) for i in range(7)]
    header = GridRow("header", ())

    columns = in_columns(header, rows, 3)

    assert [[row.name for row in column] for column in columns] == [
        ["header", "0", "1", "2"],
        ["header", "3", "4", "5"],
        ["header", "6"],
    ]


def test_words_are_no_mathematics():
    cell = LabelledImage(plain(0), "cost $x_1$ and $y")

    assert png(ImageGrid("$a", ((GridRow("$b$", (cell,)),),), side=16, margin=40)).startswith(b"\x89PNG")


def test_maps_have_the_colours_of_the_project():
    found = heatmap(np.array([[0.0, 1.0]]))

    assert found.dtype == np.uint8
    assert found[0, 0].tolist() == [0, 0, 4]  # inferno from near black ...
    assert found[0, 1].tolist() == [252, 255, 164]  # ... to pale yellow
