"""Every method of explanation by name, and which of them a model can be explained by."""

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
"""What a method is made of where its name does not say so, as that of ``smoothgrad/lrp`` does."""

JUDGES = ("eigengradcam", "gradcam++", "layercam", "hirescam", "gradcam", "xgradcam", "ablationcam", "eigencam")
"""Methods that can say where any trained model looks at the price of one pass, the first choice first."""


def judge(trained_by: Iterable[str]) -> str | None:
    """The first of ``JUDGES`` that no training used: whoever learned from a method is not to be judged by it.

    Args:
        trained_by: methods of explanation by which models were trained; one over another counts as the other, too.
    Returns: a key of ``METHODS``; None if training used every judge.
    """
    used = frozenset().union(*map(related, trained_by))
    return next((name for name in JUDGES if not related(name) & used), None)


def related(saliency: str, *, eigen_smooth: bool = False) -> frozenset[str]:
    """What a map may be called: its method, those it is made of, what they are to the bit under a linear head.

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
    """See that a model can be explained by a method.

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
    """The methods among these that are one and the same for this model, to the bit: groups of two or more."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(saliency):
        groups.setdefault((METHODS[name].pooled if model.linear_head is not None else "") or name, []).append(name)
    return [tuple(names) for names in groups.values() if len(names) > 1]
