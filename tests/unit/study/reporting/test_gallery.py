import io

import numpy as np
import pytest
import torch
from PIL import Image

from proxy_attention.proxies.masks import MASKS
from proxy_attention.proxies.replacement import NEED_STATISTICS, REPLACEMENTS, SCOPES
from proxy_attention.saliency.maps import EXPLAIN
from proxy_attention.saliency.registry import METHODS
from study.analyse import main
from study.reporting import gallery, gallery_subject
from study.reporting.gallery import draw
from study.reporting.gallery_subject import Size, wrong_images
from study.reporting.image_grid import Cell, Page, Row, heat, in_blocks, png

FEW = ("gradcam", "hirescam", "eigencam", "smoothgrad/lrp", "attention-rollout")
SMALL = Size(image_size=32, epochs=1, train_fraction=0.1, crops=12, columns=2, methods=FEW)
FILES = ["replacements.png", "thresholds.png", "masks.png", "methods.png", "methods-noise.png", "methods-vit.png"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder, the pages and the progress of a small gallery."""
    folder, told = tmp_path_factory.mktemp("gallery") / "new" / "folder", []
    return folder, draw(folder, size=SMALL, tell=told.append), told


def test_every_picture_is_written_and_is_as_wide_as_a_page(drawn):
    folder, pages, _ = drawn

    assert list(pages) == FILES
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    for name in FILES:
        content = (folder / name).read_bytes()
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.format == "PNG"
            assert 820 <= picture.width <= 1000
            assert not picture.info  # neither a date nor a program
        assert len(content) < 256_000


def test_every_replacement_is_shown_at_every_scope_that_matters(drawn):
    labels = drawn[1]["replacements.png"].labels

    assert len(REPLACEMENTS) >= 9
    for name in REPLACEMENTS:
        assert labels.count(name) == (len(SCOPES) if name in NEED_STATISTICS else 1)
    assert [label for label in labels if label.startswith("scope")] == [f"scope =\n{scope}" for scope in SCOPES]


@pytest.mark.parametrize(("field", "table"), [("mask", MASKS), ("explain", EXPLAIN)])
def test_every_mask_and_every_explained_class_is_shown(drawn, field, table):
    labels = drawn[1]["masks.png"].labels

    assert len(table) >= 3
    assert {f"{field} = {name}" for name in table} <= set(labels)


def test_thresholds_weights_smoothing_and_areas_are_shown(drawn):
    labels = drawn[1]["thresholds.png"].labels

    wanted = [f"threshold\n= {value}" for value in gallery.THRESHOLDS]
    wanted += [f"weight = {value}" for value in gallery.WEIGHTS]
    wanted += [f"smoothing = {value:g}" for value in gallery.SMOOTHINGS]
    wanted += [f"max_area = {value:g}" for value in gallery.AREAS]
    assert set(wanted) <= set(labels)


def test_every_method_is_shown_where_the_model_has_what_it_needs(drawn):
    names = ("methods.png", "methods-noise.png", "methods-vit.png")
    convolutions, noise, transformer = (drawn[1][name].labels for name in names)

    assert {"gradcam", "hirescam\n(here gradcam)", "eigencam"} <= set(convolutions)
    assert "smoothgrad/\nlrp" in noise
    assert "attention-rollout" not in "".join(convolutions)
    assert {"gradcam", "attention-rollout"} <= set(transformer)
    assert "eigencam" not in transformer


def test_every_method_is_drawn_unless_fewer_are_asked_for():
    assert set(METHODS) == set(Size().methods)
    assert len(METHODS) >= 10


def test_a_wrong_image_is_named_with_its_class_and_with_what_it_was_taken_for(drawn):
    header = drawn[1]["methods.png"].blocks[0][0]

    assert len(header.cells) == 2
    for cell in header.cells:
        true, words, predicted = cell.label.split("\n")
        assert words == "taken for"
        assert true != predicted


def test_it_tells_how_far_it_is(drawn):
    assert "test_resnet on 240 images: epoch 1 of 1" in drawn[2]
    assert "test_vit explained by gradcam: 1 of 2" in drawn[2]


def test_the_threads_of_the_process_are_as_they_were(drawn):
    assert torch.get_num_threads() == 1  # the tests' own; the gallery must not have set another


def test_wrong_images_are_of_different_classes_and_of_the_training_set_only(config, small, training_set_of, trained):
    from proxy_attention.proxies.scoring import clean_scores

    trial = config()
    training_set = training_set_of(trial, small)
    subject = gallery_subject.Subject(
        trained, training_set, clean_scores(trained, training_set, trial), trial, small.classes
    )

    ids = wrong_images(subject, 4)

    assert len(set(small.labels[ids].tolist())) == len(ids) == 4
    assert torch.isin(ids, training_set.train).all()
    assert subject.scores.wrong[torch.searchsorted(subject.scores.ids, ids)].all()


# ---- the command line


def test_the_command_needs_no_run_tells_what_it_wrote_and_writes_the_same_bytes_again(
    drawn, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(gallery, "Size", lambda: SMALL)
    torch.manual_seed(5)  # nothing is drawn from the global stream

    code = main(["--gallery", str(tmp_path / "pictures")])

    out = capsys.readouterr().out
    assert code == 0
    assert [line for line in out.splitlines() if line] == [f"wrote {tmp_path / 'pictures' / name}" for name in FILES]
    assert all((tmp_path / "pictures" / name).read_bytes() == (drawn[0] / name).read_bytes() for name in FILES)


@pytest.mark.parametrize("below", ["", "further/down"])
def test_a_folder_that_is_a_file_is_refused_in_one_line_before_anything_is_trained(tmp_path, capsys, below):
    file = tmp_path / "file"
    file.write_text("mine")

    code = main(["--gallery", str(file / below)])

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("analyse.py: --gallery must name a folder that can be written to; got ")
    assert err.count("\n") == 1
    assert file.read_text() == "mine"


def test_a_run_beside_the_gallery_is_refused(capsys):
    assert main(["somewhere", "--gallery"]) == 2
    assert "--gallery must stand without a PATH, which it does not read; got 'somewhere'" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--publish"], ["--query", "seed == 0"], ["--export-proxies", "there"]])
def test_an_option_that_needs_a_run_is_refused_beside_the_gallery(capsys, option):
    assert main(["--gallery", *option]) == 2
    assert f"{option[0]} must not be given with --gallery, which reads no run" in capsys.readouterr().err


# ---- pages


def plain(value, side=4):
    return np.full((side, side, 3), value, dtype=np.uint8)


def test_a_picture_stands_where_its_row_and_its_place_say():
    page = Page("title", ((Row("a", (Cell(plain(10)), Cell(plain(200)))), Row("b", (Cell(plain(90)),))),), 16, 40)

    with Image.open(io.BytesIO(png(page))) as picture:
        drawn = np.asarray(picture.convert("L"))

    found = {value: np.argwhere(drawn == value).mean(0) for value in (10, 200, 90)}
    assert found[10][0] == pytest.approx(found[200][0], abs=0.5)
    assert found[200][1] - found[10][1] == pytest.approx(22, abs=0.5)  # a side and a gap
    assert found[90][0] - found[10][0] == pytest.approx(22, abs=0.5)
    assert found[90][1] == pytest.approx(found[10][1], abs=0.5)


def test_a_file_has_as_many_colours_as_leave_it_small(monkeypatch):
    strewn = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    page = Page("title", ((Row("", (Cell(strewn),)),),), 60, 40)

    full = png(page)
    monkeypatch.setattr("study.reporting.image_grid.LARGEST", len(full) - 1)
    fewer = png(page)
    monkeypatch.setattr("study.reporting.image_grid.LARGEST", 0)
    fewest = png(page)

    assert [Image.open(io.BytesIO(content)).mode for content in (full, fewer, fewest)] == ["RGB", "P", "P"]
    assert len(full) > len(fewer) > len(fewest)


def test_blocks_are_of_the_same_height_each_under_the_header():
    rows = [Row(str(i), ()) for i in range(7)]
    header = Row("header", ())

    blocks = in_blocks(header, rows, 3)

    assert [[row.name for row in block] for block in blocks] == [
        ["header", "0", "1", "2"],
        ["header", "3", "4", "5"],
        ["header", "6"],
    ]


def test_words_are_no_mathematics():
    cell = Cell(plain(0), "cost $x_1$ and $y")

    assert png(Page("$a", ((Row("$b$", (cell,)),),), side=16, margin=40)).startswith(b"\x89PNG")


def test_maps_have_the_colours_of_the_project():
    found = heat(np.array([[0.0, 1.0]]))

    assert found.dtype == np.uint8
    assert found[0, 0].tolist() == [0, 0, 4]  # inferno from near black ...
    assert found[0, 1].tolist() == [252, 255, 164]  # ... to pale yellow
