"""Waterbirds is read as it is published: two classes before two places, with its own train, val and test."""

import numpy as np
import pytest
from layout_trees import TREES

from proxy_attention.data.images import load
from proxy_attention.data.sources import open_source
from proxy_attention.data.splits import split_of
from proxy_attention.errors import ConfigError, DataError


@pytest.fixture
def root(tmp_path):
    TREES["waterbirds"](tmp_path)
    return tmp_path


def metadata(root):
    return root / "waterbird_complete95_forest2water2" / "metadata.csv"


def change(root, line, column, value):
    """Change one field of a line of metadata.csv, counted from 1."""
    lines = metadata(root).read_text().splitlines()
    fields = lines[line - 1].split(",")
    fields[column] = value
    lines[line - 1] = ",".join(fields)
    metadata(root).write_text("\n".join(lines) + "\n")


def test_each_image_has_the_class_split_and_group_of_its_row(root):
    catalogue = open_source("waterbirds", root)
    rows = {row.split(",")[1]: row.split(",") for row in metadata(root).read_text().splitlines()[1:]}

    assert catalogue.classes == ("landbird", "waterbird")
    assert len(catalogue.names) == len(rows)
    for image, name in enumerate(catalogue.names):
        y, split, place = (int(rows[name][column]) for column in (2, 3, 4))
        assert catalogue.labels[image] == y
        assert catalogue.own_split(image) == ("train", "val", "test")[split]
        assert catalogue.groups.name_of(image) == f"{('land', 'water')[y]}bird on {('land', 'water')[place]}"
    assert catalogue.groups.conflicting == {"landbird on water", "waterbird on land"}


def test_its_own_val_is_val_and_is_never_trained_on(root, config):
    images = load(open_source("waterbirds", root), 16)
    splits = [split_of(images, config(dataset="waterbirds", seed=seed)) for seed in (0, 1)]

    assert {split.digest for split in splits} == {splits[0].digest}
    assert splits[0].val.tolist() == np.flatnonzero(images.own_val.numpy()).tolist()
    assert splits[0].test.tolist() == np.flatnonzero(images.own_test.numpy()).tolist()
    assert splits[0].train.tolist() == np.flatnonzero(~(images.own_val | images.own_test).numpy()).tolist()


@pytest.mark.parametrize("split", ["merged", "redrawn"])
def test_not_even_an_audit_trains_on_its_own_val(split, root, config):
    images = load(open_source("waterbirds", root), 16)
    told = f"split must be fixed with dataset 'waterbirds', whose own val is never trained on; got '{split}'"

    with pytest.raises(ConfigError, match=told):
        split_of(images, config(dataset="waterbirds", split=split))


def test_folds_of_a_data_set_with_its_own_val_are_refused(root, config):
    images = load(open_source("waterbirds", root), 16)

    with pytest.raises(ConfigError, match="folds must be 0 with dataset 'waterbirds', which has its own val; got 3"):
        split_of(images, config(dataset="waterbirds", folds=3))


def test_the_val_of_a_data_set_is_part_of_its_digest(root):
    before = load(open_source("waterbirds", root), 16).digest
    lines = metadata(root).read_text().splitlines()
    number = next(n for n, line in enumerate(lines, 1) if n > 1 and line.split(",")[3] == "1")
    change(root, number, 3, "0")

    assert load(open_source("waterbirds", root), 16).digest != before


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        (2, "2", "metadata.csv, line 3, must have one of 0, 1 as y; got '2'"),
        (3, "train", "metadata.csv, line 3, must have one of 0, 1, 2 as split; got 'train'"),
        (4, "", "metadata.csv, line 3, must have one of 0, 1 as place; got ''"),
        (1, "../x.jpg", "metadata.csv, line 3, must name files below the data root; got '../x.jpg'"),
        (1, "x.jpg", "every listed image must be in the data root; 1 of 16 is missing"),
    ],
)
def test_a_row_that_is_not_as_published_is_named(column, value, told, root):
    change(root, 3, column, value)

    with pytest.raises(DataError) as refused:
        open_source("waterbirds", root)

    assert told in str(refused.value)


def test_another_header_is_refused(root):
    change(root, 1, 4, "background")

    with pytest.raises(DataError, match="line 1, must have the columns img_id, img_filename, y, split, place, place_f"):
        open_source("waterbirds", root)
