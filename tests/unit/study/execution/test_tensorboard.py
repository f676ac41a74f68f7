import dataclasses
import json

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from proxy_attention.proxies.step import Examples
from proxy_attention.records import EpochRecord, TrialReport
from study.execution.tensorboard import TensorBoardLog, confusion_figure, sheet
from study.run_folder import RunFolder

CURVES = ["accuracy/train", "accuracy/val", "learning_rate", "loss/train", "loss/val", "proxies/in_use"]


def folder_of_trial(run, number):
    return RunFolder(run).trial(RunFolder(run).read_plan().trials[number].trial_id).path


def report_of(run, number):
    """The report of a trial, as it was written."""
    values = json.loads((folder_of_trial(run, number) / "report.json").read_text())
    names = {field.name for field in dataclasses.fields(TrialReport)}
    return TrialReport(**{name: value for name, value in values.items() if name in names}, test_metrics={})


@pytest.fixture(scope="module")
def events(finished_run):
    """What TensorBoard reads of a trial, by its number in the plan."""

    def read(number):
        folder = folder_of_trial(finished_run, number)
        found = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
        return found.Reload(), json.loads((folder / "epochs.json").read_text())["epochs"]

    return read


def test_a_baseline_has_its_curves_and_the_end_and_nothing_else(events):
    found, _ = events(0)

    assert sorted(found.Tags()["scalars"]) == sorted([*CURVES, "accuracy/test"])
    assert found.Tags()["images"] == ["confusion/test"]
    assert [found.Tags()[kind] for kind in ("histograms", "tensors", "distributions")] == [[], [], []]


def test_a_trial_with_proxies_also_has_their_counts_and_pictures(events):
    found, _ = events(1)

    of_steps = ["proxies/made", "proxies/subset", "proxies/wrong"]
    assert sorted(found.Tags()["scalars"]) == sorted([*CURVES, "accuracy/test", *of_steps])
    assert sorted(found.Tags()["images"]) == ["confusion/test", "proxies/original_map_proxy"]


@pytest.mark.parametrize(
    ("tag", "field"),
    [
        ("accuracy/train", "train_accuracy"),
        ("accuracy/val", "val_accuracy"),
        ("loss/train", "train_loss"),
        ("loss/val", "val_loss"),
        ("learning_rate", "lr"),
        ("proxies/in_use", "proxy_images"),
    ],
)
def test_a_curve_has_a_point_an_epoch_counted_from_1(events, tag, field):
    found, epochs = events(1)

    points = found.Scalars(tag)
    assert [point.step for point in points] == [1, 2]
    assert [point.value for point in points] == pytest.approx([epoch[field] for epoch in epochs], rel=1e-6)


def test_what_a_proxy_step_did_stands_at_its_epoch(events):
    found, epochs = events(1)

    told = {"proxies/made": "made_images", "proxies/wrong": "wrong_images", "proxies/subset": "step_subset"}
    for tag, field in told.items():
        assert [(point.step, point.value) for point in found.Scalars(tag)] == [(2, epochs[1][field])]
    assert [image.step for image in found.Images("proxies/original_map_proxy")] == [2]


def test_the_test_result_stands_once_at_the_end(events, finished_run):
    found, _ = events(1)
    report = report_of(finished_run, 1)

    points = found.Scalars("accuracy/test")
    assert [(point.step, point.value) for point in points] == [(2, pytest.approx(report.test_accuracy))]
    assert [image.step for image in found.Images("confusion/test")] == [2]


def examples(count):
    generator = torch.Generator().manual_seed(0)
    return Examples(
        ids=torch.arange(count),
        true=torch.arange(count),
        predicted=torch.arange(count) + 1,
        originals=torch.randint(0, 256, (count, 3, 2, 2), dtype=torch.uint8, generator=generator),
        maps=torch.rand((count, 2, 2), generator=generator),
        proxies=torch.randint(0, 256, (count, 3, 2, 2), dtype=torch.uint8, generator=generator),
    )


def cell(picture, row, column, *, side=4, padding=4):
    top, left = (padding + index * (side + padding) for index in (row, column))
    return picture[:, top : top + side, left : left + side]


def test_a_sheet_has_original_map_and_proxy_of_an_image_in_a_row():
    shown = examples(3)

    picture = sheet(shown, side=4)

    assert (picture.shape, picture.dtype) == ((3, 28, 28), np.uint8)
    for row in range(3):
        for column, images in ((0, shown.originals), (2, shown.proxies)):
            double = images[row].numpy().repeat(2, axis=-1).repeat(2, axis=-2)
            assert np.array_equal(cell(picture, row, column), double)
        heat = matplotlib.colormaps["inferno"](shown.maps[row].numpy())[..., :3].transpose(2, 0, 1)
        assert np.array_equal(cell(picture, row, 1)[:, ::2, ::2], (heat * 255).round().astype(np.uint8))
    assert (picture[:, :4] == 255).all()  # on white


def test_the_error_set_has_points_where_its_shares_are_known(tmp_path, finished_run):
    epochs = json.loads((folder_of_trial(finished_run, 1) / "epochs.json").read_text())["epochs"]
    record = dataclasses.replace(EpochRecord(**epochs[1]), error_set_precision=0.25)
    with TensorBoardLog(tmp_path) as scalars:
        scalars.epoch(record)

    found = EventAccumulator(str(tmp_path)).Reload()
    assert [tag for tag in found.Tags()["scalars"] if tag.startswith("error_set")] == ["error_set/precision"]
    assert [(point.step, point.value) for point in found.Scalars("error_set/precision")] == [(2, 0.25)]


def test_a_step_that_made_no_proxy_has_no_sheet(tmp_path, finished_run):
    epochs = json.loads((folder_of_trial(finished_run, 1) / "epochs.json").read_text())["epochs"]
    record = EpochRecord(**epochs[1])
    with TensorBoardLog(tmp_path) as scalars:
        scalars.examples(record, examples(0))

    assert EventAccumulator(str(tmp_path)).Reload().Tags()["images"] == []


def report(classes, counts, real):
    names = tuple(f"class-{number}" for number in range(classes))
    confusion = tuple(tuple(int(count) for count in row) for row in counts)
    return dataclasses.replace(real, classes=names, confusion=confusion, test_accuracy=62.5)


@pytest.fixture
def real(finished_run) -> TrialReport:
    return report_of(finished_run, 0)


def test_the_confusion_of_ten_classes_shows_counts_and_names(real):
    counts = np.arange(100).reshape(10, 10)

    figure = confusion_figure(report(10, counts, real))
    axes = figure.axes[0]

    shown = axes.images[0].get_array()
    assert np.allclose(shown, counts / counts.sum(axis=1, keepdims=True))
    assert [text.get_text() for text in axes.texts] == [str(count) for count in range(100)]
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"class-{i}" for i in range(10)]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("predicted", "true", "test accuracy 62.5 %")


def test_the_confusion_of_sixty_classes_is_drawn_without_words(real):
    counts = np.eye(60) * 5

    axes = confusion_figure(report(60, counts, real)).axes[0]

    assert axes.images[0].get_array().shape == (60, 60)
    assert len(axes.texts) == 0


def test_a_class_without_test_images_is_drawn_empty(real):
    counts = np.zeros((4, 4))
    counts[0, 0] = 3

    shown = confusion_figure(report(4, counts, real)).axes[0].images[0].get_array()

    assert np.array_equal(shown, (counts > 0).astype(float))


def test_class_names_are_no_mathematics_and_steer_nothing(real):
    odd = dataclasses.replace(real, classes=("$\\frac{$", "$x$", "\x1b[2J\n", "\u202eb"))

    figure = confusion_figure(odd)

    FigureCanvasAgg(figure).draw()
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["$\\frac{$", "$x$", "\\x1b[2J\\n", "\\u202eb"]


def test_a_long_class_name_is_cut(real):
    long = dataclasses.replace(real, classes=("x" * 17, "y" * 16, "b", "c"))

    labels = [label.get_text() for label in confusion_figure(long).axes[0].get_xticklabels()]

    assert labels == ["x" * 15 + "…", "y" * 16, "b", "c"]
