"""Which method explains a pair of models, and what is compared of them."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from proxy_attention.errors import ConfigError
from proxy_attention.models.classifier import as_float
from proxy_attention.saliency.maps import classify_and_explain, scale, upsample
from study.inference.classify import classify_batch, classify_images
from study.inference.compare_models import MAP_SIZE, compare_models, explain_predictions, pair_models
from study.inference.user_images import decode_images, find_images


@pytest.fixture(scope="module")
def pair(baseline, model):
    """The baseline of the first seed beside a model that was trained with proxies."""
    return pair_models(baseline, model, None)


def with_fields(model, **changes):
    """The model as if its trial had been of another configuration."""
    return dataclasses.replace(model, config=dataclasses.replace(model.config, **changes))


# ---- the method


def test_a_method_that_an_augmentation_used_is_not_chosen_and_is_noted(model):
    plain = with_fields(model, schedule="2", judge="gradcam")
    mixed = with_fields(plain, augment="flip-rotate+snapmix")

    assert pair_models(plain, plain, None).saliency == "gradcam"
    assert pair_models(plain, mixed, None).saliency == "eigengradcam"
    assert pair_models(plain, mixed, "hirescam").note == "--saliency hirescam shows maps that training used, too"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("gradcan", "--saliency must be one of .*'gradcan'"),
        ("attention-rollout", "--saliency must be a method that can explain"),
    ],
)
def test_a_method_that_cannot_explain_both_models_is_refused(pair, method, message):
    with pytest.raises(ConfigError, match=message):
        pair_models(pair.plain, pair.proxied, method)


def test_models_of_different_classes_are_no_pair(model):
    other = dataclasses.replace(model, classes=(*model.classes[1:], model.classes[0]))

    with pytest.raises(ConfigError, match="--compare needs two trials of the same classes"):
        pair_models(other, model, None)


# ---- the comparison


def test_a_map_is_that_of_the_predicted_class_as_any_proxy_step_makes_it(model, image_folder):
    images = list(decode_images(find_images([str(image_folder / "test" / "dress")]), [32]))
    predictions = classify_batch(model, images, top=1)

    drawn = explain_predictions(model, images, predictions, "gradcam++")

    pixels = as_float(torch.from_numpy(np.stack([item.pixels[32] for item in images])))
    labels = torch.zeros(len(images), dtype=torch.int64)
    logits, maps = classify_and_explain(
        model.classifier, pixels, true=labels, saliency="gradcam++", explain="predicted"
    )
    assert [model.classes[i] for i in logits.argmax(dim=1).tolist()] == [one.predicted for one in predictions]
    assert np.allclose(drawn, scale(upsample(maps, MAP_SIZE))[0].numpy(), atol=1e-5)


def test_images_that_can_be_read_are_compared_and_of_the_others_the_error_is_kept(pair, image_folder, tmp_path):
    for n, file in enumerate(sorted((image_folder / "test" / "dress").iterdir())):
        shutil.copy(file, tmp_path / f"{n}.png")
    (tmp_path / "1.png").write_text("no image")
    images, done = find_images([str(tmp_path)]), []

    predictions, compared = compare_models(pair, images, top=1, progress=lambda *counts: done.append(counts))

    assert [image.name for image in compared] == [images[n].name for n in (0, 2, 3)]
    assert predictions == classify_images(pair.models, images, top=1, progress=lambda *counts: None)
    assert [one.error != "" for one in predictions] == [False, False, True, True, False, False, False, False]
    for n, image in zip((0, 2, 3), compared, strict=True):
        assert image.predictions == tuple(predictions[2 * n : 2 * n + 2])
        assert image.pixels.shape == (3, MAP_SIZE, MAP_SIZE)
        assert [one.shape for one in image.maps] == [(MAP_SIZE, MAP_SIZE)] * 2
    assert done == [(2, 4), (4, 4)]


def test_without_a_readable_image_nothing_is_compared(pair, tmp_path):
    (tmp_path / "1.png").touch()

    predictions, compared = compare_models(pair, find_images([str(tmp_path)]), top=1, progress=lambda *counts: None)

    assert compared == []
    assert [one.error for one in predictions] == ["the file is empty"] * 2
