"""The gallery, drawn whole: what every setting and method does to an image."""

import io

import pytest
import torch
from PIL import Image

from proxy_attention.proxies.masks import MASKS
from proxy_attention.proxies.replacement import NEED_STATISTICS, REPLACEMENTS, SCOPES
from proxy_attention.saliency.maps import EXPLAIN
from study.analyse import main
from study.reporting import gallery
from study.reporting.gallery import draw_gallery
from study.reporting.gallery_models import GallerySize

pytestmark = pytest.mark.slow

FEW = ("gradcam", "hirescam", "eigencam", "smoothgrad/lrp", "attention-rollout")


SMALL = GallerySize(image_size=32, epochs=1, train_fraction=0.1, crops=12, columns=2, methods=FEW)


FILES = ["replacements.png", "thresholds.png", "masks.png", "methods.png", "methods-noise.png", "methods-vit.png"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder, the grids and the progress of a small gallery."""
    folder, told = tmp_path_factory.mktemp("gallery") / "new" / "folder", []
    return folder, draw_gallery(folder, size=SMALL, report=told.append), told


def test_every_picture_is_written_as_wide_as_a_readme(drawn):
    folder, grids, _ = drawn

    assert list(grids) == FILES
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


@pytest.mark.parametrize(("field", "table"), [("mask", set(MASKS) - {"region"}), ("explain", EXPLAIN)])
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


def test_a_wrong_image_is_named_with_its_class_and_with_what_it_was_taken_for(drawn):
    header = drawn[1]["methods.png"].columns[0][0]

    assert len(header.images) == 2
    for image in header.images:
        true, words, predicted = image.label.split("\n")
        assert words == "taken for"
        assert true != predicted


def test_it_tells_how_far_it_is(drawn):
    assert "test_resnet on 240 images: epoch 1 of 1" in drawn[2]
    assert "test_vit explained by gradcam: 1 of 2" in drawn[2]


def test_the_threads_of_the_process_are_as_they_were(drawn):
    assert torch.get_num_threads() == 1  # the tests' own; the gallery must not have set another


def test_the_command_needs_no_run_tells_what_it_wrote_and_writes_the_same_bytes_again(
    drawn, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(gallery, "GallerySize", lambda: SMALL)
    torch.manual_seed(5)  # nothing is drawn from the global stream

    code = main(["--gallery", str(tmp_path / "pictures")])

    out = capsys.readouterr().out
    assert code == 0
    assert [line for line in out.splitlines() if line] == [f"wrote {tmp_path / 'pictures' / name}" for name in FILES]
    assert all((tmp_path / "pictures" / name).read_bytes() == (drawn[0] / name).read_bytes() for name in FILES)
