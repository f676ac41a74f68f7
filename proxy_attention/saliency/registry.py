"""The table of saliency methods, and which of them can explain a model, judge another or equal another."""

from collections.abc import Iterable

from proxy_attention.errors import ConfigError
from proxy_attention.saliency.attention import ROLLOUTS
from proxy_attention.saliency.attributions import ATTRIBUTIONS, NOISES
from proxy_attention.saliency.cam import CAMS
from proxy_attention.saliency.interface import ExplainedModel, Method
from proxy_attention.saliency.perturbation import PERTURBATIONS

METHODS: dict[str, Method] = {**CAMS, **PERTURBATIONS, **ATTRIBUTIONS, **ROLLOUTS}
"""Every explanation method by name."""

MADE_OF: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(NOISES, ("saliency",)),
    "guided-gradcam": ("gradcam", "guided-backprop"),
}
"""Methods that a method is made of, where its name does not tell (``smoothgrad/lrp`` tells)."""

JUDGES = ("eigengradcam", "gradcam++", "layercam", "hirescam", "gradcam", "xgradcam", "ablationcam", "eigencam")
"""Methods that explain any model in one pass: candidates for the judge, the first choice first."""


def judge(trained_by: Iterable[str]) -> str | None:
    """Choose the first of ``JUDGES`` that no training used: a model that learned from a method is not judged by it.

    Args:
        trained_by: methods of explanation by which models were trained; one over another counts as the other, too.
    Returns: a key of ``METHODS``; None if training used every judge.
    """
    used = frozenset().union(*map(related, trained_by))
    return next((name for name in JUDGES if not related(name) & used), None)


def related(saliency: str, *, eigen_smooth: bool = False) -> frozenset[str]:
    """List all names of a map: its method, the methods it is made of, and those it equals under a linear head.

    Args:
        eigen_smooth: whether it is smoothed so: of pooled features it is then another method's map, too.
    """
    own = {saliency, saliency.partition("/")[2]} - {""}
    own |= {part for name in own for part in MADE_OF.get(name, ())}
    pooled = {METHODS[name].pooled for name in own if name in METHODS} - {""}
    return frozenset(own | pooled | ({"eigengradcam"} if eigen_smooth else set()))


def check_method(
    saliency: str, model: ExplainedModel, *, name: str, eigen_smooth: bool = False, field: str = "saliency"
) -> None:
    """Check that a method can explain a model.

    Args:
        name: what the model is called.
        field: of the config, which names the method.
    Raises: ConfigError that says what is lacking, and which methods the model can be explained by.
    """
    lacking = METHODS[saliency].lacks(model)
    if lacking is not None:
        able = ", ".join(sorted(other for other, method in METHODS.items() if method.lacks(model) is None))
        raise ConfigError(
            f"{field} must be a method that can explain {name}, which has {lacking}; got {saliency!r} "
            f"(others can: {able})"
        )
    if eigen_smooth and not METHODS[saliency].can_eigen_smooth:
        able = ", ".join(sorted(other for other, method in METHODS.items() if method.can_eigen_smooth))
        raise ConfigError(f"eigen_smooth must be false for a map that is no weighted sum; got {saliency!r} ({able})")


def the_same(saliency: Iterable[str], model: ExplainedModel) -> list[tuple[str, ...]]:
    """Group those of these methods whose maps of this model are equal, bit for bit: groups of two or more."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(saliency):
        groups.setdefault((METHODS[name].pooled if model.linear_head is not None else "") or name, []).append(name)
    return [tuple(names) for names in groups.values() if len(names) > 1]
