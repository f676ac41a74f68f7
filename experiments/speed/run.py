"""Command line: measure this project against its rivals, and write the table.

python experiments/speed/run.py
python experiments/speed/run.py --only proxy,training
python experiments/speed/run.py --gpu
"""

import argparse
import gc
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # on a GPU server the package need not be installed

import torch  # noqa: E402

from experiments.speed import (  # noqa: E402
    augmentations_speed,
    growth,
    methods_speed,
    proxy_speed,
    training_speed,
    verification_speed,
)
from experiments.speed.measure import Effort, Section, machine  # noqa: E402
from experiments.speed.tables import text_of, update  # noqa: E402
from proxy_attention.memory import freeze_imports  # noqa: E402

FOLDER = Path(__file__).resolve().parent


def _study(effort: Effort) -> list[Section]:
    from experiments.speed import study_speed  # it brings ray and pandas, which a GPU server need not have

    return study_speed.study(effort)


PARTS: dict[str, Callable[[Effort], list[Section]]] = {
    "proxy": proxy_speed.proxy,
    "methods": methods_speed.methods,
    "augmentations": augmentations_speed.augmentations,
    "training": training_speed.training,
    "verification": verification_speed.verification,
    "study": _study,
    "growth": growth.growth,
}
"""Every part by the name that ``--only`` takes, in the order of the table."""

GPU_PARTS: dict[str, Callable[[Effort], list[Section]]] = {
    "proxy": lambda effort: proxy_speed.proxy(
        effort, sizes=proxy_speed.TINY_ON_GPU if effort.tiny else proxy_speed.ON_GPU
    ),
    "training": lambda effort: training_speed.training(
        effort, sizes=training_speed.TINY_ON_GPU if effort.tiny else training_speed.ON_GPU
    ),
}
"""What ``--gpu`` measures; it needs no ray, pandas or bnnr."""


def main(arguments: list[str] | None = None) -> int:
    """Measure what is asked for, part by part; each part is written when it is done."""
    asked = _parser().parse_args(arguments)
    parts = GPU_PARTS if asked.gpu else PARTS
    names = asked.only.split(",") if asked.only else list(parts)
    if unknown := [name for name in names if name not in parts]:
        print(f"--only must be of {', '.join(parts)}; got {', '.join(unknown)}", file=sys.stderr)
        return 2
    if asked.gpu and not (asked.tiny or torch.cuda.is_available()):
        print("--gpu must be run where CUDA is; there is none here (--tiny shows the same on the CPU)", file=sys.stderr)
        return 2
    device = torch.device("cuda" if asked.gpu and torch.cuda.is_available() else "cpu")
    effort = Effort(rounds=asked.rounds, threads=asked.threads, device=device, tiny=asked.tiny)
    warnings.filterwarnings("ignore", module="(?!proxy_attention|study)")  # of rivals; ours should be seen
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True  # as a trial has it; for all
    command = shlex.join(["python", "experiments/speed/run.py", *(sys.argv[1:] if arguments is None else arguments)])
    for name in names:
        described, started = machine(effort), time.perf_counter()
        sections = parts[name](effort)
        described["seconds"] = f"{time.perf_counter() - started:.0f}"
        print(*map(text_of, sections), sep="\n", flush=True)
        if sections and not (asked.tiny and asked.output == FOLDER):
            update(
                asked.output,
                name,
                sections,
                machine=described,
                order=list(parts),
                file="README-gpu.md" if asked.gpu else "README.md",
                title="Speed on a GPU" if asked.gpu else "Speed on two cores",
                command=command,
            )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure this project against its rivals, and write the table.")
    parser.add_argument("--only", metavar="PART[,PART]", help=f"some of {', '.join(PARTS)}; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contestant is timed (5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch on the CPU (2)")
    parser.add_argument("--gpu", action="store_true", help="measure on CUDA what needs no ray, and write README-gpu.md")
    parser.add_argument("--tiny", action="store_true", help="sizes that show that it runs, and nothing else")
    parser.add_argument(
        "--output", type=Path, default=FOLDER, metavar="DIR", help="where to write the table (beside this program)"
    )
    return parser


if __name__ == "__main__":
    freeze_imports()  # collecting garbage before each turn need not search what was imported
    try:
        status = main()
    finally:  # --help and a wrong option end in an exception
        gc.unfreeze()  # else triton's bindings complain at the end of the process
    sys.exit(status)
