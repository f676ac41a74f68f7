"""Builds classifiers: a timm model adapted to an image size, its weights, and the layer that is explained."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from proxy_attention.config import LAST, TrialConfig
from proxy_attention.errors import ConfigError
from proxy_attention.models.classifier import Classifier
from proxy_attention.models.feature_layers import FeatureLayer, find_last, find_named, heads_of
from proxy_attention.models.input_size import MIN_GRID, Adaptation, family_of
from proxy_attention.models.weights import not_finite, not_loaded, quiet_loading, source_of, what_is_wrong
from proxy_attention.seeds import derive_seed


def build(
    name: str, *, classes: int, image_size: int, weights: str, seed: int, feature_layer: str = LAST
) -> Classifier:
    """Build a classifier for images of this size, with a fresh head.

    Args:
        weights: ``none``, ``imagenet`` (timm's hub) or the path of a safetensors or state-dict file.
        seed: the trial's seed; decides every random weight, whatever was drawn before.
        feature_layer: a module of the network, or ``last``.
    Raises: ConfigError for an unknown model, an image size that it cannot take, weights that do not fit, or a layer
        that gives no map.
    """
    init_seed = derive_seed(seed, "init")
    return _assemble(name, classes, image_size, weights, feature_layer, init_seed, load=weights != "none")


def build_for(config: TrialConfig, *, classes: int) -> Classifier:
    """Build the classifier that a trial of this config begins with.

    Raises: ConfigError as ``build`` does.
    """
    return build(
        config.model,
        classes=classes,
        image_size=config.image_size,
        weights=config.weights,
        seed=config.seed,
        feature_layer=config.feature_layer,
    )


def untrained(
    name: str, *, classes: int, image_size: int, weights: str, seed: int, feature_layer: str = LAST
) -> Classifier:
    """Build what ``build`` builds from the same arguments, but at random weights from a stream of their own.

    Args:
        weights: decides how the architecture is adapted to small images, and the normalisation; none are loaded.
    Raises: ConfigError as ``build`` does.
    """
    return _assemble(name, classes, image_size, weights, feature_layer, derive_seed(seed, "untrained"), load=False)


def _assemble(
    name: str, classes: int, image_size: int, weights: str, layer: str, init_seed: int, *, load: bool
) -> Classifier:
    adaptations = family_of(name)(name, image_size, weights != "none")
    source = source_of(name, weights) if load else None
    best = _first_usable(adaptations, name, classes, image_size, weights, init_seed, source)
    found, note = best.layer, best.adaptation.note
    if layer != LAST:
        try:
            found = find_named(best.module, image_size, layer)
        except ConfigError as error:
            raise ConfigError(f"feature_layer must be {LAST} or a layer of {name} that gives a map; {error}") from None
        note += f", map of {found.name} as asked"
    elif not best.has_large_last_map:
        note += f", map of {found.name} (the last is {found.last[0]}x{found.last[1]})"
    normalisation = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    if weights != "none":
        data = resolve_model_data_config(best.module)
        normalisation = (data["mean"], data["std"])
    return Classifier(best.module, layer=found, image_size=image_size, normalisation=normalisation, note=note)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A model as one adaptation builds it, and its last layer with a map of ``MIN_GRID`` positions on a side."""

    adaptation: Adaptation
    module: nn.Module
    layer: FeatureLayer

    @property
    def has_large_last_map(self) -> bool:
        """Whether the network's very last map is of that size too, not only an earlier one."""
        return min(self.layer.last) >= MIN_GRID


def _first_usable(
    adaptations: Iterable[Adaptation],
    name: str,
    classes: int,
    image_size: int,
    weights: str,
    init_seed: int,
    source: dict[str, Any] | None,
) -> _Candidate:
    """Try the adaptations in order: the first whose very last map is large, else the first with any such map.

    Raises: ConfigError if no adaptation builds a model with a map of ``MIN_GRID`` positions on a side.
    """
    second_best: _Candidate | None = None
    reasons = []
    for adaptation in adaptations:
        try:
            module = _create(name, classes, adaptation, init_seed, weights, source)
            with _in_one_line():
                layer = find_last(module, image_size, at_least=MIN_GRID)
        except _CannotBuildError as error:
            reasons.append(str(error))
            continue
        if layer is None:
            reasons.append("")
            continue
        candidate = _Candidate(adaptation, module, layer)
        if candidate.has_large_last_map:
            return candidate
        second_best = second_best or candidate
    if second_best is None:
        raise _no_candidate(name, image_size, reasons)
    return second_best


class _CannotBuildError(Exception):
    """A model cannot be built or run with these arguments; others may do."""


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Raise whatever timm, the hub, an unpickler or a forward pass raises here as an error of one line."""
    try:
        yield
    except Exception as error:
        line = (str(error).splitlines() or [""])[0]
        told = line if " " in line else repr(error)  # a KeyError's text is its key alone
        raise _CannotBuildError(told[:200]) from error


def _no_candidate(name: str, image_size: int, reasons: list[str]) -> ConfigError:
    """Make the error of a model without a usable adaptation, from the first reason that tells a person something.

    An argument that the constructor does not take tells nothing: it was only tried.
    """
    telling = [each for each in reasons if not each or (" " in each and "unexpected keyword argument" not in each)]
    if telling and telling[0]:
        return ConfigError(f"model must build, and give a map at {image_size} px; got {name!r}: {telling[0]}")
    return ConfigError(
        f"image_size must give {name} a map of at least {MIN_GRID}x{MIN_GRID}; got {image_size}, "
        "at which no layer that the logits depend on has one"
    )


def _create(
    name: str, classes: int, adaptation: Adaptation, init_seed: int, weights: str, source: dict[str, Any] | None
) -> nn.Module:
    """Create the model with timm, with weights from their source if there is one.

    Raises: ConfigError if the weights do not load; ``_CannotBuildError`` if the model does not build without them.
    """

    def make(**more: Any) -> nn.Module:
        with _in_one_line(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(init_seed)  # a GPU's generator is left as it is
            module: nn.Module = timm.create_model(name, num_classes=classes, **adaptation.arguments, **more)
            adaptation.adapt(module)
        return module

    if source is None:
        return make()
    try:
        with quiet_loading():
            module = make(pretrained=True, pretrained_cfg_overlay=source)
        with _in_one_line():
            missing = not_loaded(module, source["file"], heads_of(module), make) if "file" in source else []
        reason = f"it lacks {len(missing)} tensors of the trunk, such as {missing[0]}" if missing else ""
        if not reason and (broken := not_finite(module)):
            reason = f"not all its numbers are finite: {broken[0]}"
    except _CannotBuildError as error:
        make()  # raises if the model does not build without weights, either; else the weights are at fault
        reason = what_is_wrong(source["file"], str(error)) if "file" in source else str(error)
    if reason:
        raise ConfigError(
            f"weights must be none, imagenet or a file for {name}; got {weights!r}, which does not load: {reason}"
        )
    return module
