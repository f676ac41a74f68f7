import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from proxy_attention.proxies.step import EXAMPLES, Examples
from proxy_attention.saliency.registry import METHODS
from study.analysis.findings import Findings
from study.execution.tensorboard import PADDING, sheet
from study.reporting.proxy_sheets import CELL, GAP, line_ups
from study.reporting.report import render
from study.run_folder import RunFolder

SWEEP = """
[study]
question = "What does each method see?"
seeds = [0]
[fixed]
dataset = "folder"
model = "test_resnet"
image_size = 32
batch_size = 8
precision = "fp32"
threads = 1
[search]
schedule = ["2", "1,p"]
saliency = ["layercam", "gradcam", "scorecam"]
[[arm]]
name = "shifted"
schedule = "1,p"
saliency = "eigencam"
mask = "random"
[[arm]]
name = "rollout"
schedule = "1,p"
model = "test_vit"
saliency = "attention-rollout"
"""
LAYERCAM, GRADCAM, SCORECAM, SHIFTED, ROLLOUT = range(1, 6)


@pytest.fixture(scope="module")
def swept(prepared_run, run_one, tmp_path_factory):
    """A complete run of a baseline, three methods, a control and another model. Read only."""
    prepared = prepared_run(tmp_path_factory.mktemp("swept") / "sweep" / "grid", SWEEP)
    for number in range(len(prepared.plan.trials)):
        run_one(prepared, number)
    return prepared.run.path


@pytest.fixture
def copy(swept, tmp_path):
    """The same in a folder that a test may change."""
    return shutil.copytree(swept, tmp_path / "sweep" / "grid")


def folder(run, number):
    return RunFolder(run).trial(RunFolder(run).read_plan().trials[number].trial_id).path


def found(run):
    return line_ups(Findings.of(run))


def change(run, number, **values):
    file = folder(run, number) / "proxies.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def pixels(picture):
    kind, _, content = picture.source.partition(";base64,")
    assert kind == "data:image/png"
    return np.array(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")).astype(int)


def cells(picture):
    drawn = pixels(picture)
    return [drawn[:, left : left + CELL] for left in range(0, drawn.shape[1], CELL + GAP)]


def test_a_line_up_has_every_method_of_a_model_in_the_tables_order_with_its_cost(swept):
    first = found(swept)[0]

    assert (first.model, first.seed, first.epoch) == ("test_resnet", 0, 2)
    assert [lane.method for lane in first.lanes] == ["gradcam", "layercam", "scorecam"]
    assert [lane.cost for lane in first.lanes] == [METHODS[lane.method].cost for lane in first.lanes]
    assert first.elsewhere == ()


def test_another_model_has_other_wrong_images_and_a_line_up_of_its_own(swept):
    assert [(one.model, [lane.method for lane in one.lanes]) for one in found(swept)][1:] == [
        ("test_vit", ["attention-rollout"])
    ]


def test_a_control_is_no_method(swept):
    assert "eigencam" not in {lane.method for one in found(swept) for lane in one.lanes}


def test_all_lanes_show_the_images_of_the_first_row(swept):
    first = found(swept)[0]
    rows = json.loads((folder(swept, GRADCAM) / "proxies.json").read_text())["rows"]

    assert first.labels == tuple((row["true"], row["predicted"]) for row in rows)
    for row in rows:
        assert f"{row['image']}: {row['true']} taken for {row['predicted']}" in first.originals.alt
    for picture in (first.originals, *(lane.maps for lane in first.lanes)):
        assert pixels(picture).shape == (CELL, len(rows) * (CELL + GAP) - GAP, 3)


def test_what_is_shown_is_what_the_trial_kept(swept):
    first = found(swept)[0]
    with Image.open(folder(swept, SCORECAM) / "proxies.png") as picture:
        whole = np.array(picture.convert("RGB")).astype(int)
    places = (np.arange(CELL) * 96 + 48) // CELL

    for column, shown, mean, most in ((0, first.originals, 0, 0), (1, first.lanes[2].maps, 5, 16)):
        for row, cell in enumerate(cells(shown)):
            kept = whole[PADDING + 100 * row + places][:, PADDING + 100 * column + places]
            assert np.abs(kept - cell).mean() <= mean  # maps lose what no eye can see
            assert np.abs(kept - cell).max() <= most
    assert (pixels(first.lanes[2].maps)[:, CELL : CELL + GAP] == 255).all()


def test_lanes_of_different_methods_differ(swept):
    assert len({lane.maps.source for lane in found(swept)[0].lanes}) == 3


@pytest.mark.parametrize("other", ["image", "epoch"])
def test_a_trial_that_kept_other_images_or_another_step_is_named_and_not_mixed_in(copy, other):
    rows = json.loads((folder(copy, GRADCAM) / "proxies.json").read_text())["rows"]
    change(copy, GRADCAM, **{"rows": [{**rows[0], "image": "x"}, *rows[1:]]} if other == "image" else {"epoch": 7})

    first = found(copy)[0]

    assert [lane.method for lane in first.lanes] == ["layercam", "scorecam"]
    assert first.elsewhere == ("gradcam",)
    assert "Not shown, for their trials kept other images or none: gradcam." in render(Findings.of(copy))


@pytest.mark.parametrize("damage", [b"", b"\x89PNG\r\n", "small"], ids=["empty", "head", "of another size"])
def test_a_damaged_sheet_is_left_out_of_the_line_up(copy, damage):
    file = folder(copy, GRADCAM) / "proxies.png"
    if damage == "small":
        Image.new("RGB", (3, 3)).save(file)
    else:
        file.write_bytes(damage)

    assert [lane.method for lane in found(copy)[0].lanes] == ["layercam", "scorecam"]


def test_trials_that_differ_in_more_than_the_method_do_not_share_a_line_up(copy):
    plan = json.loads((copy / "plan.json").read_text())
    plan["trials"][GRADCAM]["config"]["lr"] = 0.5
    (copy / "plan.json").write_text(json.dumps(plan))

    assert [lane.method for lane in found(copy)[0].lanes] == ["layercam", "scorecam"]


def test_a_run_of_one_method_has_no_line_up(finished_run):
    assert found(finished_run) == []
    assert "The same images under every method" not in render(Findings.of(finished_run))


def test_a_report_shows_each_method_with_words_for_those_who_cannot_see(swept):
    source = render(Findings.of(swept))

    assert "The same images under every method" in source
    for lane in found(swept)[0].lanes:
        assert f'alt="maps of the {len(found(swept)[0].labels)} images by {lane.method}, left to right"' in source
        assert f"<strong>{lane.method}</strong>" in source
    assert all(re.search('alt="[^"]', image) for image in re.findall(r"<img [^>]*>", source))


def test_names_in_a_line_up_are_shown_and_never_run(copy):
    script = "<script>alert(1)"
    for number in (LAYERCAM, GRADCAM, SCORECAM):
        rows = json.loads((folder(copy, number) / "proxies.json").read_text())["rows"]
        change(copy, number, rows=[{**row, "true": script, "image": f'"><{script}'} for row in rows])

    source = render(Findings.of(copy))

    assert "<script" not in source
    assert "<span>&lt;script&gt;alert(1)<br>" in source


def test_the_same_files_give_the_same_line_up(swept):
    assert found(swept) == found(swept)


def test_the_one_bright_pixel_of_a_dark_map_stays_bright(copy):
    dark = torch.zeros(2, 64, 64)
    dark[:, ::2] = torch.linspace(0, 0.3, 64)
    dark[1, 40, 20] = 1.0
    write_sheet(copy, GRADCAM, maps=dark)
    write_sheet(copy, LAYERCAM, maps=dark)

    dull, bright = cells(found(copy)[0].lanes[0].maps)

    assert bright[40, 20].tolist() == pytest.approx([252, 255, 164], abs=16)  # where inferno ends
    assert dull.max() < 130


def write_sheet(run, number, *, maps):
    """Let a trial have kept these maps (E, 64, 64) of images that are noise."""
    draws = torch.Generator().manual_seed(0)
    colours = torch.randint(256, (len(maps), 3, 64, 64), generator=draws, dtype=torch.uint8)
    ids = torch.arange(len(maps))
    drawn = sheet(Examples(ids=ids, true=ids, predicted=ids, originals=colours, maps=maps, proxies=colours))
    Image.fromarray(drawn.transpose(1, 2, 0)).save(folder(run, number) / "proxies.png")
    rows = [{"image": str(n), "true": "a", "predicted": "b"} for n in range(len(maps))]
    change(run, number, rows=rows, padding=PADDING)


def test_forty_methods_of_maps_that_are_nothing_but_noise_stay_below_a_megabyte_and_a_half(copy):
    noise = torch.rand(EXAMPLES, 64, 64, generator=torch.Generator().manual_seed(0))
    for number in (LAYERCAM, GRADCAM, SCORECAM):
        write_sheet(copy, number, maps=noise)

    first = found(copy)[0]

    assert len(first.labels) == EXAMPLES
    assert len(first.originals.source) + 40 * len(first.lanes[0].maps.source) < 1.5e6
