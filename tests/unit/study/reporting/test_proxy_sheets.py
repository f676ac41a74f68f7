import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from written_runs import SMALL, folders, rewrite_plan, write_run, write_sheet

from proxy_attention.files import write_json
from proxy_attention.proxies.step import EXAMPLES
from proxy_attention.saliency.registry import METHODS
from study.analysis.findings import Findings
from study.execution.tensorboard import PADDING
from study.reporting.proxy_sheets import GAP, SIDE, Sheet, method_comparisons, proxy_examples
from study.reporting.report import render
from study.run_folder import TrialFolder

LAYERCAM, GRADCAM, SCORECAM, SHIFTED, ROLLOUT = range(1, 6)
SWEEP = (
    ("baseline", 0, 50.0, {}),
    ("proxy", 0, 51.0, {"saliency": "layercam"}),
    ("proxy", 0, 52.0, {"saliency": "gradcam"}),
    ("proxy", 0, 53.0, {"saliency": "scorecam"}),
    ("shifted", 0, 51.0, {"saliency": "eigencam", "mask": "random"}),
    ("rollout", 0, 51.0, {"saliency": "attention-rollout", "model": "test_vit"}),
)
"""A baseline, three methods, a control and another model."""


def write_sweep(path):
    run = write_run(path, *SWEEP)
    for number in (LAYERCAM, GRADCAM, SCORECAM):
        draws = torch.Generator().manual_seed(number)
        write_sheet(folders(run)[number], maps=torch.rand(2, 64, 64, generator=draws))
    return run


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A complete run of these trials. Read only."""
    return write_sweep(tmp_path_factory.mktemp("swept") / "sweep" / "grid")


@pytest.fixture(scope="module")
def comparisons(swept):
    """Its comparisons, one a model. Read only."""
    return compared(swept)


@pytest.fixture
def copy(tmp_path):
    """The same in a folder that a test may change."""
    return write_sweep(tmp_path / "sweep" / "grid")


def compared(run):
    return method_comparisons(Findings.of(run))


def names(comparison):
    return [maps.method for maps in comparison.methods]


def change(run, number, **values):
    file = folders(run)[number] / "proxies.json"
    write_json(file, {**json.loads(file.read_text()), **values})


def pixels(image):
    kind, _, content = image.source.partition(";base64,")
    assert kind == "data:image/png"
    return np.array(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")).astype(int)


def cut(image):
    """The images of a strip."""
    strip = pixels(image)
    return [strip[:, left : left + SIDE] for left in range(0, strip.shape[1], SIDE + GAP)]


def test_a_comparison_has_every_method_of_a_model_in_the_tables_order_with_its_cost(comparisons):
    first = comparisons[0]

    assert (first.model, first.seed, first.epoch) == ("test_resnet", 0, 2)
    assert names(first) == ["gradcam", "layercam", "scorecam"]
    assert [maps.cost for maps in first.methods] == [METHODS[name].cost for name in names(first)]
    assert first.left_out == ()


def test_another_model_has_other_wrong_images_and_a_comparison_of_its_own(comparisons):
    assert [(each.model, names(each)) for each in comparisons][1:] == [("test_vit", ["attention-rollout"])]


def test_a_control_is_no_method(comparisons):
    assert "eigencam" not in {name for each in comparisons for name in names(each)}


def test_all_methods_show_the_same_images(comparisons):
    first = comparisons[0]

    assert first.labels == (("dress", "trouser"), ("t-shirt", "dress"))
    assert first.originals.alt.endswith("a.png: dress taken for trouser; b.png: t-shirt taken for dress")
    for image in (first.originals, *(maps.maps for maps in first.methods)):
        assert pixels(image).shape == (SIDE, 2 * SIDE + GAP, 3)
    assert len({maps.maps.source for maps in first.methods}) == 3


def test_what_is_shown_is_what_the_trial_kept(swept, comparisons):
    first = comparisons[0]
    with Image.open(folders(swept)[SCORECAM] / "proxies.png") as picture:
        whole = np.array(picture.convert("RGB")).astype(int)
    places = (np.arange(SIDE) * 96 + 48) // SIDE

    for column, shown, mean, most in ((0, first.originals, 0, 0), (1, first.methods[2].maps, 5, 24)):
        for row, image in enumerate(cut(shown)):
            kept = whole[PADDING + 100 * row + places][:, PADDING + 100 * column + places]
            assert np.abs(kept - image).mean() <= mean  # maps lose what no eye can see
            assert np.abs(kept - image).max() <= most
    assert (pixels(first.methods[2].maps)[:, SIDE : SIDE + GAP] == 255).all()


@pytest.mark.parametrize("other", ["image", "epoch"])
def test_a_trial_that_kept_other_images_or_another_step_is_named_and_not_mixed_in(copy, other):
    rows = json.loads((folders(copy)[GRADCAM] / "proxies.json").read_text())["rows"]
    change(copy, GRADCAM, **{"rows": [{**rows[0], "image": "x"}, *rows[1:]]} if other == "image" else {"epoch": 7})

    first = compared(copy)[0]

    assert names(first) == ["layercam", "scorecam"]
    assert first.left_out == ("gradcam",)


@pytest.mark.parametrize("damage", [b"", b"\x89PNG\r\n", "truncated", "small"])
def test_a_damaged_sheet_is_left_out(copy, damage):
    file = folders(copy)[GRADCAM] / "proxies.png"
    if damage == "small":
        Image.new("RGB", (3, 3)).save(file)
    else:
        file.write_bytes(file.read_bytes()[:500] if damage == "truncated" else damage)

    assert names(compared(copy)[0]) == ["layercam", "scorecam"]
    assert Sheet.read(TrialFolder(file.parent)) is None


def test_trials_that_differ_in_more_than_the_method_are_not_compared(copy):
    rewrite_plan(copy, lambda number, trial: trial["config"].update(lr=0.5) if number == GRADCAM else None)

    assert names(compared(copy)[0]) == ["layercam", "scorecam"]


def test_a_run_of_one_method_has_no_comparison(findings):
    assert method_comparisons(findings) == []


def test_a_report_shows_each_method_with_words_for_those_who_cannot_see_and_runs_no_name(copy):
    script = "<script>alert(1)"
    for number in (LAYERCAM, GRADCAM, SCORECAM):
        rows = json.loads((folders(copy)[number] / "proxies.json").read_text())["rows"]
        change(copy, number, rows=[{**row, "true": script, "image": f'"><{script}'} for row in rows])
    change(copy, SCORECAM, epoch=7)

    source = render(Findings.of(copy))

    assert "The same images under every method" in source
    for name in ("gradcam", "layercam"):
        assert f'alt="maps of the 2 images by {name}, left to right"' in source
        assert f"<strong>{name}</strong>" in source
    assert all(re.search('alt="[^"]', image) for image in re.findall(r"<img [^>]*>", source))
    assert "Not shown, for their trials kept other images or none: scorecam." in source
    assert "<script" not in source
    assert "<span>&lt;script&gt;alert(1)<br>" in source


def test_the_one_bright_pixel_of_a_dark_map_stays_bright(copy):
    dark = torch.zeros(2, 64, 64)
    dark[:, ::2] = torch.linspace(0, 0.3, 64)
    dark[1, 40, 20] = 1.0
    for number in (GRADCAM, LAYERCAM):
        write_sheet(folders(copy)[number], maps=dark)

    dull, bright = cut(compared(copy)[0].methods[0].maps)

    assert bright[40, 20].tolist() == pytest.approx([252, 255, 164], abs=16)  # where inferno ends
    assert dull.max() < 130


def test_forty_methods_of_maps_that_are_nothing_but_noise_stay_below_a_megabyte_and_a_half(copy):
    noise = torch.rand(EXAMPLES, 64, 64, generator=torch.Generator().manual_seed(0))
    for number in (LAYERCAM, GRADCAM, SCORECAM):
        write_sheet(folders(copy)[number], rows=[(str(n), "a", "b") for n in range(EXAMPLES)], maps=noise)

    first = compared(copy)[0]

    assert len(first.labels) == EXAMPLES
    assert len(first.originals.source) + 40 * len(first.methods[0].maps.source) < 1.5e6


# ---- the examples of each arm


def test_an_arm_is_shown_with_the_wrong_images_of_one_trial(findings):
    proxy, control = proxy_examples(findings)

    assert [examples["arm"] for examples in (proxy, control)] == ["proxy", "random-mask"]
    assert proxy["trial_id"] == findings.rows["trial_id"][1]  # it differs from the control in the mask alone
    assert proxy["epoch"] == 2
    assert [(row["image"], row["true"], row["predicted"]) for row in proxy["rows"]] == [
        ("a.png", "dress", "trouser"),
        ("b.png", "t-shirt", "dress"),
    ]


def test_an_example_is_cut_out_of_the_sheet_without_loss(findings):
    with Image.open(findings.run.trial(findings.rows["trial_id"][1]).proxies_png) as picture:
        whole = np.array(picture)

    for number, row in enumerate(proxy_examples(findings)[0]["rows"]):
        top = PADDING + number * 100
        assert np.array_equal(pixels(row["picture"])[2:98], whole[top : top + 96])


def test_a_trial_without_a_sheet_leaves_its_place_to_another_of_its_arm(tmp_path):
    run = write_run(tmp_path / "small" / "grid", *SMALL)
    (folders(run)[1] / "proxies.png").unlink()

    assert proxy_examples(Findings.of(run))[0]["trial_id"] == folders(run)[5].name


def test_a_long_name_is_shown_by_its_end(tmp_path):
    run = write_run(tmp_path / "small" / "grid", *SMALL[:2])
    write_sheet(folders(run)[1], rows=[("x" * 60 + ".png", "dress", "trouser")])

    assert proxy_examples(Findings.of(run))[0]["rows"][0]["image"] == "…" + "x" * 43 + ".png"
