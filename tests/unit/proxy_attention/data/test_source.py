import pytest

from proxy_attention.data.source import Archive, Source

ARCHIVE = Archive(url="https://here/a.zip", md5="0" * 32, filename="a.zip", most_mb=1)


def source(**fields):
    usual = {"licence": "free", "home": "here", "classes": 2, "split": "", "layout": "", "label": ""}
    return Source(open=lambda root, label: None, **(usual | fields))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"archives": (ARCHIVE,)}, "download"),
        ({"by_hand": "ask for it"}, "by hand"),
        ({"needs_root": False}, "in the package"),
    ],
)
def test_a_table_says_how_a_person_gets_a_data_set(fields, said):
    assert source(**fields).obtained_by == said


def test_a_table_says_how_many_classes_there_are_where_that_is_known():
    assert source().class_count == "2"
    assert source(classes=None).class_count == "as found"
