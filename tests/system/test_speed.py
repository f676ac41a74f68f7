"""The benchmark program runs, on sizes that show nothing else: every part prints its ratios, and tables keep rows."""

import dataclasses
import json
import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2]))  # experiments/ is no package that is installed

from experiments.speed import (
    augmentations_speed,
    growth,
    methods_speed,
    proxy_speed,
    rivals,
    training_speed,
    verification_speed,
)
from experiments.speed.measure import (
    AS_FAST,
    THE_TIME,
    Effort,
    Race,
    Row,
    Section,
    Target,
    again,
    exponent,
    race,
    race_of_calls,
)
from experiments.speed.run import main
from experiments.speed.tables import text_of, update
from proxy_attention.augment.registry import AUGMENTATIONS

pytestmark = pytest.mark.slow
QUICK = Effort(rounds=2, threads=1, tiny=True)


@pytest.fixture
def bench():
    with proxy_speed.bench(proxy_speed.TINY[0], QUICK) as ready:
        yield ready


@pytest.fixture
def small():
    """The batch on which augmentations are timed."""
    with proxy_speed.bench(augmentations_speed.TINY[0], QUICK) as ready:
        yield ready


def check(rows, *, count):
    """Rows that can be printed, with ratios that were measured."""
    assert len(rows) == count
    assert all(0 < row.low <= row.ratio <= row.high for row in rows)
    printed = text_of(Section("a part", ("a note",), tuple(rows)))
    assert all(row.what in printed and row.measure in printed for row in rows)


def test_a_race_times_everyone_once_a_round_and_lets_the_first_change():
    ran = []
    found = race({name: lambda n=name: ran.append(n) for name in "abc"}, dataclasses.replace(QUICK, rounds=3))
    assert ran == [*"cab", *"abc", *"bca", *"cab"]
    assert {name: len(values) for name, values in found.seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_work_done_again_is_done_so_often():
    ran = []
    again(lambda: ran.append(1), 3)()
    assert ran == [1, 1, 1]


def test_quick_work_is_done_equally_often_in_every_turn_and_its_time_is_that_of_one_call():
    ran = []
    started = time.perf_counter()
    found = race_of_calls({"a": lambda: ran.append(1)}, dataclasses.replace(QUICK, tiny=False))
    elapsed = time.perf_counter() - started
    turns, to_see_how_quick = QUICK.rounds + 1, 2
    times, rest = divmod(len(ran) - to_see_how_quick, turns)
    assert rest == 0
    assert sum(found.seconds["a"]) * times <= elapsed
    assert len(found.seconds["a"]) == QUICK.rounds


def test_a_ratio_is_the_median_of_the_ratios_within_rounds():
    found = Race({"ours": (1.0, 2.0, 4.0), "rival": (2.0, 8.0, 4.0)})
    row = found.row("work", ours="ours", rival="rival", measure=AS_FAST, images=8, target=Target("at least", 2))
    assert (row.ours, row.rival, row.ratio, row.low, row.high) == ("4/s", "2/s", 2.0, 1.0, 4.0)
    cost = found.row("work", ours="ours", rival="rival", measure=THE_TIME, images=8, target=Target("at most", 0.4))
    assert (cost.ratio, cost.low, cost.high) == (0.5, 0.25, 1.0)
    assert row.target.met(row.ratio)
    assert not cost.target.met(cost.ratio)


def test_an_exponent_is_one_for_what_grows_in_proportion_and_two_for_squares():
    assert exponent([1, 10, 100], [3, 30, 300]) == pytest.approx(1)
    assert exponent([1, 10, 100], [1, 100, 10_000]) == pytest.approx(2)


def test_a_part_replaces_its_own_sections_and_no_others(tmp_path):
    row = Row("work", "4/s", "2/s", 2.0, 1.0, 4.0, AS_FAST, Target("at least", 3))
    fixed = {"order": ["proxy", "growth"], "file": "README.md", "title": "Speed", "command": "python run.py"}
    for part, title in (("growth", "old"), ("proxy", "kept"), ("growth", "new")):
        update(tmp_path, part, [Section(title, ("a note",), (row,))], machine={"load": "0"}, **fixed)
    text = (tmp_path / "README.md").read_text()
    assert "old" not in text
    assert text.index("kept") < text.index("new")
    assert "| work | 4/s  | 2/s   | 2.00 x as fast | 1.00 to 4.00 | at least 3 | **no** |" in text
    assert Section.of(json.loads((tmp_path / "results.json").read_text())["proxy"]["sections"][0]).rows == (row,)


def test_exactly_the_part_asked_for_counts_as_wrong(bench):
    assert [(bench.clean(part).wrong, bench.clean(part).made) for part in (0.1, 1.0)] == [(2, 2), (20, 20)]
    step = bench.online(0.3, "gradcam")
    assert (step.wrong, step.recipe.ids.tolist()) == (6, bench.wrong(0.3).tolist())


def test_methods_of_one_pass_are_raced_against_a_forward_pass(bench):
    rows = methods_speed.single(bench, ["gradcam", "eigencam"])

    check(rows, count=2)
    assert all(row.target == Target("at most", 1.25) for row in rows)


def test_the_passes_of_other_methods_are_counted_beside_those_that_the_table_states(bench):
    row = methods_speed.several(bench, "scorecam")

    check([row], count=1)
    channels = bench.classifier.channels
    assert (row.ours, row.rival) == (f"{channels + 1} counted", f"{channels + 1} stated")


def test_every_augmentation_is_timed_beside_a_step_of_training(small):
    found = augmentations_speed.timed(small)
    rows = augmentations_speed.beside_a_step(small, found)

    check(rows, count=len(AUGMENTATIONS))
    assert [row.what for row in rows] == [f"test_resnet, 32 px: {name}" for name in AUGMENTATIONS]
    asking = augmentations_speed.questions(small, found)
    check(asking, count=sum(row.passes > 0 for row in AUGMENTATIONS.values()))
    assert len(asking) > 0


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentation_asks_the_model_for_the_passes_that_the_table_states(name, small):
    assert augmentations_speed.passes_of(small, name) == AUGMENTATIONS[name].passes


def test_augmentations_are_raced_against_those_of_other_libraries(small):
    check(augmentations_speed.against_others(small), count=8)


@pytest.mark.parametrize("name", augmentations_speed.POLICIES)
def test_torchvisions_bare_transforms_make_the_images_that_ours_make(name, small):
    ours = augmentations_speed.turn(small, name)().images
    assert torch.equal(torch.stack(augmentations_speed.bare(small, name)()) / 255, ours)


def test_timm_changes_the_batch_that_it_is_given_and_mixes_labels_as_ours_are_mixed(small):
    images, labels = small.ready(10)
    for name in ("mixup", "cutmix"):
        given = images.clone()
        mixed = rivals.timm_mixing(name, classes=small.classifier.classes)(given, labels)[1]
        assert not torch.equal(given, images)
        assert mixed.shape == augmentations_speed.turn(small, name)().mixed.shape
        assert mixed.sum(1) == pytest.approx(torch.ones(10))


def test_a_step_is_raced_against_a_forward_pass_and_against_libraries_of_maps(bench):
    pytest.importorskip("pytorch_grad_cam")
    check(proxy_speed.whole_steps(bench), count=5)


def test_maps_alone_are_raced_against_grad_cam_and_captum(bench):
    pytest.importorskip("pytorch_grad_cam")
    check(proxy_speed.maps_alone(bench), count=4)


def test_the_libraries_make_the_maps_that_we_make(bench):
    pytest.importorskip("pytorch_grad_cam")
    images, labels = bench.ready(4)
    ours = proxy_speed.our_maps(bench, images, labels)
    assert (rivals.grad_cam(bench.classifier)(images, labels) - ours).abs().max() < 1e-3
    captum = rivals.captum(bench.classifier)(images, labels)
    assert (proxy_speed.scale(captum)[0] - ours).abs().max() < 1e-3


def test_a_step_written_with_a_library_makes_the_proxies_that_ours_makes(bench):
    pytest.importorskip("pytorch_grad_cam")
    wrong = bench.wrong(0.3)
    theirs = rivals.step_with(
        rivals.grad_cam(bench.classifier), bench.classifier, bench.images, bench.config, wrong=wrong
    )
    ours = bench.clean(0.3).training_set.proxies.pixels
    assert ((ours.int() - theirs.int()).abs() <= 1).float().mean() > 0.999


def test_the_online_step_is_raced_against_the_thesis_way(bench, tmp_path):
    pytest.importorskip("pytorch_grad_cam")
    check(proxy_speed.thesis_way(bench), count=4)
    batch = bench.ready(3)[0]
    rivals.thesis_step(bench.classifier, [batch, batch[:1]], bench.config, method="GradCAMPlusPlus", folder=tmp_path)
    assert len(list(tmp_path.glob("*.jpeg"))) == 4


@pytest.mark.filterwarnings("ignore")  # of bnnr, whatever they are
def test_map_and_mask_are_raced_against_bnnr(bench):
    pytest.importorskip("bnnr")
    check(proxy_speed.masks(bench), count=2)


def test_an_epoch_is_raced_against_a_bare_loop():
    row = training_speed.against_bare(training_speed.TINY, QUICK)
    check([row], count=1)


@pytest.mark.filterwarnings("ignore")  # of forks and cores, where there are few
def test_an_epoch_is_raced_against_timms_loader_and_step():
    row, decode = training_speed.against_timm(training_speed.TINY, QUICK)
    check([row], count=1)
    assert "images/s" in decode


def test_a_trial_without_checksums_writes_none_and_trains_the_same(tmp_path):
    with_them, without = (verification_speed._train(verification_speed.TINY, verify, tmp_path, 0) for verify in (1, 0))
    assert with_them["test"] == without["test"]
    assert with_them["counted"] > 0 == without["counted"]
    assert json.loads((tmp_path / "0-0" / "report.json").read_text())["sha256_of"] == {}


def test_growth_with_images_is_timed_phase_by_phase():
    found = growth.grow_images(100)
    assert {len(repeat) for repeat in found["seconds"]} == {5}
    assert found["memory_mb"] > 0


def test_growth_with_trials_is_timed_phase_by_phase():
    assert {tuple(repeat) for repeat in growth.grow_trials(10)} == {
        ("plan", "write plan.json", "read plan.json", "load_results", "all of the driver's work")
    }


def test_a_worker_says_what_is_resident_after_each_of_its_trials():
    resident = growth.grow_worker(2)
    assert len(resident) == 2
    assert min(resident) > 0


def test_rows_are_read_from_our_files_and_from_event_files():
    pytest.importorskip("tensorboard")
    rows = list(growth._rows(growth.TINY, QUICK))
    check(rows, count=2)


@pytest.mark.parametrize("model", proxy_speed.TINY_MODELS_ON_GPU)
def test_grad_cam_makes_our_maps_of_every_family_on_the_gpus_list(model):
    pytest.importorskip("pytorch_grad_cam")
    with proxy_speed.bench(proxy_speed.Size(model, 32, 20, 10, 1, 4), QUICK) as ready:
        images, labels = ready.ready(4)
        theirs = rivals.grad_cam(ready.classifier)(images, labels)
        assert (theirs - proxy_speed.our_maps(ready, images, labels)).abs().max() < 1e-3


@pytest.mark.filterwarnings("ignore")  # of the libraries, whatever they are
def test_the_gpu_table_is_made_by_the_same_code_on_a_cpu(tmp_path):
    pytest.importorskip("pytorch_grad_cam")
    assert main(["--gpu", "--tiny", "--rounds", "1", "--threads", "1", "--output", str(tmp_path)]) == 0
    text = (tmp_path / "README-gpu.md").read_text()
    for model in proxy_speed.TINY_MODELS_ON_GPU:
        assert f"{model}, 32 px: step, 30% wrong, against one forward pass" in text
        assert f"{model}, 32 px, batches of 10, bf16: epoch against a bare loop" in text


@pytest.mark.parametrize("asked", [["--only", "nothing"], ["--gpu", "--only", "growth"]])
def test_a_part_that_is_not_there_is_refused(asked, capsys):
    assert main(asked) == 2
    assert "--only must be of" in capsys.readouterr().err
