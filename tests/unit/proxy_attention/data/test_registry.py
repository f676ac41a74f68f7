import pytest
from torchvision import datasets

from proxy_attention.data.registry import SOURCES


@pytest.mark.parametrize("dataset", SOURCES)
def test_every_row_says_on_one_line_whose_it_is_what_lies_where_how_it_is_split_and_labelled(dataset):
    source = SOURCES[dataset]

    texts = (source.layout, source.split, source.label, source.licence, source.home)
    assert all(text and "\n" not in text for text in texts)
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
        assert archive.url.startswith("https://") or len(archive.sha256) == 64
        assert archive.most_mb > 0


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

    secure = {name: (url.replace("http://", "https://"), md5) for name, (url, md5) in expected.items()}
    assert {name: stated[name] for name in secure} == secure
