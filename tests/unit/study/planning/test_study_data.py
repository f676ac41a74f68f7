import dataclasses
from functools import partial

import numpy as np
import pytest
from PIL import Image

from proxy_attention.data.white_level import WhiteLevel
from proxy_attention.errors import DataError
from study.planned_images import images_of
from study.planning.planner import Planner
from study.planning.search import grid_plan
from study.planning.study_file import parse_study


def test_sizes_are_the_images_of_train_and_val(planner, base):
    assert planner.data.train_and_val_images(base) == (32, 8)
    assert planner.data.train_and_val_images(dataclasses.replace(base, train_fraction=0.5)) == (16, 8)


def test_unreadable_images_are_left_out_of_the_split(own_images, study_text):
    broken = next((own_images / "train").rglob("*.png"))
    broken.write_text("no image")
    study = parse_study(study_text, settings=["on_bad_image=skip"])
    planner = Planner.of(study, data_root=own_images, device="cpu", auto=lambda config: {})
    config = study.config({"schedule": "2"}, 0)

    assert planner.data.inspection(config).skipped == (broken.relative_to(own_images).as_posix(),)
    assert sum(planner.data.train_and_val_images(config)) == 39


def test_unreadable_images_are_named_with_their_reasons_and_the_command_that_checks_them(own_images, study_text):
    (broken, pointer, large) = sorted((own_images / "train").rglob("*.png"))[:3]
    broken.write_bytes(broken.read_bytes()[:60])
    pointer.write_text("version https://git-lfs.github.com/spec/v1\n")
    Image.new("1", (20000, 10000)).save(large)
    study = parse_study(study_text)
    planner = Planner.of(study, data_root=own_images, device="cpu", auto=lambda config: {})

    with pytest.raises(DataError) as refused:
        planner.data.inspection(study.config({"schedule": "2"}, 0))

    text = str(refused.value)
    assert "3 of 56 are not: " in text
    assert f"{pointer.name} (a Git LFS pointer, not the image itself: git lfs pull fetches it)" in text
    assert f"{large.name} (it has 200,000,000 pixels; --max-pixels allows 100,000,000)" in text
    assert text.endswith(f"; python study/data.py check {own_images} reads and names all")
    assert "\n" not in text


def test_every_image_is_read_once_and_counted(image_folder, study_text):
    told = []
    study = parse_study(study_text)
    planner = Planner.of(
        study, data_root=image_folder, device="cpu", auto=lambda config: {}, progress=lambda *args: told.append(args)
    )

    grid_plan(study, planner)

    assert told == [("checking folder", done, 56) for done in range(1, 57)]


def test_a_planner_with_a_cache_leaves_every_size_of_the_study_there(planner, base, image_folder, study_text, tmp_path):
    caching = Planner.of(
        parse_study(study_text), data_root=image_folder, device="cpu", auto=lambda config: {}, cache=tmp_path
    )

    for config in (base, dataclasses.replace(base, image_size=48), dataclasses.replace(base, seed=1)):
        assert caching.trial(0, "proxy", config) == planner.trial(0, "proxy", config)

    assert [path.name for path in sorted(tmp_path.glob("images/*/*.u8"))] == ["32px.u8", "48px.u8"]


def test_a_planner_with_a_cache_sees_that_it_is_what_was_written(image_folder, study_text, base, tmp_path):
    make = partial(Planner.of, parse_study(study_text), data_root=image_folder, device="cpu", auto=lambda config: {})
    make(cache=tmp_path).data.inspection(base)
    (path,) = tmp_path.glob("images/*/*.u8")
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)))

    make(cache=tmp_path).data.inspection(base)

    assert path.read_bytes() == content


def test_images_that_change_while_a_study_is_planned_are_an_error(own_images, study_text, base, tmp_path):
    study = parse_study(study_text)
    planner = Planner.of(study, data_root=own_images, device="cpu", auto=lambda config: {}, cache=tmp_path / "cache")
    planner.data.inspection(base)
    first, second = sorted((own_images / "train").rglob("*.png"))[:2]
    first.write_bytes(second.read_bytes())

    with pytest.raises(DataError, match="the images of folder must not change while a study is planned; they have"):
        planner.data.inspection(dataclasses.replace(base, image_size=48))


def test_the_white_of_deep_images_is_found_once_and_named_in_every_trial(own_images, study_text, tmp_path):
    files = sorted(own_images.rglob("*.png"))
    for file in files:
        Image.fromarray(np.resize(np.array([0, 4000], np.uint16), (32, 32))).save(file)
    study, told = parse_study(study_text), []
    planner = Planner.of(
        study,
        data_root=own_images,
        device="cpu",
        auto=lambda config: {},
        progress=lambda *args: told.append(args),
        cache=tmp_path / "cache",
    )

    trials = grid_plan(study, planner)
    given = planner.trial(0, "proxy", dataclasses.replace(trials[0].config, white_level=65535.0))

    assert {trial.config.white_level for trial in trials} == {4095.0}
    assert planner.data.white_levels == [WhiteLevel(4095.0, len(files), 4000.0)]
    assert given.config_digest not in {trial.config_digest for trial in trials}
    assert max(done for _, done, _ in told) == len(files)
    images = [images_of(trial, own_images, cache=tmp_path / "cache") for trial in (trials[0], given)]
    assert [int(each.images[0, 0, 0, 1]) for each in images] == [249, 15]


def test_a_config_of_images_of_eight_bits_keeps_its_digest(planner, base):
    assert planner.trial(0, "proxy", base).config.white_level == "auto"
    assert planner.data.white_levels == []


def test_places_are_known_where_a_shortcut_is_planted_or_the_data_set_tells_them(planner, base, monkeypatch):
    assert not planner.data.tells_places(base)
    assert planner.data.tells_places(dataclasses.replace(base, shortcut="watermark:1"))

    located = dataclasses.replace(planner.data.catalogue(base), region=lambda number: None)
    monkeypatch.setattr(planner.data, "catalogue", lambda config: located)

    assert planner.data.tells_places(base)
