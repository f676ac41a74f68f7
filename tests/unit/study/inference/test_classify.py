"""Which images are found, what their classes are, and in what batches a model has them."""

import dataclasses
from pathlib import Path

import pytest
import torch
from layout_trees import TREES

from proxy_attention.config import TrialConfig
from proxy_attention.data.sources import open_source
from study.inference import classify as inference
from study.inference.classify import Decoded, ImageFile, Model, answers, find_images, load_model, true_class
from study.inference.selection import pick


@pytest.fixture
def model(finished_run):
    """A trained model of the run."""
    return load_model(pick(finished_run, "arm == 'baseline' and seed == 0")[0][0], torch.device("cpu"))


def with_fields(model, **changes):
    """The same model as if its trial had been of another configuration."""
    return dataclasses.replace(model, config=dataclasses.replace(model.config, **changes))


# ---- which images


def test_a_tilde_is_a_persons_folder_only_where_it_was_typed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("home/mine.png", "images/~/1.png", "images/~nobody-here/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "images")

    found = {image.name: image.path for given in (".", "~", "./~") for image in find_images([given])}

    assert list(found) == ["~/1.png", "~nobody-here/2.png", "~/mine.png"]
    assert found["~/mine.png"] == tmp_path / "home" / "mine.png"
    assert found["~/1.png"].samefile(tmp_path / "images" / "~" / "1.png")
    assert found["~nobody-here/2.png"].is_file()


# ---- their classes

LISTED = {"places365": "Places365_val_", "flowers102": "image_", "tiny-imagenet": ("n0", "val_")}
"""How the names of files begin whose class stands in a list of the publisher's alone."""

IN_TABLES = {"cifar10", "cifar100", "fer2013"}
"""Not a file an image."""


@pytest.mark.parametrize("dataset", sorted(set(TREES) - IN_TABLES))
def test_the_class_of_an_image_is_told_by_its_folder_or_name_as_its_publisher_has_it(dataset, tmp_path):
    TREES[dataset](tmp_path)
    catalogue = open_source(dataset, tmp_path)
    model = Model("0-x", "proxy", TrialConfig(dataset=dataset), catalogue.classes, None, "fp32")
    files = {path.as_posix(): path for path in tmp_path.rglob("*.*")}

    for name, label in zip(catalogue.names, catalogue.labels, strict=True):
        (file,) = [path for text, path in files.items() if text.endswith(f"/{name}")]
        listed = file.name.startswith(LISTED.get(dataset, "/"))
        assert true_class(model, file) == ("" if listed else catalogue.classes[label])


# ---- batches


def test_batches_hold_as_many_readable_images_as_those_of_an_evaluation():
    items = [Decoded(ImageFile(str(n), Path(str(n))), {}, "broken" if n in (1, 2) else "") for n in range(7)]

    found = [[item.image.name for item in batch] for batch in inference._batches(items, 2)]

    assert found == [["0", "1", "2", "3"], ["4", "5"], ["6"]]


def test_models_of_two_sizes_have_batches_of_their_own_and_answer_image_by_image(model, image_folder, monkeypatch):
    monkeypatch.setattr(inference, "eval_batch", {32: 3, 64: 2}.__getitem__)
    large = dataclasses.replace(with_fields(model, image_size=64), name="large")
    images = find_images([str(image_folder / "test" / "dress")])
    done = []

    said = answers([large, model], images, top=1, progress=lambda *counts: done.append(counts))

    assert len(images) == 4
    assert [(one.image, one.trial_id) for one in said] == [
        (image.name, name) for image in images for name in ("large", model.name)
    ]
    assert done == [
        (1, 4),
        (2, 4),
        (3, 4),
        (4, 4),
    ]
