"""Finds trained weights of timm models, and checks that they filled the model; builds nothing."""

import hashlib
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import timm
import torch
from timm.models import load_state_dict
from torch import nn

from proxy_attention.errors import ConfigError

NAMES = ("none", "imagenet")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
HUB_TIMEOUT_SECONDS = 5


def weights_digest(weights: str) -> str | None:
    """Compute the SHA-256 of a weights file; None for ``none`` and ``imagenet``, which are names."""
    if weights in NAMES:
        return None
    with weights_file(weights).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_file(weights: str) -> Path:
    """Return the path of weights that are neither ``none`` nor ``imagenet``.

    Raises: ConfigError if there is none.
    """
    path = Path(weights).expanduser().absolute()
    if not path.is_file():
        raise ConfigError(f"weights must be none, imagenet or an existing file; got {weights!r}")
    return path


def source_of(name: str, weights: str) -> dict[str, Any]:
    """Say where timm takes weights from, as entries of its pretrained configuration; the head is never taken.

    Raises: ConfigError for a file that is not there, or a hub that does not answer while its cache lacks them.
    """
    fresh_head = {"num_classes": -1}  # timm keeps a head if this is the number of classes that it is asked for
    if weights != "imagenet":
        return {"file": str(weights_file(weights)), **fresh_head}
    known = timm.models.get_pretrained_cfg(name)
    if known is None or not known.hf_hub_id or known.custom_load:
        return fresh_head
    asked = [known.hf_hub_filename] if known.hf_hub_filename else HUB_FILES
    for filename in asked:
        cached = huggingface_hub.try_to_load_from_cache(known.hf_hub_id, filename)
        if isinstance(cached, str):
            return {"file": cached, **fresh_head}
    reason = _why_unreachable(huggingface_hub.constants.ENDPOINT)
    if reason is not None:  # the hub's own client would try again for most of a minute, file by file
        raise ConfigError(
            f"weights must be none or a file where there is no network; got 'imagenet' for {name}, "
            f"which is not in the cache, and {huggingface_hub.constants.ENDPOINT} does not answer: {reason}"
        )
    return fresh_head


def _why_unreachable(address: str) -> str | None:
    """Return why a server does not answer; None if it answers, be it with an error."""
    try:  # the hub's own address, as its client has it
        asked = urllib.request.Request(address, method="HEAD")  # noqa: S310
        with urllib.request.urlopen(asked, timeout=HUB_TIMEOUT_SECONDS):  # noqa: S310
            return None
    except urllib.error.HTTPError:
        return None
    except OSError as error:
        return str(getattr(error, "reason", error))


def what_is_wrong(path: str, error: str) -> str:
    """Say what a file is that does not load as weights, by its first bytes, and what to do; else return the error.

    timm takes a file for safetensors or for PyTorch's by its name alone.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(512)
    except OSError:
        return error
    named_safetensors = path.endswith(".safetensors")
    if not head:
        return f"{error}: the file is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the weights themselves: git lfs pull fetches them"
    if re.match(rb"\s*<(!doctype )?html", head, re.IGNORECASE):
        return "it is a web page: fetch the file itself"
    if head[8:9] == b"{" and not named_safetensors:
        return "it is a safetensors file by its content: give it a name that ends in .safetensors"
    if head.startswith((b"PK\x03\x04", b"\x80\x02")) and named_safetensors:
        return "it is a file of PyTorch by its content: give it a name that ends in .pth"
    if head.startswith((b"PK\x03\x04", b"\x80\x02")):
        return "it holds more than tensors, or is damaged: save the model's state_dict alone"
    return error


def not_loaded(module: nn.Module, path: str, heads: tuple[nn.Module, ...], fresh: Callable[[], nn.Module]) -> list[str]:
    """List tensors of the trunk that the file did not fill; timm loads what fits and reports nothing of the rest.

    Args:
        fresh: gives the same model before anything was loaded.
    """
    in_heads = {id(tensor) for head in heads for tensor in head.state_dict(keep_vars=True).values()}
    trunk = {
        key: tensor
        for key, tensor in module.state_dict(keep_vars=True).items()
        if id(tensor) not in in_heads and tensor.is_floating_point()
    }
    there = load_state_dict(path).keys()
    absent = [key for key in trunk if key not in there]
    if not absent or 2 * len(absent) < len(trunk):  # timm's own names: what is absent is absent
        return absent
    before = fresh().state_dict()  # other names, which timm translates for many models: look at what changed
    return [key for key in absent if torch.equal(before[key], trunk[key].detach()) and before[key].unique().numel() > 1]


def not_finite(module: nn.Module) -> list[str]:
    """List parameters with a number that is not finite, as a diverged training leaves them."""
    return [key for key, parameter in module.named_parameters() if not parameter.isfinite().all()]


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence timm's loader, which logs every unused tensor: a page, for a file of another model."""
    logger = logging.getLogger("timm.models._builder")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
