"""The configuration of one trial; each field is declared once. Knows no data set, model or method by name.

``proxy_attention.validation.check`` checks these names, because their tables are in modules that build on this one.
Every list of fields in the project is read from the declarations here.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from proxy_attention import field_rules as rule
from proxy_attention.config_fields import (
    Enters,
    Role,
    check_field_name,
    declarations_of,
    digest_of,
    field_of,
    judge_field,
    later_field,
    later_proxy_field,
    map_field,
    proxy_field,
)
from proxy_attention.schedule import Schedule, part_at
from proxy_attention.shortcut import NO_SHORTCUT, SHORTCUT_FORM, is_shortcut, standard_form

AUTO = rule.AUTO
LAST = "last"
"""``feature_layer`` for the layer that is found by trying: the last whose output is a map."""
REGION = "region"
"""``mask`` for the place that the data set tells: its trials explain nothing."""
LEAKING = frozenset({"redrawn", "merged"})
"""Audit splits that train on validation images; everything that shows them marks them LEAKING."""
WHICH_IMAGES = (Role.CATALOGUE, Role.HELD_OUT)


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """Everything that decides the result of a trial, apart from the contents of its images and weights.

    Raises: ConfigError if a field breaks its rule.
    """

    dataset: str = field_of(
        "fashion-mnist-sample",
        rule.NAME,
        "a [data set](#data-sets) by name, in `--data-root` or `data/NAME`; or `folder`, with `--data-root`",
        *WHICH_IMAGES,
        Role.MODEL,
        enters=Enters.NEVER,  # the digest of its images enters instead
    )
    model: str = field_of("resnet18", rule.NAME, "any timm classifier", Role.MODEL, Role.STEP_MEMORY)
    weights: str = field_of(
        "none",
        rule.NAME,
        "`none`, `imagenet` (timm's hub), or a file (safetensors or a state dict), of which the head is replaced",
        Role.MODEL,
        Role.STEP_MEMORY,
        Role.RIVAL,
    )
    image_size: int = field_of(
        64, rule.SIDE, "side of the images; small sizes keep a map of at least 4x4", Role.MODEL, Role.STEP_MEMORY
    )
    schedule: str = field_of(
        "20",
        None,
        "such as `20,p,19`: a number is that many epochs, `p` one epoch that ends with a proxy step; `p?` is an epoch,"
        " too, and a proxy step only if validation accuracy has stalled: `5,p?,4` is 10 epochs",
        Role.MODEL,
        enters=Enters.NEVER,  # each epoch and step enters where it comes
    )
    # how proxies are made
    threshold: float | str = map_field(
        0.5,
        rule.THRESHOLD,
        "pixels whose map is at least this are replaced; `mean+2sd`: those above the mean and two standard deviations"
        " of the map's positive values, as in MaskTune",
    )
    weight: float = proxy_field(
        0.5, rule.UNIT_INTERVAL, "how far a pixel is replaced: `multiply` gives `(1 - weight * map) * pixel`"
    )
    choose: str = later_proxy_field("wrong", rule.NAME, "[which images](#methods-models-replacements) become proxies")
    subset: float = proxy_field(
        1.0, rule.POSITIVE_FRACTION, "which part of the images of `choose` is chosen", enters=Enters.BY_VALUE_OF_STEP
    )
    subset_decay: float = proxy_field(
        1.0,
        rule.POSITIVE_FRACTION,
        "a trial's n-th proxy step as planned, from 0, takes the part `subset * subset_decay^n`, one image at least",
        used_if=lambda trial: trial.planned.proxy_steps >= 2,
        enters=Enters.BY_VALUE_OF_STEP,
        omitted_at=1.0,
    )
    patience: int = proxy_field(
        2,
        rule.count(1, 1000),
        "of `p?`: a trial has stalled if none of its last so many epochs has a val accuracy above the best before them",
        used_if=lambda trial: trial.planned.may_skip,
        enters=Enters.BY_VALUE_OF_STEP,
        omitted_at=2,
    )
    saliency: str = map_field(
        "gradcam", rule.NAME, "the [method of explanation](#methods-models-replacements)", Role.MODEL
    )
    feature_layer: str = map_field(
        LAST,
        rule.NAME,
        "the layer whose map is explained: `last` is found by trying; a wrong name is answered with those there are",
        Role.MODEL,
        omitted_at=LAST,
    )
    eigen_smooth: bool = map_field(
        False, rule.FLAG, "first principal component of weighted features, not their sum", Role.MODEL, omitted_at=False
    )
    explain: str = map_field(
        "predicted", rule.NAME, "class that maps explain; `contrast` is the predicted minus the true"
    )
    mask: str = proxy_field(
        "saliency",
        rule.NAME,
        "[what decides](#methods-models-replacements): the map, a control or the oracle `region`",
        Role.MODEL,
    )
    replacement: str = proxy_field(
        "multiply", rule.NAME, "[what replaces a pixel](#methods-models-replacements), blended at `weight`"
    )
    scope: str = proxy_field("image", rule.NAME, "what the statistics of a replacement are taken over")
    smoothing: float = map_field(0.0, rule.SIGMA, "blur maps by a gaussian of this sigma")
    max_area: float = proxy_field(
        1.0, rule.UNIT_INTERVAL, "the part of an image that may be replaced, highest values of the map first"
    )
    collect: str = proxy_field(
        "clean", rule.NAME, "how wrong images are found: `clean` (a pass over the originals), `online` (while training)"
    )
    order: str = proxy_field(
        "random",
        rule.NAME,
        "which of them are chosen where `subset` leaves some; the `hardest` by their loss",
        used_if=lambda trial: trial.has_proxies and trial.choose != "random",
    )
    substitute: str = proxy_field(
        "replace", rule.NAME, "`replace` an original by its proxy, or `add` the proxy to it: a longer epoch"
    )
    repeats: int = later_proxy_field(
        1,
        rule.count(1, 1000),
        "how often each proxy joins its original under `substitute = add`",
        used_if=lambda trial: trial.has_proxies and trial.substitute == "add",
    )
    restart: bool = later_proxy_field(
        False, rule.FLAG, "after a proxy step, a fresh network is trained over the epochs that are left"
    )
    clear_every_step: bool = proxy_field(
        True, rule.FLAG, "drop earlier proxies at the next proxy step", enters=Enters.EARLIER_PROXIES
    )
    compound: bool = proxy_field(False, rule.FLAG, "make proxies from proxies", enters=Enters.EARLIER_PROXIES)
    # how the classifier is trained
    augment: str = field_of(
        "flip-rotate",
        rule.NAME,
        "an [augmentation](#rivals), or several joined by `+`, such as `flip-rotate+cutmix`: each after the one"
        " before it; one of them may mix images, and its labels count by their parts in loss and accuracy",
        Role.STEP_MEMORY,
        Role.RIVAL,
    )
    # AUTO until it is measured; always a number in a trial that runs
    batch_size: int | Any = field_of(  # noqa: RUF009 (it makes a dataclass field)
        32,
        rule.count_or_text(1, 65_536, AUTO),
        "images a step; `auto`, in `[fixed]`, is [the largest that fits](#what-auto-measures)",
    )
    lr: float = field_of(2e-3, rule.POSITIVE, "peak learning rate of AdamW, stepped every batch as `lr_schedule` says")
    lr_schedule: str = later_field(
        "one-cycle", rule.NAME, "`one-cycle` peaks at `lr` and ends near 0, over the trial; `constant` stays at `lr`"
    )
    weight_decay: float = field_of(1e-5, rule.NOT_NEGATIVE, "of AdamW")
    precision: str = field_of(
        AUTO, rule.NAME, "`fp16` is for CUDA; [`auto`](#what-auto-measures) takes the fastest", Role.STEP_MEMORY
    )
    threads: int | str = field_of(
        AUTO,
        rule.count_or_text(1, 1024, AUTO),
        "of a trial on a CPU; [`auto`](#what-auto-measures) is measured",
        Role.STEP_MEMORY,
    )
    compile: bool = field_of(
        False, rule.FLAG, "train under `torch.compile`: a minute a model at first; no gain on a CPU", omitted_at=False
    )
    freeze_trunk: bool = field_of(
        False,
        rule.FLAG,
        "train the head alone: every other weight and batch statistic stays as it was loaded",
        Role.STEP_MEMORY,
        omitted_at=False,
    )
    # how the trained model's explanations are judged; has no effect on training
    judge: str = judge_field(
        "eigengradcam",
        rule.NAME,
        "the method whose maps say what the trained model looks at (columns `insertion_auc` to `pointing_game`);"
        " [none of a study's trials may train by it](#the-judge)",
        used_if=lambda trial: trial.judge_images > 0,
    )
    judge_images: int = judge_field(
        50, rule.count(0, 1_000_000), "how many test images are judged, once the training is over; 0 is none"
    )
    # which images are train, val and test
    val_fraction: float = field_of(0.2, rule.PROPER_FRACTION, "the part that is val", Role.SPLIT, Role.HELD_OUT)
    test_fraction: float = field_of(
        0.2,
        rule.PROPER_FRACTION,
        "the part that is test; a data set's own test split is kept, and val then comes from train",
        Role.SPLIT,
        Role.HELD_OUT,
    )
    train_fraction: float = field_of(
        1.0, rule.POSITIVE_FRACTION, "the part of train that is used; same val and test", Role.SPLIT, Role.RIVAL
    )
    split: str = field_of(
        "fixed",
        rule.NAME,
        "`fixed` is drawn once; `redrawn` (train and val drawn again at every item of the schedule) and `merged` (train"
        " on val, too) are audits, marked LEAKING",
        Role.SPLIT,
    )
    folds: int = field_of(
        0, rule.count(0, 1000), "stratified k-fold of so many folds; 0 is none", Role.SPLIT, Role.HELD_OUT
    )
    fold: int = field_of(0, rule.count(0, 999), "which of them is val", Role.SPLIT, Role.REPEAT)
    on_bad_image: str = field_of("error", rule.NAME, "what to do about an image that cannot be read", *WHICH_IMAGES)
    label_function: str = field_of(
        "parent-folder",
        rule.NAME,
        "class in `folder`: `parent-folder`, `numbered-folder` (less its number), `top-folder` (the path's first), or"
        " `file-prefix` (to its last `_`)",
        *WHICH_IMAGES,
    )
    white_level: float | str = later_field(
        AUTO,
        rule.POSITIVE_OR_AUTO,
        "the value that becomes white in images of 16 or 32 bits or floats (0 is black), one for the whole data set;"
        " `auto` is found over all its files, and the plan tells it",
        *WHICH_IMAGES,  # `auto` stays where no image needs a white level
    )
    shortcut: str = later_field(
        NO_SHORTCUT,
        rule.FieldRule(SHORTCUT_FORM, (str,), is_shortcut),
        "[planted into the images](#data-sets): in a share of each class' training images it tells their class, in the"
        " rest another; val and test (`aligned` and `none`, unless said) tell it, tell another, or show none",
        Role.HELD_OUT,
    )
    split_seed: int | None = field_of(
        None, rule.count_or_none(0, rule.LARGEST_SEED), "draws the split; unset, it is `seed`", Role.SPLIT, Role.REPEAT
    )
    seed: int = field_of(0, rule.count(0, rule.LARGEST_SEED), "of everything that is drawn", Role.REPEAT)

    def __post_init__(self) -> None:
        for name, field_rule in RULES.items():
            object.__setattr__(self, name, field_rule.check(name, getattr(self, name)))
        object.__setattr__(self, "schedule", str(Schedule.parse(self.schedule)))
        object.__setattr__(self, "shortcut", standard_form(self.shortcut))
        rule.check_fractions(val_fraction=self.val_fraction, test_fraction=self.test_fraction)
        rule.check_fold(self.fold, folds=self.folds)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "TrialConfig":
        """Build a config from a mapping, such as a table of study.toml.

        Raises: ConfigError for a key that is no field, or a value that breaks its rule.
        """
        for key in values:
            check_field_name(key, DEFAULTS)
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values by field name, ready for JSON."""
        return dataclasses.asdict(self)

    @property
    def planned(self) -> Schedule:
        """The parsed schedule."""
        return Schedule.parse(self.schedule)

    @property
    def has_proxies(self) -> bool:
        """Whether the schedule has a proxy step, including one that may be skipped."""
        return self.planned.proxy_steps > 0

    @property
    def has_maps(self) -> bool:
        """Whether proxies are made by maps, and not where the data set tells."""
        return self.has_proxies and self.mask != REGION

    @property
    def effective_split_seed(self) -> int:
        """``split_seed`` if it is set, else ``seed``."""
        return self.seed if self.split_seed is None else self.split_seed

    def subset_at(self, step: int) -> Fraction:
        """Compute the exact part of its images that a step chooses; see ``schedule.part_at``."""
        return part_at(step, first=self.subset, decay=self.subset_decay)

    def canonical(self) -> "TrialConfig":
        """Return this trial in its standard form: unused fields at their defaults, and the split seed set."""
        unused = {name: DEFAULTS[name] for name, declared in FIELDS.items() if not declared.used_if(self)}
        return dataclasses.replace(self, split_seed=self.effective_split_seed, **unused)

    def digest(self, *, data: str, weights: str | None) -> str:
        """Compute the identity of the trial: a SHA-256 over all resolved fields and the contents of data and weights.

        Args:
            data: content digest of the images.
            weights: content digest of a weights file; None if ``weights`` is a name, not a file.
        Returns: 64 hexadecimal digits.
        Raises: ConfigError while a field that is measured is still ``auto``.
        """
        # digests in place of names: the same name or path may hold other contents on another machine
        contents = {"dataset": data, "weights": weights or self.weights}
        return digest_of(self.canonical().as_dict(), FIELDS, contents=contents)


FIELDS = declarations_of(TrialConfig)
"""The declaration of every field, by name."""

DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(TrialConfig)}
"""The default of every field, by name."""

RULES = {name: declared.rule for name, declared in FIELDS.items() if declared.rule is not None}
"""The rule of every field but the schedule, which is parsed."""


def fields_with(*roles: Role) -> tuple[str, ...]:
    """List the fields that have one of these roles, in the order of their declarations."""
    return tuple(name for name, declared in FIELDS.items() if declared.roles.intersection(roles))


PROXY_FIELDS = fields_with(Role.PROXY)
"""The fields that have an effect only if the schedule has a proxy step; some need more (see their ``used_if``)."""

JUDGE_FIELDS = fields_with(Role.JUDGE)
"""The fields that have an effect only after training."""
