"""Every augmentation by name, and how several follow one another."""

import torch

from proxy_attention.augment.attentive import ATTENTIVE
from proxy_attention.augment.batch import Augmentation, Batch, Task
from proxy_attention.augment.blending import BLENDING
from proxy_attention.augment.erasing import ERASING
from proxy_attention.augment.pasting import PASTING
from proxy_attention.augment.policies import POLICIES
from proxy_attention.augment.saliency_mixing import SALIENCY_MIXING
from proxy_attention.augment.transforms import TRANSFORMS
from proxy_attention.errors import ConfigError, unknown

NONE, AND = "none", "+"

AUGMENTATIONS: dict[str, Augmentation] = {
    **TRANSFORMS,
    **ERASING,
    **POLICIES,
    **BLENDING,
    **PASTING,
    **SALIENCY_MIXING,
    **ATTENTIVE,
}
"""Every augmentation by name."""


def augmentation_of(augment: str) -> Augmentation:
    """Look up a config's ``augment``: one augmentation, or several joined by ``+`` and applied in this order.

    Raises: ConfigError for a name that is unknown or there twice, for ``none`` beside others, or for two that mix.
    """
    names = augment.split(AND)
    for name in names:
        if name not in AUGMENTATIONS:
            raise unknown("augment", name, AUGMENTATIONS)
    mixing = [name for name in names if AUGMENTATIONS[name].mixes]
    if len(set(names)) < len(names) or (NONE in names and len(names) > 1) or len(mixing) > 1:
        raise ConfigError(
            "augment must be names joined by +, each once, none on its own, and at most one of them that mixes images; "
            f"got {augment!r}"
        )
    if len(names) == 1:
        return AUGMENTATIONS[augment]
    parts = [AUGMENTATIONS[name] for name in names]

    def apply(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
        for part, columns in zip(parts, draws.split([part.columns for part in parts], dim=1), strict=True):
            batch = part.apply(batch, columns, task)
        return batch

    return Augmentation(
        what=", then ".join(part.what for part in parts),
        source="; ".join(part.source for part in parts),
        columns=sum(part.columns for part in parts),
        apply=apply,
        mixes=bool(mixing),
        passes=sum(part.passes for part in parts),
        saliency_methods=tuple(dict.fromkeys(name for part in parts for name in part.saliency_methods)),
    )
