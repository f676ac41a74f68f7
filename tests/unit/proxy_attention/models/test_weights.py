"""Weights of files and of the hub fill the trunk of a model, or are refused in one line."""

import pickle
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from proxy_attention.errors import ConfigError
from proxy_attention.models.build import build
from proxy_attention.models.weights import weights_digest


def made(name="test_resnet", *, classes=4, image_size=64, weights="none", seed=0):
    return build(name, classes=classes, image_size=image_size, weights=weights, seed=seed)


def state(model):
    return model.module.state_dict()


def other_head(name, **arguments):
    """A trained model, as someone else would have saved it: seven classes, other weights."""
    torch.manual_seed(99)
    return timm.create_model(name, num_classes=7, **arguments).state_dict()


@pytest.fixture(params=["safetensors", "pt"])
def weights_of(request, tmp_path):
    """Save a state dict in either form; gives its path."""

    def save(tensors):
        path = tmp_path / f"weights.{request.param}"
        if request.param == "safetensors":
            save_file(tensors, path)
        else:
            torch.save(tensors, path)
        return str(path)

    return save


@pytest.mark.parametrize(
    ("name", "size", "arguments"),
    [
        ("test_resnet", 32, {}),
        ("test_resnet", 64, {}),
        ("resnet18", 64, {}),
        ("test_efficientnet", 32, {}),
        ("test_vit", 32, {"img_size": 32, "patch_size": 8}),
    ],
)
def test_weights_from_a_file_fill_the_trunk_exactly_and_the_head_is_fresh(weights_of, name, size, arguments):
    trained = other_head(name, **arguments)

    model = made(name, image_size=size, weights=weights_of(trained))

    head = model.module.default_cfg["classifier"]
    loaded, fresh = state(model), state(made(name, image_size=size))
    trunk = [key for key in trained if not key.startswith(head)]
    assert len(trunk) > 10
    assert all(torch.equal(loaded[key], trained[key]) for key in trunk)
    assert loaded[f"{head}.weight"].shape[0] == 4
    assert set(loaded) == set(trained) == set(fresh)


def test_a_fresh_head_beside_loaded_weights_follows_the_seed(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(other_head("test_resnet"), path)

    heads = [state(made(weights=str(path), seed=seed))["fc.weight"] for seed in (0, 0, 1)]

    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_weights_of_another_architecture_are_refused(weights_of):
    path = weights_of(other_head("test_efficientnet"))

    with pytest.raises(
        ConfigError, match=r"weights must be none, imagenet or a file for test_resnet; got .*does not load"
    ):
        made(weights=path)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
@pytest.mark.parametrize("content", [b"", b"not weights at all"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ConfigError, match=r"weights must be none, imagenet or a file for test_resnet; .*does not load"):
        made(weights=str(tmp_path / name))


def test_a_missing_file_is_refused():
    with pytest.raises(ConfigError, match=r"weights must be none, imagenet or an existing file; got '/nowhere/w.pt'"):
        made(weights="/nowhere/w.pt")


@pytest.mark.parametrize("wrapped", ["state_dict", "model"])
def test_weights_may_be_wrapped_as_a_checkpoint_of_data_parallel_training(tmp_path, wrapped):
    trained = other_head("test_resnet")
    inner = {f"module.{key}": value for key, value in trained.items()}
    torch.save({"epoch": 3, wrapped: inner}, tmp_path / "checkpoint.pth.tar")

    loaded = state(made(weights=str(tmp_path / "checkpoint.pth.tar")))

    assert all(torch.equal(loaded[key], trained[key]) for key in trained if not key.startswith("fc"))


def test_both_heads_of_a_distilled_model_are_fresh_and_its_trunk_is_loaded(weights_of):
    name = "deit_tiny_distilled_patch16_224"
    trained = other_head(name, img_size=64)

    loaded, fresh = state(made(name, weights=weights_of(trained))), state(made(name))

    heads = {"head.weight", "head.bias", "head_dist.weight", "head_dist.bias"}
    assert all(torch.equal(loaded[key], trained[key]) for key in trained if key not in heads)
    assert all(torch.equal(loaded[key], fresh[key]) for key in heads)
    assert loaded["head_dist.weight"].shape[0] == 4


@pytest.mark.parametrize("classes", [7, 1000])
def test_a_head_is_fresh_though_that_of_the_file_would_fit(tmp_path, classes):
    torch.manual_seed(99)
    trained = timm.create_model("test_resnet", num_classes=classes).state_dict()
    save_file(trained, tmp_path / "w.safetensors")

    loaded = state(made(classes=classes, weights=str(tmp_path / "w.safetensors")))

    assert torch.equal(loaded["fc.weight"], state(made(classes=classes))["fc.weight"])
    assert torch.equal(loaded["conv1.0.weight"], trained["conv1.0.weight"])


def test_weights_without_a_key_in_common_are_refused(weights_of):
    path = weights_of({f"other.{key}": value for key, value in other_head("test_resnet").items()})

    with pytest.raises(
        ConfigError, match=r"which does not load: it lacks \d+ tensors of the trunk, such as conv1.0.weight"
    ):
        made(weights=path)


@pytest.mark.parametrize("lost", ["layer3.0.conv1.weight", "layer3.0.bn1.running_mean", "layer3.0.bn1.bias"])
def test_weights_that_leave_out_one_tensor_of_the_trunk_are_refused(weights_of, lost):
    path = weights_of({key: value for key, value in other_head("test_resnet").items() if key != lost})

    with pytest.raises(ConfigError, match=f"which does not load: it lacks 1 tensors of the trunk, such as {lost}"):
        made(weights=path)


def test_weights_of_other_shapes_are_refused_in_one_line(weights_of):
    trained = other_head("test_resnet")
    trained["layer3.0.conv1.weight"] = trained["layer3.0.conv1.weight"][:5].clone()

    with pytest.raises(ConfigError, match=r"for test_resnet; got .*, which does not load: ") as refused:
        made(weights=weights_of(trained))

    assert "\n" not in str(refused.value)


def test_weights_of_another_model_are_refused_without_a_list_of_all_that_they_hold(weights_of, caplog):
    path = weights_of(other_head("test_vit"))

    with pytest.raises(ConfigError, match="which does not load: it lacks"):
        made(weights=path)

    assert caplog.records == []


def test_weights_that_are_not_finite_are_refused_as_weights(weights_of):
    trained = other_head("test_resnet")
    trained["conv1.0.weight"][0] = float("nan")

    with pytest.raises(
        ConfigError, match=r"weights must be .*, which does not load: not all its numbers are finite: conv1.0.weight"
    ):
        made(weights=weights_of(trained))


@pytest.mark.parametrize(("content", "reason"), [(b"", "EOFError"), (b"hello world", r"KeyError\(101\)")])
def test_a_file_that_is_no_state_dict_is_refused_by_more_than_a_key(tmp_path, content, reason):
    (tmp_path / "w.pt").write_bytes(content)

    with pytest.raises(ConfigError, match=f"which does not load: {reason}"):
        made(weights=str(tmp_path / "w.pt"))


def test_a_file_that_was_cut_short_is_refused(weights_of):
    path = Path(weights_of(other_head("test_resnet")))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(ConfigError, match="does not load") as refused:
        made(weights=str(path))

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [torch.zeros(3), [1, 2], {"state_dict": [1]}])
def test_a_file_of_something_else_is_refused(tmp_path, value):
    torch.save(value, tmp_path / "w.pt")

    with pytest.raises(ConfigError, match="which does not load"):
        made(weights=str(tmp_path / "w.pt"))


def test_weights_of_the_hub_without_a_network_are_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # where nobody listens

    with pytest.raises(ConfigError, match="weights must be none or a file where there is no network; got 'imagenet'"):
        made(weights="imagenet")


def test_weights_of_the_hub_that_are_in_the_cache_need_no_network(tmp_path, monkeypatch):
    trained = other_head("test_resnet")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    repository = tmp_path / f"models--{timm.get_pretrained_cfg('test_resnet').hf_hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    save_file(trained, repository / "snapshots" / "abc" / "model.safetensors")

    loaded = state(made(weights="imagenet"))

    assert all(torch.equal(loaded[key], trained[key]) for key in trained if not key.startswith("fc"))


class _Touch:
    """What a pickle can do to whoever loads it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "weights.bin"])
def test_a_weights_file_that_would_run_code_is_refused_and_does_not_run_it(tmp_path, save, name):
    bait = tmp_path / "it-ran"
    save({**other_head("test_resnet"), "extra": _Touch(bait)}, tmp_path / name)

    with pytest.raises(ConfigError, match="does not load"):
        made(weights=str(tmp_path / name))

    assert not bait.exists()


def test_the_digest_of_weights_is_of_the_content(tmp_path):
    for name, content in (("a.pt", b"one"), ("b.pt", b"one"), ("c.pt", b"two")):
        (tmp_path / name).write_bytes(content)

    one, same, other = (weights_digest(str(tmp_path / name)) for name in ("a.pt", "b.pt", "c.pt"))

    assert one == same != other
    assert len(one) == 64


@pytest.mark.parametrize("name", ["none", "imagenet"])
def test_weights_that_are_a_name_have_no_digest(name):
    assert weights_digest(name) is None


def test_the_digest_of_a_missing_file_is_refused():
    with pytest.raises(ConfigError, match="weights must be none, imagenet or an existing file"):
        weights_digest("/nowhere/w.pt")


def test_trained_weights_bring_their_own_normalisation(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(other_head("tf_efficientnet_lite0"), path)
    model = made("tf_efficientnet_lite0", weights=str(path))
    model.module.eval()
    images = torch.rand(1, 3, 64, 64)

    torch.testing.assert_close(model(images), model.module((images - 0.5) / 0.5))


MISTAKEN = {
    "tensors.pth": ("safetensors", "it is a safetensors file by its content: give it a name that ends in .safetensors"),
    "tensors.safetensors": ("torch", "it is a file of PyTorch by its content: give it a name that ends in .pth"),
    "lfs.pth": (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer, not the weights themselves"),
    "lfs.safetensors": (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer, not the weights"),
    "empty.pth": (b"", ".*: the file is empty"),
    "empty.safetensors": (b"", ".*: the file is empty"),
    "page.pth": (b"<!DOCTYPE html>\n<html>", "it is a web page: fetch the file itself"),
    "whole.pth": ("model", "it holds more than tensors, or is damaged: save the model's state_dict alone"),
}


@pytest.mark.parametrize("name", MISTAKEN)
def test_a_file_that_is_mistaken_for_weights_is_told_what_it_is_and_what_to_do(name, tmp_path):
    content, told = MISTAKEN[name]
    tensors = {"a": torch.zeros(2)}
    if content == "safetensors":
        save_file(tensors, tmp_path / name)
    elif content == "torch":
        torch.save(tensors, tmp_path / name)
    elif content == "model":
        torch.save(torch.nn.Linear(2, 2), tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(ConfigError, match=f"^weights must be none, .*, which does not load: {told}") as refused:
        made(weights=str(tmp_path / name))

    assert "\n" not in str(refused.value)
