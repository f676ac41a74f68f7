"""What only a GPU can show; skipped where there is none."""

import dataclasses

import pytest
import torch

from proxy_attention.config import TrialConfig
from proxy_attention.data.images import ImageSet
from proxy_attention.memory import clear_caches
from proxy_attention.models import as_float, build
from proxy_attention.saliency.maps import low_resolution_maps
from proxy_attention.saliency.methods import METHODS
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


@pytest.mark.parametrize("saliency", METHODS)
def test_maps_on_cuda_are_those_on_the_cpu(small: ImageSet, saliency: str) -> None:
    images = as_float(small.images[:8])
    classes = torch.arange(8) % 10
    torch.backends.cudnn.allow_tf32 = False

    def maps(device: str) -> torch.Tensor:
        model = build("test_resnet", classes=10, image_size=32, weights="none", seed=0).to(torch.device(device))
        model.module.eval()
        where = classes.to(device)
        return low_resolution_maps(
            model, images.to(device), predicted=where, true=where, saliency=saliency, explain="predicted"
        ).cpu()

    torch.testing.assert_close(maps("cuda"), maps("cpu"), rtol=1e-3, atol=1e-5)
