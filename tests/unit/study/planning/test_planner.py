import dataclasses
import re
from functools import partial

import pytest
from safetensors.torch import save_file

from proxy_attention.config import DEFAULTS, TrialConfig
from proxy_attention.errors import ConfigError, DataError
from proxy_attention.models.build import build
from proxy_attention.saliency.faithfulness import PASSES
from proxy_attention.validation import CHOICES
from study.planning.planner import Planner
from study.planning.search import grid_plan
from study.planning.study_file import parse_study

OTHER = {
    "model": "test_efficientnet",
    "image_size": 48,
    "schedule": "p,1",
    "threshold": 0.25,
    "weight": 0.25,
    "subset": 0.5,
    "smoothing": 1.0,
    "max_area": 0.5,
    "clear_every_step": False,
    "compound": True,
    "augment": "none",
    "batch_size": 16,
    "lr": 0.01,
    "weight_decay": 0.0,
    "precision": "bf16",
    "threads": 2,
    "val_fraction": 0.25,
    "test_fraction": 0.25,
    "train_fraction": 0.5,
    "white_level": 4095.0,
    "shortcut": "patch:0.9",
    "folds": 3,
    "fold": 1,
    "split_seed": 9,
    "seed": 1,
    "compile": True,
    "subset_decay": 0.5,
    "patience": 3,
    "repeats": 3,
    "restart": True,
    "feature_layer": "layer3",
    "eigen_smooth": True,
    "freeze_trunk": True,
    "judge": "layercam",
    "judge_images": 8,
}
"""Another value than the base's for every field that is no name of a table, but those of two tests of their own."""


def other_value(base, field):
    if field in OTHER:
        return OTHER[field]
    return next(name for name in CHOICES[field] if name != getattr(base, field))


@pytest.mark.parametrize("field", sorted(set(DEFAULTS) - {"dataset", "weights"}))
def test_trials_that_differ_in_one_field_differ_in_digest(planner, base, field):
    base = dataclasses.replace(base, folds=2 if field == "fold" else 0, schedule="p?,p")  # which uses every field
    base = dataclasses.replace(base, substitute="add" if field == "repeats" else "replace")
    changed = dataclasses.replace(base, **{field: other_value(base, field)})
    assert getattr(changed, field) != getattr(base, field)

    assert planner.trial(0, "proxy", changed).config_digest != planner.trial(0, "proxy", base).config_digest


def test_trials_of_other_images_differ_in_digest(planner, base, own_images, study_text):
    next(own_images.rglob("*.png")).unlink()
    other = Planner.of(parse_study(study_text), data_root=own_images, device="cpu", auto=lambda config: {})

    one, two = planner.trial(0, "proxy", base), other.trial(0, "proxy", base)

    assert one.data_digest != two.data_digest
    assert one.config_digest != two.config_digest


def test_the_same_images_elsewhere_are_the_same_trial(planner, base, own_images, study_text):
    other = Planner.of(parse_study(study_text), data_root=own_images, device="cpu", auto=lambda config: {})

    assert other.trial(0, "proxy", base) == planner.trial(0, "proxy", base)


def test_a_trial_is_named_by_number_arm_seed_and_digest(planner, base):
    trial = planner.trial(12, "random-mask", dataclasses.replace(base, seed=3))

    assert trial.trial_id == f"0012-random-mask-seed3-{trial.config_digest[:8]}"
    assert re.fullmatch("[0-9a-f]{64}", trial.config_digest)
    assert trial.arm == "random-mask"


def test_number_and_arm_of_a_trial_are_no_part_of_its_digest(planner, base):
    assert planner.trial(0, "proxy", base).config_digest == planner.trial(7, "twin", base).config_digest


def weights_file(path):
    module = build("test_resnet", classes=4, image_size=32, weights="none", seed=5).module
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, path)


def test_a_weights_path_becomes_absolute_because_workers_run_elsewhere(planner, base, tmp_path, monkeypatch):
    weights_file(tmp_path / "w.safetensors")
    monkeypatch.chdir(tmp_path)

    trial = planner.trial(0, "proxy", dataclasses.replace(base, weights="w.safetensors"))

    assert trial.config.weights == str(tmp_path / "w.safetensors")


def test_weights_are_known_by_their_content_not_their_path(planner, base, tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
        weights_file(tmp_path / name)
    one, two = (
        planner.trial(0, "proxy", dataclasses.replace(base, weights=str(tmp_path / f"{n}.safetensors"))) for n in "ab"
    )

    assert one.config_digest == two.config_digest
    assert one.config_digest != planner.trial(0, "proxy", base).config_digest


def test_a_missing_weights_file_is_refused_before_anything_is_trained(planner, base):
    with pytest.raises(ConfigError, match="weights must be "):
        planner.trial(0, "proxy", dataclasses.replace(base, weights="nowhere.safetensors"))


def test_an_unknown_data_root_is_refused(base, study_text, tmp_path):
    planner = Planner.of(parse_study(study_text), data_root=tmp_path / "nowhere", device="cpu", auto=lambda config: {})

    with pytest.raises(DataError, match="data root must be an existing folder"):
        planner.trial(0, "proxy", base)


def test_what_is_auto_becomes_plain_in_every_trial(image_folder, study_text):
    study = parse_study(study_text, settings=["threads=auto", "precision=auto"])
    planner = Planner.of(
        study, data_root=image_folder, device="cpu", auto=lambda config: {"threads": 2, "precision": "fp32"}
    )

    assert {(trial.config.threads, trial.config.precision) for trial in grid_plan(study, planner)} == {(2, "fp32")}


def test_a_trial_that_is_still_auto_has_no_digest(image_folder, study_text):
    study = parse_study(study_text, settings=["threads=auto"])
    planner = Planner.of(study, data_root=image_folder, device="cpu", auto=lambda config: {})

    with pytest.raises(ConfigError, match="threads must be a plain value in a trial; got 'auto'"):
        grid_plan(study, planner)


def test_a_seed_has_one_split_whatever_the_proxies(planner, study_text):
    trials = grid_plan(parse_study(study_text), planner)
    splits = {(trial.config.seed, trial.split_digest) for trial in trials}

    assert len(trials) == 8
    assert len(splits) == len({digest for _, digest in splits}) == 2


def test_every_field_has_another_value_here():
    base = TrialConfig()

    assert [name for name in DEFAULTS if name not in ("dataset", "weights") and other_value(base, name) is None] == []


def test_a_data_set_that_tells_no_place_is_refused_before_anything_is_trained(planner, base):
    located = dataclasses.replace(base, schedule="1,p", mask="region")

    for check in (partial(planner.trial, 0, "proxy"), planner.check_model):  # a grid's trials; what a search may ask
        with pytest.raises(ConfigError, match=r"^mask must be another than region where no place is known; got it for"):
            check(located)
    assert planner.trial(0, "proxy", dataclasses.replace(located, shortcut="patch:0.9")).config.mask == "region"


def test_judging_takes_every_steps_pass_of_at_most_all_test_images(planner, base):
    each = PASSES + 1

    assert planner.judge_passes(dataclasses.replace(base, judge_images=50)) == 16 * each  # all that the test split has
    assert planner.judge_passes(dataclasses.replace(base, judge_images=5)) == 5 * each
    assert planner.judge_passes(dataclasses.replace(base, judge="scorecam", judge_images=5)) == 5 * (PASSES + 97)
    assert planner.judge_passes(dataclasses.replace(base, judge_images=0)) == 0
    assert planner.judge_passes(dataclasses.replace(base, saliency="eigengradcam")) == 0
