import pytest
from layout_trees import TREES
from torchvision import datasets

from proxy_attention.data.images import load
from proxy_attention.data.registry import SOURCES
from proxy_attention.data.sources import open_source
from proxy_attention.errors import ConfigError


@pytest.mark.parametrize("dataset", SOURCES)
def test_every_data_set_names_its_licence_and_its_home(dataset):
    assert SOURCES[dataset].licence
    assert SOURCES[dataset].home


def test_a_folder_of_ones_own_asks_for_a_data_root():
    with pytest.raises(ConfigError, match=r"must be given a data root; got none"):
        open_source("folder")


NAMED = [name for name, source in SOURCES.items() if source.needs_root and name != "folder"]


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


@pytest.mark.parametrize("dataset", [name for name in SOURCES if name != "folder"])
def test_a_data_set_that_says_its_classes_refuses_a_label_function(dataset, tmp_path):
    root = tmp_path if SOURCES[dataset].needs_root else None
    with pytest.raises(ConfigError, match=f"label_function must be left out with dataset '{dataset}'"):
        open_source(dataset, root, "file-prefix")


@pytest.mark.parametrize("dataset", SOURCES)
def test_every_row_says_on_one_line_what_lies_where_how_it_is_split_and_labelled(dataset):
    source = SOURCES[dataset]

    assert all(text and "\n" not in text for text in (source.layout, source.split, source.label, source.licence))
    assert source.classes is None or source.classes > 1


@pytest.mark.parametrize("dataset", [name for name, source in SOURCES.items() if source.needs_root])
def test_what_lies_elsewhere_is_either_downloaded_or_got_by_hand(dataset):
    source = SOURCES[dataset]

    assert bool(source.archives) != bool(source.by_hand)
    assert not source.by_hand or dataset == "folder" or ("://" in source.by_hand and "DIR" in source.by_hand)
    for archive in source.archives:
        assert len(archive.md5) == 32
        assert int(archive.md5, 16)
        assert archive.md5 == archive.md5.lower()
        assert archive.url.endswith(f"/{archive.filename}")
        assert archive.url.startswith(("http://", "https://"))


def test_archives_are_those_of_torchvisions_own_classes():
    stated = {archive.filename: (archive.url, archive.md5) for row in SOURCES.values() for archive in row.archives}
    expected = {
        "imagenette2-320.tgz": datasets.Imagenette._ARCHIVES["320px"],
        "food-101.tar.gz": (datasets.Food101._URL, datasets.Food101._MD5),
        **{url.rpartition("/")[2]: (url, md5) for url, md5 in datasets.OxfordIIITPet._RESOURCES},
        **{
            name: (datasets.Flowers102._download_url_prefix + name, md5)
            for name, md5 in datasets.Flowers102._file_dict.values()
        },
    }
    places = datasets.Places365
    for name, md5 in (
        places._DEVKIT_META["standard"],
        places._IMAGES_META["train-standard", True],
        places._IMAGES_META["val", True],
    ):
        expected[name] = (places._BASE_URL + name, md5)

    assert {name: stated[name] for name in expected} == expected


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
    with pytest.raises(ConfigError, match=r"dataset must be one of asl-alphabet, .*, tsinghua-dogs; got 'imagenet'"):
        open_source("imagenet")
