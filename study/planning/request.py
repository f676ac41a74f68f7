"""Reads a request for a run from the command line, or from the plan of an earlier run, and checks it; plans nothing."""

import dataclasses
import shlex
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy_attention.config import DEFAULTS
from proxy_attention.data.image_files import MAX_PIXELS
from proxy_attention.data.registry import SOURCES, default_root
from proxy_attention.errors import ConfigError, unknown
from proxy_attention.files import read_regular
from study.plan import SEARCHES, Plan
from study.planning.study_file import SAFE_NAME, check_seeds, load_study, parse_setting, parse_study, study_file
from study.planning.study_spec import Study
from study.provenance import ROOT
from study.run_folder import STUDY_FILE, RunFolder, find_runs

EXPERIMENTS = ROOT / "experiments"
SUGGESTIONS, CONFIRM = 20, 1
CACHE_GB = 20
SPARED = {
    "cache": "decode and resize the images anew in every worker",
    "sharing": "let every trial train all its epochs, also those that it has in common with others",
    "reuse": "start a fresh process for every trial",
    "packing": "let every trial have a GPU of its own, also where several would fit",
}
"""What ``--without`` can turn off, and what is then done instead; none of them changes a number."""


@dataclass(frozen=True)
class Request:
    """Everything that was asked for, checked and with its defaults.

    Attributes:
        run: the run's folder, absolute.
        suggestions: settings to try on the first seed; 0 for a grid.
        confirm: how many of the best to run on the other seeds.
        cpus_per_trial, gpus_per_trial, concurrency: None where the user did not say.
        without: keys of ``SPARED``.
        cache_gb: disk space in GiB that decoded images and shared states may each take.
        max_pixels: the most pixels of an image; one with more counts as unreadable.
        extend: whether what is new joins the plan that the run holds.
    """

    study: Study
    search: str
    name: str
    run: Path
    suggestions: int
    confirm: int
    data_root: Path | None
    cpus_per_trial: int | None
    gpus_per_trial: float | None
    concurrency: int | None
    command: str
    without: tuple[str, ...] = ()
    cache_gb: int = CACHE_GB
    max_pixels: int = MAX_PIXELS
    extend: bool = False

    @classmethod
    def of_run(cls, run: Path, *, command: str) -> "Request":
        """Read the request that made this run, for ``--restore``.

        Raises: ConfigError if plan.json or study.toml is missing or damaged.
        """
        folder = RunFolder(run)
        plan = folder.read_plan()
        try:
            study = study_of(folder, plan)
            options = dict(plan.options)
            root = options.pop("data_root")
            options["without"] = tuple(options.get("without", ()))
            return cls(
                study=study,
                search=plan.search,
                name=plan.name,
                run=run,
                suggestions=plan.suggestions,
                confirm=plan.confirm,
                data_root=Path(root) if root else None,
                command=command,
                **options,
            )
        except (OSError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ConfigError(
                f"a run must hold the study.toml it was made of; {str(run)!r} does not ({error})"
            ) from error

    @property
    def options(self) -> dict[str, Any]:
        """The part of the request that plan.json keeps for a restore."""
        names = ("cpus_per_trial", "gpus_per_trial", "concurrency", "without", "cache_gb", "max_pixels")
        return {"data_root": str(self.data_root) if self.data_root else None} | {n: getattr(self, n) for n in names}

    @property
    def caches(self) -> Path:
        """The folder that the runs of one storage share: images, states and batch sizes; always safe to delete."""
        return RunFolder(self.run).caches


def study_of(run: RunFolder, plan: Plan) -> Study:
    """Read the study that a run's plan was made of: study.toml, or what the plan's last extension made of it.

    Raises: ConfigError if it cannot be read.
    """
    try:
        return parse_study(
            plan.extensions[-1].study if plan.extensions else read_regular(run.study_file).decode("utf-8-sig")
        )
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"a run must hold the study.toml it was made of; {str(run.path)!r} does not ({error})"
        ) from error


def requests(args: Namespace) -> list[Request]:
    """Read the requests of a command line: one run, or those that a restore finds.

    Raises: ConfigError for options that do not go together.
    """
    command = shlex.join(["python", "study/run.py", *sys.argv[1:]])
    if args.restore is not None:
        refused = (
            *("search", "experiment", "name", "trials", "confirm", "seeds", "set", "data_root", "storage"),
            *("without", "cache_gb", "max_pixels", "extend"),
        )
        for option in refused:
            if getattr(args, option) is not None:
                name = "--" + option.replace("_", "-")
                raise ConfigError(f"{name} must not be given with --restore, which runs the plan as it was made")
        runs = [Request.of_run(run.path, command=command) for run in find_runs(Path(args.restore))]
        shares = {name: getattr(args, name) for name in ("cpus_per_trial", "gpus_per_trial", "concurrency")}
        given = {name: value for name, value in shares.items() if value is not None}
        return [dataclasses.replace(run, **given) for run in runs]
    if args.search is None:
        raise ConfigError(f"--search must be one of {', '.join(SEARCHES)}; got none (or give --restore PATH)")
    if args.search not in SEARCHES:
        raise unknown("--search", args.search, SEARCHES)
    for option in ("trials", "confirm"):
        if args.search == "grid" and getattr(args, option) is not None:
            raise ConfigError(f"--{option} must go with --search optuna or random; got it with grid")
    file = _experiment(args.experiment or "quick")
    name = args.name or (file.parent.name if file.name == STUDY_FILE else file.stem)
    if not SAFE_NAME.fullmatch(name):
        raise ConfigError(f"--name must be of letters, digits, '.', '_' and '-', at most 64; got {name!r}")
    study = load_study(file, settings=args.set or [], seeds=_seeds(args.seeds), fixed=_implied_fields(args, file))
    storage = Path(args.storage).expanduser().absolute() if args.storage else EXPERIMENTS
    run = RunFolder(storage / name / args.search)
    if args.extend and not run.has_plan:
        raise ConfigError(f"--extend must name a run that exists; there is none in {str(run.path)!r}")
    search = args.search != "grid"
    return [
        Request(
            study=study,
            search=args.search,
            name=name,
            run=run.path,
            suggestions=(args.trials or SUGGESTIONS) if search else 0,
            confirm=(CONFIRM if args.confirm is None else args.confirm) if search else 0,
            data_root=_data_root(args, study),
            cpus_per_trial=args.cpus_per_trial,
            gpus_per_trial=args.gpus_per_trial,
            concurrency=args.concurrency,
            command=command,
            without=_without(args.without),
            cache_gb=CACHE_GB if args.cache_gb is None else args.cache_gb,
            max_pixels=MAX_PIXELS if args.max_pixels is None else args.max_pixels,
            extend=bool(args.extend),
        )
    ]


def _without(text: str | None) -> tuple[str, ...]:
    """Return the names that ``--without`` lists, in the order of ``SPARED``.

    Raises: ConfigError for one that is not in the table.
    """
    words = [word.strip() for word in text.split(",")] if text is not None else []
    for word in words:
        if word not in SPARED:
            raise unknown("--without", word, SPARED)
    return tuple(name for name in SPARED if name in words)


def _experiment(name: str) -> Path:
    """Find the study.toml of a study, given by its name under experiments/ or by a path."""
    path = Path(name).expanduser()
    return study_file(EXPERIMENTS / name if not path.exists() and (EXPERIMENTS / name).is_dir() else path).absolute()


def _seeds(text: str | None) -> tuple[int, ...] | None:
    """Parse the text of ``--seeds``."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    return check_seeds([int(word) if word.isascii() and word.isdigit() else word for word in words])


def _data_root(args: Namespace, study: Study) -> Path | None:
    """Find the data root as an absolute path, because trials run in other folders.

    Without ``--data-root``, a data set that needs one is looked for below ``data``.

    Raises: ConfigError if it is not there.
    """
    if args.data_root is not None:
        return Path(args.data_root).expanduser().absolute()
    names = _data_sets(study)
    outside = sorted(name for name in names if _needs_root(name))
    if not outside or "folder" in outside:
        return None
    if inside := sorted(name for name in names if name in SOURCES and not SOURCES[name].needs_root):
        raise ConfigError(
            f"a study's data sets must all lie in a data root or none; got {', '.join(outside)} and {', '.join(inside)}"
        )
    roots = [_default_root(name) for name in outside]
    return roots[0] if len(roots) == 1 else roots[0].parent


def _default_root(dataset: str) -> Path:
    """Find a data set in its folder below ``data``.

    Raises: ConfigError that names the command which prepares it.
    """
    try:
        return default_root(dataset)
    except ConfigError as error:
        command = f"python study/data.py prepare {dataset} --root data/{dataset}"
        raise ConfigError(f"{error} (--data-root DIR, or {command})") from error


def _data_sets(study: Study) -> set[str]:
    """Collect every data set that a study names: fixed, searched, of an arm, or by default."""
    fixed = study.fixed.get("dataset", DEFAULTS["dataset"])
    searched = study.search.get("dataset", (fixed,))
    return {
        *(searched if isinstance(searched, tuple) else ()),
        *(arm.values.get("dataset", fixed) for arm in study.arms),
    }


def _needs_root(dataset: str) -> bool:
    """Whether the data set is known by name and lies in a data root, outside the package."""
    return dataset in SOURCES and SOURCES[dataset].needs_root


def _implied_fields(args: Namespace, file: Path) -> dict[str, str]:
    """Return the fixed fields that ``--data-root`` implies: alone it means the data set ``folder``."""
    named = dict(parse_setting(text) for text in args.set or []).get("dataset")
    if args.data_root is None or named is not None:
        return {}
    return {} if any(map(_needs_root, _data_sets(load_study(file)))) else {"dataset": "folder"}
