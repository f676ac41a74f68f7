"""Checks the names in a TrialConfig against the tables of the library."""

from collections.abc import Collection

from proxy_attention.augment.registry import augmentation_of
from proxy_attention.config import AUTO, TrialConfig
from proxy_attention.data.images import ON_BAD_IMAGE
from proxy_attention.data.labels import LABEL_FUNCTIONS
from proxy_attention.data.registry import SOURCES
from proxy_attention.data.splits import SPLITS
from proxy_attention.data.training_set import SUBSTITUTES
from proxy_attention.errors import unknown
from proxy_attention.models.classifier import PRECISIONS
from proxy_attention.models.input_size import family_of
from proxy_attention.proxies.masks import MASKS
from proxy_attention.proxies.replacement import REPLACEMENTS, SCOPES
from proxy_attention.proxies.scoring import CHOOSE, COLLECT, ORDERS
from proxy_attention.saliency.maps import EXPLAIN
from proxy_attention.saliency.registry import METHODS
from proxy_attention.training import LR_SCHEDULES

CHOICES: dict[str, Collection[str]] = {
    "dataset": SOURCES,
    "choose": CHOOSE,
    "saliency": METHODS,
    "judge": METHODS,
    "explain": EXPLAIN,
    "mask": MASKS,
    "replacement": REPLACEMENTS,
    "scope": SCOPES,
    "collect": COLLECT,
    "order": ORDERS,
    "substitute": SUBSTITUTES,
    "lr_schedule": LR_SCHEDULES,
    "precision": (*PRECISIONS, AUTO),
    "split": SPLITS,
    "on_bad_image": ON_BAD_IMAGE,
    "label_function": LABEL_FUNCTIONS,
}
"""The known values of every field that is a name, but for ``model`` (timm's names) and ``augment`` (joined names)."""


def check(config: TrialConfig) -> TrialConfig:
    """Return the config if every name in it is known; its ranges were checked when it was made.

    Raises: ConfigError that names the field and the known names.
    """
    for field, known in CHOICES.items():
        if getattr(config, field) not in known:
            raise unknown(field, getattr(config, field), known)
    augmentation_of(config.augment)
    family_of(config.model)
    return config
