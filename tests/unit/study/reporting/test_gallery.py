import pytest

from proxy_attention.saliency.registry import METHODS
from study.analyse import main
from study.reporting.gallery_models import GallerySize


def test_every_method_is_drawn_unless_fewer_are_asked_for():
    assert set(METHODS) == set(GallerySize().methods)
    assert len(METHODS) >= 10


@pytest.mark.parametrize("below", ["", "further/down"])
def test_a_folder_that_is_a_file_is_refused_in_one_line_before_anything_is_trained(tmp_path, capsys, below):
    file = tmp_path / "file"
    file.write_text("mine")

    code = main(["--gallery", str(file / below)])

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("analyse.py: the gallery's folder must be one that can be written to; got ")
    assert err.count("\n") == 1
    assert file.read_text() == "mine"


def test_a_run_beside_the_gallery_is_refused(capsys):
    assert main(["somewhere", "--gallery"]) == 2
    assert "--gallery must stand without a PATH, which it does not read; got 'somewhere'" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--publish"], ["--query", "seed == 0"], ["--export-proxies", "there"]])
def test_an_option_that_needs_a_run_is_refused_beside_the_gallery(capsys, option):
    assert main(["--gallery", *option]) == 2
    assert f"{option[0]} must not be given with --gallery, which reads no run" in capsys.readouterr().err
