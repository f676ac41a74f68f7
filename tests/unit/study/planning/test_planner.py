import dataclasses
import io
import re
from functools import partial

import pytest
from rich.console import Console
from safetensors.torch import save_file

from proxy_attention.config import DEFAULTS, TrialConfig
from proxy_attention.errors import ConfigError, DataError
from proxy_attention.models.classifier import build, build_for
from proxy_attention.saliency.faithfulness import PASSES
from proxy_attention.saliency.registry import METHODS
from proxy_attention.validation import CHOICES
from study.planning.planner import Planner, fingerprint
from study.planning.search import grid_plan
from study.planning.study_file import parse_study
from study.run import _show_plan

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
    "folds": 3,
    "fold": 1,
    "split_seed": 9,
    "seed": 1,
    "compile": True,
    "subset_decay": 0.5,
    "patience": 3,
    "feature_layer": "layer3",
    "eigen_smooth": True,
    "freeze_trunk": True,
    "judge": "layercam",
    "judge_images": 8,
}
"""Another value than the base's for every field that is no name of a table, but those of two tests of their own."""


@pytest.fixture
def planner(image_folder, study_text):
    return Planner(parse_study(study_text), data_root=image_folder, device="cpu", auto=lambda config: {})


@pytest.fixture
def base(study_text):
    return parse_study(study_text).config({"schedule": "1,p"}, 0)


def other_value(base, field):
    if field in OTHER:
        return OTHER[field]
    return next(name for name in CHOICES[field] if name != getattr(base, field))


@pytest.mark.parametrize("field", sorted(set(DEFAULTS) - {"dataset", "weights"}))
def test_trials_that_differ_in_one_field_differ_in_digest(planner, base, field):
    base = dataclasses.replace(base, folds=2 if field == "fold" else 0, schedule="p?,p")  # which uses every field
    changed = dataclasses.replace(base, **{field: other_value(base, field)})
    assert getattr(changed, field) != getattr(base, field)

    assert planner.trial(0, "proxy", changed).config_digest != planner.trial(0, "proxy", base).config_digest


def test_trials_of_other_images_differ_in_digest(planner, base, own_images, study_text):
    next(own_images.rglob("*.png")).unlink()
    other = Planner(parse_study(study_text), data_root=own_images, device="cpu", auto=lambda config: {})

    one, two = planner.trial(0, "proxy", base), other.trial(0, "proxy", base)

    assert one.data_digest != two.data_digest
    assert one.config_digest != two.config_digest


def test_the_same_images_elsewhere_are_the_same_trial(planner, base, own_images, study_text):
    other = Planner(parse_study(study_text), data_root=own_images, device="cpu", auto=lambda config: {})

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
    planner = Planner(parse_study(study_text), data_root=tmp_path / "nowhere", device="cpu", auto=lambda config: {})

    with pytest.raises(DataError, match="data root must be an existing folder"):
        planner.trial(0, "proxy", base)


def test_what_is_auto_becomes_plain_in_every_trial(image_folder, study_text):
    study = parse_study(study_text, settings=["threads=auto", "precision=auto"])
    planner = Planner(
        study, data_root=image_folder, device="cpu", auto=lambda config: {"threads": 2, "precision": "fp32"}
    )

    assert {(trial.config.threads, trial.config.precision) for trial in grid_plan(study, planner)} == {(2, "fp32")}


def test_a_trial_that_is_still_auto_has_no_digest(image_folder, study_text):
    study = parse_study(study_text, settings=["threads=auto"])
    planner = Planner(study, data_root=image_folder, device="cpu", auto=lambda config: {})

    with pytest.raises(ConfigError, match="threads must be a plain value in a trial; got 'auto'"):
        grid_plan(study, planner)


def test_sizes_are_the_images_of_train_and_val(planner, base):
    assert planner.sizes(base) == (32, 8)
    assert planner.sizes(dataclasses.replace(base, train_fraction=0.5)) == (16, 8)


def test_unreadable_images_are_left_out_of_the_split(own_images, study_text):
    broken = next((own_images / "train").rglob("*.png"))
    broken.write_text("no image")
    study = parse_study(study_text, settings=["on_bad_image=skip"])
    planner = Planner(study, data_root=own_images, device="cpu", auto=lambda config: {})
    config = study.config({"schedule": "2"}, 0)

    assert planner.data(config).skipped == (broken.relative_to(own_images).as_posix(),)
    assert sum(planner.sizes(config)) == 39


def test_a_seed_has_one_split_whatever_the_proxies(planner, study_text):
    trials = grid_plan(parse_study(study_text), planner)
    splits = {(trial.config.seed, trial.split_digest) for trial in trials}

    assert len(trials) == 8
    assert len(splits) == len({digest for _, digest in splits}) == 2


def test_every_image_is_read_once_and_counted(image_folder, study_text):
    told = []
    study = parse_study(study_text)
    planner = Planner(
        study, data_root=image_folder, device="cpu", auto=lambda config: {}, progress=lambda *args: told.append(args)
    )

    grid_plan(study, planner)

    assert told == [("checking folder", done, 56) for done in range(1, 57)]


def test_a_desk_with_a_cache_leaves_every_size_of_the_study_there(planner, base, image_folder, study_text, tmp_path):
    caching = Planner(
        parse_study(study_text), data_root=image_folder, device="cpu", auto=lambda config: {}, cache=tmp_path
    )

    for config in (base, dataclasses.replace(base, image_size=48), dataclasses.replace(base, seed=1)):
        assert caching.trial(0, "proxy", config) == planner.trial(0, "proxy", config)

    assert [path.name for path in sorted(tmp_path.glob("images/*/*.u8"))] == ["32px.u8", "48px.u8"]


def test_a_desk_with_a_cache_sees_that_it_is_what_was_written(image_folder, study_text, base, tmp_path):
    make = partial(Planner, parse_study(study_text), data_root=image_folder, device="cpu", auto=lambda config: {})
    make(cache=tmp_path).data(base)
    (path,) = tmp_path.glob("images/*/*.u8")
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)))

    make(cache=tmp_path).data(base)

    assert path.read_bytes() == content


def test_images_that_change_while_a_study_is_planned_are_an_error(own_images, study_text, base, tmp_path):
    study = parse_study(study_text)
    planner = Planner(study, data_root=own_images, device="cpu", auto=lambda config: {}, cache=tmp_path / "cache")
    planner.data(base)
    first, second = sorted((own_images / "train").rglob("*.png"))[:2]
    first.write_bytes(second.read_bytes())

    with pytest.raises(DataError, match="the images of folder must not change while a study is planned; they have"):
        planner.data(dataclasses.replace(base, image_size=48))


def test_the_shape_of_each_model_is_noted_for_people(planner, base):
    planner.trial(0, "proxy", base)

    assert planner.notes == {("test_resnet", 32, "none", "last"): "map 4x4, small-image stem, output stride 8"}


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"feature_layer": "layer3"}, "map 8x8, small-image stem, output stride 8, map of layer3 as asked"),
        ({"model": "test_mambaout", "image_size": 64}, "map 4x4, as it is, map of stages.2 (the last is 2x2)"),
    ],
)
def test_a_layer_that_is_not_the_last_is_noted(planner, base, changes, note):
    planner.trial(0, "proxy", dataclasses.replace(base, **changes))

    assert list(planner.notes.values()) == [note]


def test_each_model_is_built_once_whatever_explains_it(image_folder, study_text, monkeypatch):
    built = []
    monkeypatch.setattr(
        "study.planning.planner.build_for",
        lambda config, **rest: (built.append(config.model), build_for(config, **rest))[1],
    )
    models = ["model=['test_resnet', 'test_vit']", "saliency=['gradcam', 'layercam', 'eigencam']"]
    study = parse_study(study_text, settings=models)
    planner = Planner(study, data_root=image_folder, device="cpu", auto=lambda config: {})

    planned = grid_plan(study, planner)

    assert {trial.config.saliency for trial in planned} == {"gradcam", "layercam", "eigencam"}
    assert sorted(built) == ["resnet18", "test_resnet", "test_vit"]  # the arm takes no model from the search


def test_a_method_that_a_model_cannot_have_is_refused_before_anything_is_trained(planner, base, monkeypatch):
    lacking = dataclasses.replace(METHODS["layercam"], lacks=lambda model: "no attention")
    monkeypatch.setitem(METHODS, "layercam", lacking)

    planner.trial(0, "proxy", base)
    planner.trial(0, "baseline", dataclasses.replace(base, saliency="layercam", schedule="2"))

    with pytest.raises(
        ConfigError, match="saliency must be a method that can explain test_resnet, which has no attention; got 'layer"
    ):
        planner.trial(0, "proxy", dataclasses.replace(base, saliency="layercam"))


def test_smoothing_of_a_map_that_is_no_sum_is_refused_before_anything_is_trained(planner, base):
    with pytest.raises(
        ConfigError, match="eigen_smooth must be false for a map that is no weighted sum; got 'eigencam'"
    ):
        planner.trial(0, "proxy", dataclasses.replace(base, saliency="eigencam", eigen_smooth=True))


def test_methods_that_are_one_for_a_model_are_told_where_they_are_planned(planner, base):
    for saliency in ("xgradcam", "gradcam", "layercam", "hirescam"):
        planner.trial(0, "proxy", dataclasses.replace(base, saliency=saliency))
    for saliency in ("gradcam", "hirescam"):
        planner.trial(0, "proxy", dataclasses.replace(base, saliency=saliency, model="test_vit"))

    assert planner.same == [("test_resnet", ("gradcam", "hirescam", "xgradcam"))]


def test_methods_that_are_planned_alone_are_not_told_to_be_one(planner, base):
    planner.trial(0, "proxy", dataclasses.replace(base, saliency="gradcam"))
    planner.trial(0, "baseline", dataclasses.replace(base, saliency="hirescam", schedule="2"))

    assert planner.same == []


def test_a_plan_says_in_one_line_which_methods_are_one(prepared_run, study_text, tmp_path):
    text = study_text.replace("threshold = [0.3, 0.6]", 'saliency = ["gradcam", "layercam", "hirescam"]')
    written = io.StringIO()

    _show_plan(prepared_run(tmp_path / "small" / "grid", text), Console(file=written, width=60), 0)

    told = [line for line in written.getvalue().splitlines() if line.startswith("the same")]
    assert told == [
        "the same     gradcam, hirescam are one method under test_resnet's linear head: their rows will be equal"
    ]


def test_a_fingerprint_does_not_depend_on_what_else_a_desk_has_planned(planner, base, image_folder, study_text):
    study = parse_study(study_text)
    fresh = fingerprint(
        study, "grid", grid_plan(study, Planner(study, data_root=image_folder, device="cpu", auto=lambda config: {}))
    )
    planner.trial(3, "x", dataclasses.replace(base, image_size=48, seed=8))
    planner.sizes(base)

    assert fingerprint(study, "grid", grid_plan(study, planner)) == fresh


@pytest.mark.parametrize(
    "change",
    [["threshold=[0.3, 0.7]"], ["threshold=[0.3]"], ["lr=0.01"], ["schedule=['p,1', '2']"], ["train_fraction=0.5"]],
)
def test_a_fingerprint_of_a_grid_changes_with_its_trials(planner, study_text, change):
    study, other = parse_study(study_text), parse_study(study_text, settings=change)

    assert fingerprint(study, "grid", grid_plan(study, planner)) != fingerprint(
        other, "grid", grid_plan(other, planner)
    )


def test_a_fingerprint_of_a_grid_changes_with_the_seeds(planner, study_text):
    study, other = parse_study(study_text), parse_study(study_text, seeds=(0, 2))

    assert fingerprint(study, "grid", grid_plan(study, planner)) != fingerprint(
        other, "grid", grid_plan(other, planner)
    )


def test_a_fingerprint_of_a_grid_does_not_change_with_the_words_of_its_question(planner, study_text):
    study = parse_study(study_text)
    other = dataclasses.replace(study, question="What else?")

    assert fingerprint(study, "grid", grid_plan(study, planner)) == fingerprint(
        other, "grid", grid_plan(other, planner)
    )


SEARCHED = {
    "seeds": {"seeds": (0, 2)},
    "fixed": {"settings": ["lr=0.01"]},
    "choices": {"settings": ["threshold=[0.3, 0.7]"]},
    "range": {"settings": ["threshold={low = 0.1, high = 0.2}"]},
}


@pytest.mark.parametrize("change", SEARCHED.values(), ids=SEARCHED.keys())
def test_a_fingerprint_of_a_search_changes_with_its_space(study_text, change):
    study, other = parse_study(study_text), parse_study(study_text, **change)

    assert fingerprint(study, "optuna", (), suggestions=4) != fingerprint(other, "optuna", (), suggestions=4)


def test_a_fingerprint_of_a_search_changes_with_the_ends_of_a_range(study_text):
    one, two = (parse_study(study_text, settings=[f"threshold={{low = 0.1, high = {end}}}"]) for end in (0.8, 0.9))

    assert fingerprint(one, "optuna", ()) != fingerprint(two, "optuna", ())


def test_a_fingerprint_of_a_search_changes_with_an_arm(study_text):
    other = parse_study(study_text.replace('mask = "random"', 'mask = "inverse"'))

    assert fingerprint(parse_study(study_text), "optuna", ()) != fingerprint(other, "optuna", ())


@pytest.mark.parametrize("asked", [{"suggestions": 5}, {"confirm": 2}, {"baseline": "f" * 64}])
def test_a_fingerprint_changes_with_what_was_asked_of_a_search(study_text, asked):
    study = parse_study(study_text)
    usual = {"suggestions": 4, "confirm": 1, "baseline": "0" * 64}

    assert fingerprint(study, "optuna", (), **usual) != fingerprint(study, "optuna", (), **{**usual, **asked})


def test_a_fingerprint_tells_searches_apart(study_text):
    study = parse_study(study_text)

    assert len({fingerprint(study, search, ()) for search in ("grid", "optuna", "random")}) == 3


def test_every_field_has_another_value_here():
    base = TrialConfig()

    assert [name for name in DEFAULTS if name not in ("dataset", "weights") and other_value(base, name) is None] == []


def test_a_method_says_how_many_passes_it_takes_of_the_configs_model(planner, base):
    by_method = {
        name: planner.passes(dataclasses.replace(base, saliency=name))
        for name in ("gradcam", "ablationcam", "scorecam")
    }

    assert by_method == {"gradcam": 1, "ablationcam": 1, "scorecam": 1 + 96}  # of a linear head; of 96 channels
    assert planner.passes(dataclasses.replace(base, saliency="scorecam", schedule="2")) == 1  # which explains nothing


# ---- who judges the trained models


def judges(study_text, image_folder, *settings, text=""):
    """The judge that each trial of this grid is planned with."""
    study = parse_study(study_text + text, settings=settings)
    planner = Planner(study, data_root=image_folder, device="cpu", auto=lambda config: {})
    return {trial.config.judge for trial in grid_plan(study, planner)}


@pytest.mark.parametrize(
    ("settings", "arm", "expected"),
    [
        ([], "", "eigengradcam"),
        (["saliency=eigengradcam"], "", "gradcam++"),
        (["saliency=['gradcam', 'eigengradcam', 'gradcam++']"], "", "layercam"),
        (["eigen_smooth=[true, false]"], "", "gradcam++"),  # smoothed under a linear head it is eigengradcam
        ([], 'saliency = "eigengradcam"\n', "gradcam++"),
        (["judge=layercam"], "", "layercam"),
        (["judge=gradcam", "saliency=layercam"], 'saliency = "layercam"\n', "gradcam"),
    ],
)
def test_all_trials_of_a_study_have_one_judge_by_which_none_of_them_trains(
    image_folder, study_text, settings, arm, expected
):
    another = f'[[arm]]\nname = "other"\nschedule = "1,p"\n{arm}' if arm else ""

    assert judges(study_text, image_folder, *settings, text=another) == {expected}


def test_where_every_judge_is_trained_by_the_default_judges_those_that_it_can(image_folder, study_text):
    every = ["eigengradcam", "gradcam++", "layercam", "gradcam", "ablationcam", "eigencam"]

    assert judges(study_text, image_folder, f"saliency={every}") == {"eigengradcam"}


@pytest.mark.parametrize("settings", [["saliency=layercam"], ["saliency=['gradcam', 'layercam']"]])
def test_a_named_judge_by_which_a_trial_trains_is_refused_with_those_that_may(image_folder, study_text, settings):
    law = r"^judge must be a method by which no trial of the study trains; got 'layercam' \(eigengradcam, gradcam\+\+, "

    with pytest.raises(ConfigError, match=law):
        judges(study_text, image_folder, "judge=layercam", *settings)


@pytest.mark.parametrize("schedule", ["2", "1,p"])
def test_a_judge_by_which_an_augmentation_looks_is_refused(image_folder, study_text, schedule):
    settings = ["judge=gradcam", "saliency=layercam"]
    arm = f'[[arm]]\nname = "other"\nschedule = "{schedule}"\nsaliency = "layercam"\naugment = "flip-rotate+snapmix"\n'
    assert judges(study_text, image_folder, *settings) == {"gradcam"}

    with pytest.raises(ConfigError, match=r"^judge must be a method by which no trial .*; got 'gradcam'"):
        judges(study_text, image_folder, *settings, text=arm)


def test_a_named_judge_by_which_a_search_may_train_is_refused_before_it_starts(prepared_run, study_text, tmp_path):
    text = study_text.replace("[search]", 'judge = "layercam"\n[search]\nsaliency = ["gradcam", "layercam"]')

    with pytest.raises(ConfigError, match=r"^judge must be a method by which no trial of the study trains"):
        prepared_run(tmp_path / "small" / "optuna", text, search="optuna", suggestions=4, confirm=1)


@pytest.mark.parametrize("field", ["judge", "judge_images"])
def test_a_judge_that_differs_between_trials_is_refused(image_folder, study_text, field):
    values = ["gradcam++", "layercam"] if field == "judge" else [8, 16]
    arm = f'[[arm]]\nname = "other"\nschedule = "1,p"\n{field} = {values[0]!r}\n'

    with pytest.raises(ConfigError, match=rf"^{field} must be one for all trials of a study, .*; got it in \[search\]"):
        judges(study_text, image_folder, f"{field}={values}")
    with pytest.raises(ConfigError, match=rf"^{field} must be one for all trials .*; got it in an \[\[arm\]\]"):
        judges(study_text, image_folder, text=arm)


def test_a_judge_that_cannot_explain_the_model_is_refused_by_name(image_folder, study_text):
    with pytest.raises(ConfigError, match=r"^judge must be a method that can explain test_resnet, .*rollout'"):
        judges(study_text, image_folder, "judge=attention-rollout")

    assert judges(study_text, image_folder, "judge=attention-rollout", "judge_images=0") == {"eigengradcam"}


def test_judging_takes_every_steps_pass_of_at_most_all_test_images(planner, base):
    each = PASSES + 1

    assert planner.judging(dataclasses.replace(base, judge_images=50)) == 16 * each  # all that the test split has
    assert planner.judging(dataclasses.replace(base, judge_images=5)) == 5 * each
    assert planner.judging(dataclasses.replace(base, judge="scorecam", judge_images=5)) == 5 * (PASSES + 97)
    assert planner.judging(dataclasses.replace(base, judge_images=0)) == 0
    assert planner.judging(dataclasses.replace(base, saliency="eigengradcam")) == 0
