"""What a sheet shows of each image, and which files it may replace."""

import numpy as np
import pytest
from PIL import Image

from proxy_attention.errors import ConfigError
from study.inference import comparison_sheet
from study.inference.compare_models import MAP_SIZE, ComparedImage, pair_models
from study.inference.comparison_sheet import (
    KEY,
    MOST_ROWS,
    RIGHT,
    WRONG,
    check_sheet_file,
    is_sheet,
    write_sheet,
)


@pytest.fixture(scope="module")
def pair(baseline, model):
    """The baseline of the first seed beside a model that was trained with proxies."""
    return pair_models(baseline, model, "gradcam")


@pytest.fixture
def compared(prediction):
    """A comparison of one image that nobody made: both models say cat, 75 %."""

    def make(name="a.png", true=""):
        pixels = np.full((3, MAP_SIZE, MAP_SIZE), 200, dtype=np.uint8)
        return ComparedImage(
            name,
            pixels,
            predictions=(prediction(true=true), prediction(true=true)),
            maps=(np.zeros((MAP_SIZE, MAP_SIZE)), np.ones((MAP_SIZE, MAP_SIZE))),
        )

    return make


# ---- the page


def test_a_row_names_the_image_its_true_class_and_both_predictions(compared):
    row = comparison_sheet._row(compared("photos/a.png", true="dog"))

    assert [image.label for image in row.images] == [
        "a.png\ntrue: dog",
        "without proxies (flat map)\n✗ cat 75.0 %",
        "with proxies\n✗ cat 75.0 %",
    ]
    assert comparison_sheet._row(compared()).images[0].label == "a.png\ntrue class unknown"


@pytest.mark.parametrize(("true", "colour", "sign"), [("cat", RIGHT, "✓ "), ("dog", WRONG, "✗ "), ("", None, "")])
def test_right_and_wrong_differ_in_colour_and_in_sign(prediction, true, colour, sign):
    picture = np.full((MAP_SIZE, MAP_SIZE, 3), 200, dtype=np.uint8)

    image = comparison_sheet._labelled_map(picture, prediction(true=true), np.zeros(picture.shape[:2]), "with proxies")

    assert image.label == f"with proxies (flat map)\n{sign}cat 75.0 %"
    assert tuple(image.pixels[0, 0]) == (colour or (80, 80, 80))
    assert tuple(image.pixels[80, 80]) == (80, 80, 80)
    assert (picture == 200).all()


def test_the_title_tells_the_trials_their_proxies_and_the_method(pair, compared):
    _, plain, proxied, method = comparison_sheet._grid(pair, [compared(true="cat")]).title.splitlines()

    assert plain == f"without: {pair.plain.name} · test_resnet · schedule 2"
    assert proxied == (
        f"with: {pair.proxied.name} · test_resnet · schedule 1,p · proxies by gradcam, threshold 0.3, weight 0.5"
    )
    assert method == (
        "Maps of the predicted class by gradcam, bright where it speaks for the class."
        "  Blue frame and ✓: right.  Orange frame and ✗: wrong."
    )
    assert "frame" not in comparison_sheet._grid(pair, [compared()]).title


@pytest.mark.parametrize(("images", "columns"), [(1, [1]), (MOST_ROWS, [MOST_ROWS]), (MOST_ROWS + 1, [4, 3])])
def test_many_images_stand_in_two_columns(pair, compared, images, columns):
    grid = comparison_sheet._grid(pair, [compared()] * images)

    assert [len(column) for column in grid.columns] == columns


def test_what_the_font_of_a_sheet_lacks_is_a_question_mark():
    assert comparison_sheet._shorten("猫\n.png", 24) == "??.png"
    assert comparison_sheet._shorten("a" * 20 + "b" * 20, 9) == "aaaa…bbbb"


# ---- the file


def test_a_sheet_is_known_as_one_and_says_what_it_shows(pair, compared, tmp_path):
    file = tmp_path / "a.png"

    write_sheet(file, pair, [compared()])

    assert is_sheet(file)
    with Image.open(file) as drawn:
        assert drawn.info[KEY] == f"without={pair.plain.name} with={pair.proxied.name} saliency=gradcam"
        assert drawn.height > MAP_SIZE
    assert check_sheet_file(file) is None
    assert list(tmp_path.iterdir()) == [file]


def test_another_file_is_no_sheet(tmp_path):
    (tmp_path / "notes.png").write_text("notes")
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.png")

    for file in tmp_path.iterdir():
        assert not is_sheet(file)
        with pytest.raises(ConfigError, match="--out must name a new file, or a sheet drawn before"):
            check_sheet_file(file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.jpg", "--out must name a .png file; got 'a.jpg'"),
        ("no/a.png", "--out must lie in a folder that can be written to"),
        (f"{'x' * 300}.png", "--out must be a path that can be written"),
        (f"{'x' * 240}.png", "--out must name a file in at most 240 bytes"),
    ],
)
def test_a_place_where_no_sheet_can_be_written_is_refused(name, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        check_sheet_file(tmp_path / name)
