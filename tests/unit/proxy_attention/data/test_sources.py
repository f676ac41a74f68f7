import pytest
from layout_trees import TREES, put

from proxy_attention.data.decoding import UNREADABLE
from proxy_attention.data.images import load
from proxy_attention.data.registry import SOURCES
from proxy_attention.data.sources import open_source
from proxy_attention.errors import ConfigError

NAMED = [name for name, source in SOURCES.items() if source.needs_root and name != "folder"]


def test_a_folder_of_ones_own_asks_for_a_data_root():
    with pytest.raises(ConfigError, match=r"must be given a data root; got none"):
        open_source("folder")


@pytest.mark.parametrize("dataset", NAMED)
def test_a_named_data_set_that_is_nowhere_says_where_it_is_looked_for(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = f"dataset '{dataset}' must be given a data root, or lie in data/{dataset}; got none"

    with pytest.raises(ConfigError) as refused:
        open_source(dataset)

    assert str(refused.value) == expected


@pytest.mark.parametrize("dataset", NAMED)
def test_a_named_data_set_is_found_in_the_folder_data_and_stays_found_from_another(dataset, tmp_path, monkeypatch):
    TREES[dataset](tmp_path / "data" / dataset)
    monkeypatch.chdir(tmp_path)

    catalogue = open_source(dataset)

    monkeypatch.chdir(tmp_path / "data")
    assert catalogue.read(0)


def test_a_data_set_is_opened_with_a_limit_of_pixels_of_its_files(tmp_path):
    TREES["imagenette"](tmp_path)

    catalogue = open_source("imagenette", tmp_path, max_pixels=5)

    assert catalogue.max_pixels == 5
    with pytest.raises(UNREADABLE, match="max_pixels allows 5"):
        catalogue.decode(catalogue.read(0))


@pytest.mark.parametrize("dataset", [name for name in SOURCES if name != "folder"])
def test_a_data_set_that_says_its_classes_refuses_a_label_function(dataset, tmp_path):
    root = tmp_path if SOURCES[dataset].needs_root else None
    with pytest.raises(ConfigError, match=f"label_function must be left out with dataset '{dataset}'"):
        open_source(dataset, root, "file-prefix")


@pytest.mark.parametrize("dataset", [name for name, source in SOURCES.items() if not source.needs_root])
def test_a_data_set_inside_the_package_refuses_a_place(dataset, tmp_path):
    with pytest.raises(ConfigError, match=f"a data root must not be given with dataset '{dataset}'"):
        open_source(dataset, tmp_path)


@pytest.mark.parametrize("dataset", [name for name, source in SOURCES.items() if not source.needs_root])
def test_a_data_set_inside_the_package_opens_and_loads(dataset):
    loaded = load(open_source(dataset), 16)

    assert loaded.images.shape[1:] == (3, 16, 16)
    assert not loaded.skipped


def test_an_unknown_data_set_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match=r"dataset must be one of asl-alphabet, .*, waterbirds; got 'imagenet'"):
        open_source("imagenet")


def test_a_folder_is_labelled_as_the_label_function_says(tmp_path):
    put(tmp_path, ["01.cat/x_1.png", "02.dog/y_1.png"])

    assert open_source("folder", tmp_path).classes == ("01.cat", "02.dog")
    assert open_source("folder", tmp_path, "numbered-folder").classes == ("cat", "dog")
    assert open_source("folder", tmp_path, "file-prefix").classes == ("x", "y")
