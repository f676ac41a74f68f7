"""A trial is the same wherever its pixels lie: in memory, mapped from the cache, or streamed."""

import numpy as np
import pytest
import torch

from proxy_attention.data.folder import list_folder
from proxy_attention.data.images import load
from proxy_attention.data.pixels import Streamed
from proxy_attention.data.training_set import Proxies
from proxy_attention.evaluation import evaluate
from proxy_attention.models.build import build
from proxy_attention.training import new_state, train_epoch

SIZE = 32


@pytest.fixture(scope="module")
def image_sets(image_folder, tmp_path_factory):
    """The same images in memory, mapped and streamed."""
    catalogue, cache = list_folder(image_folder), tmp_path_factory.mktemp("cache")
    return {
        "memory": load(catalogue, SIZE),
        "mapped": load(catalogue, SIZE, cache=cache),
        "streamed": load(catalogue, SIZE, cache=cache / "none", limit_mb=0),
    }


def test_pixels_lie_in_three_places(image_sets):
    assert [isinstance(images.images, Streamed) for images in image_sets.values()] == [False, False, True]
    assert len({images.digest for images in image_sets.values()}) == 1


@pytest.mark.parametrize(("batch_size", "substitute"), [(5, "add"), (32, "replace")])
def test_training_and_evaluation_do_not_depend_on_where_the_pixels_lie(
    config, training_set_of, image_sets, substitute, batch_size
):
    trial = config(schedule="2", batch_size=batch_size, substitute=substitute)
    found = []
    for images in image_sets.values():
        given = training_set_of(trial, images)
        ids = given.train[::3]
        given = given.with_proxies(Proxies(ids=ids, pixels=255 - given.originals(ids)))
        model = build(trial.model, classes=4, image_size=SIZE, weights="none", seed=0).to(torch.device("cpu"))
        state = new_state(model, trial, images=len(given.train), device=torch.device("cpu"))
        totals = train_epoch(state, given, trial, epoch=0)
        measured = evaluate(model, images.images, images.labels, ids=np.arange(40, 56), precision="fp32")
        found.append((totals, model.module.state_dict(), measured))

    (expected, weights, measured), *others = found
    for totals, other_weights, other_measured in others:
        assert torch.equal(totals.losses, expected.losses)
        assert torch.equal(totals.predicted, expected.predicted)
        assert all(torch.equal(weights[name], other_weights[name]) for name in weights)
        assert other_measured.loss == measured.loss
        assert other_measured.confusion.tolist() == measured.confusion.tolist()


def files_of(root):
    """Every file and folder with its time, mode and content."""
    paths = sorted([root, *root.rglob("*")])
    return [(p, p.stat().st_mtime_ns, p.stat().st_mode, p.read_bytes() if p.is_file() else b"") for p in paths]


@pytest.fixture(scope="module")
def trials(config, finish, metrics, image_sets, image_folder, tmp_path_factory):
    """What a trial on each image set reported, and whether the image folder is as it was before."""
    trial = config(dataset="folder", schedule="1,p,1", batch_size=8, compound=True, scope="dataset")
    before = files_of(image_folder)
    reported = {}
    for place, images in image_sets.items():
        records, report = finish(trial, images, tmp_path_factory.mktemp("trial"))
        reported[place] = [metrics(told) for told in (*records, report)]
    return reported, files_of(image_folder) == before


@pytest.mark.parametrize("place", ["mapped", "streamed"])
def test_a_whole_trial_does_not_depend_on_where_the_pixels_lie(trials, place):
    reported, _ = trials

    assert reported["memory"][1]["wrong_images"] > 0
    assert reported[place] == reported["memory"]


def test_whole_trials_leave_the_image_folder_as_it_was(trials):
    reported, unchanged = trials

    assert reported["memory"][-1]["proxy_images"] > 0
    assert unchanged
