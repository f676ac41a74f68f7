"""What only a GPU can show; skipped where there is none."""

import copy
import dataclasses

import pytest
import torch
from saliency_models import TINY, admitted, batch, explain, model_of

from proxy_attention.augment.batch import Batch, Task
from proxy_attention.augment.fields import uniform_field
from proxy_attention.augment.registry import AUGMENTATIONS
from proxy_attention.config import TrialConfig
from proxy_attention.data.images import ImageSet
from proxy_attention.memory import clear_caches
from proxy_attention.models.classifier import Classifier, as_float
from proxy_attention.saliency.maps import scale
from proxy_attention.saliency.registry import METHODS
from proxy_attention.training import ModelSaliency
from proxy_attention.trial import run_trial

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

CONFIG = TrialConfig(model="test_resnet", image_size=32, schedule="1,p,1", precision="fp32", threads=1)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_trial_runs_at_every_precision_on_cuda(small: ImageSet, precision: str) -> None:
    config = dataclasses.replace(CONFIG, precision=precision)

    last = list(run_trial(config, small, device="cuda"))[-1]

    assert last.report is not None
    assert last.report.epochs_done == 3
    assert last.report.peak_memory_mb > 0


def test_two_trials_on_cuda_are_the_same_to_the_bit(small: ImageSet) -> None:
    losses = [[item.record.train_loss for item in run_trial(CONFIG, small, device="cuda")] for _ in range(2)]

    assert losses[0] == losses[1]


def test_memory_is_given_back_after_a_trial(small: ImageSet) -> None:
    device = torch.device("cuda")
    list(run_trial(CONFIG, small, device="cuda"))
    clear_caches(device)
    before = torch.cuda.memory_allocated(device)

    for _ in range(3):
        list(run_trial(CONFIG, small, device="cuda"))
        clear_caches(device)

    assert torch.cuda.memory_allocated(device) <= before
    assert torch.cuda.memory_reserved(device) <= before + 32 * 2**20


def maps_on(device: str, saliency: str) -> torch.Tensor:
    """Maps on the first small model that the method admits; of a dear method one image's, for the CPU must follow."""
    name = next(name for name in (*TINY, "vgg11") if admitted(name, saliency))
    images, true = batch(count=1 if METHODS[saliency].passes(model_of(name), 32) > 8 else 8)
    model = copy.deepcopy(model_of(name)).to(torch.device(device))
    seeds = range(len(images))
    return explain(model, images.to(device), true.to(device), saliency=saliency, of="contrast", seeds=seeds).cpu()


@pytest.mark.parametrize("saliency", [name for name in METHODS if METHODS[name].one_pass])
def test_maps_of_one_pass_on_cuda_are_those_on_the_cpu(saliency: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)

    torch.testing.assert_close(maps_on("cuda", saliency), maps_on("cpu", saliency), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("saliency", [name for name in METHODS if not METHODS[name].one_pass])
def test_maps_of_many_passes_on_cuda_are_those_on_the_cpu(saliency: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On average: a ReLU may turn by rounding. What is drawn on the device itself is only drawn twice alike."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    drawn = METHODS[saliency].seeded and saliency != "rise"

    found, expected = maps_on("cuda", saliency), maps_on("cuda" if drawn else "cpu", saliency)

    assert found.isfinite().all()
    assert (scale(found)[0] - scale(expected)[0]).abs().mean() < 1e-3


TURNED = {"ricap", "grid-mask", "cowmask", "saliencymix", "puzzlemix", "keepaugment", "attentive-cutmix"}
"""What chooses a pixel, a square or a cell by numbers that each device rounds: a choice may turn, of few images."""


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_on_cuda_is_that_on_the_cpu(
    name: str, small: ImageSet, trained: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    row = AUGMENTATIONS[name]
    draws = torch.rand(32, row.columns, generator=torch.Generator().manual_seed(1))
    found = []
    for device in map(torch.device, ("cpu", "cuda")):
        task = Task(torch.full((10,), 22, device=device), ModelSaliency(copy.deepcopy(trained).to(device), "fp32"))
        given = Batch(as_float(small.images[::9][:32].to(device)), small.labels[::9][:32].to(device))
        out = row.apply(given, draws.to(device), task)
        assert out.images.device.type == out.labels.device.type == device.type
        found.append((out.images.cpu(), None if out.mixed is None else out.mixed.cpu()))

    (images, mixed), (images_there, mixed_there) = found
    same = (images - images_there).abs().amax((1, 2, 3)) < 1e-4
    assert (mixed is None) == (mixed_there is None)
    if mixed is not None and mixed_there is not None:
        same &= (mixed - mixed_there).abs().amax(1) < 1e-4
    assert AUGMENTATIONS.keys() > TURNED
    assert same.sum() >= (16 if name in TURNED else 32)


def test_noise_is_the_same_on_both_devices_to_the_bit() -> None:
    draws = torch.rand(64, generator=torch.Generator().manual_seed(0))

    assert torch.equal(uniform_field(draws.to("cuda"), (3, 33, 40)).cpu(), uniform_field(draws, (3, 33, 40)))


@pytest.mark.parametrize("augment", ["flip-rotate+snapmix", "puzzlemix"])
def test_a_trial_that_looks_and_mixes_runs_at_half_precision(small: ImageSet, augment: str) -> None:
    config = dataclasses.replace(CONFIG, precision="fp16", augment=augment, collect="online", substitute="add")

    *epochs, last = run_trial(config, small, device="cuda")

    assert last.report is not None
    assert last.report.epochs_done == 3
    assert epochs[1].record.made_images > 0


def test_the_largest_batch_on_cuda_is_found_by_running_out_of_memory() -> None:
    pytest.importorskip("pandas")  # the library's tests run where it is missing
    from study.planning.batch_size import largest_that_fits
    from study.planning.step_memory import StepProcess, TrainingStep, step_mb

    some, more = (TrainingStep(CONFIG, classes=10, device="cuda", budget_mb=mb) for mb in (600.0, 1200.0))

    with StepProcess() as process:
        found = [
            largest_that_fits(lambda size, step=step: process.fits(step, size), at_most=4096) for step in (some, more)
        ]

        assert 0 < found[0] < found[1] < 4096
        assert process.run(step_mb, some, 4096) == float("inf")
        assert process.run(step_mb, some, found[0]) <= 600  # nothing of the step that was too large is left
