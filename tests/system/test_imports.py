"""What importing the library needs and changes, seen in processes of its own."""

import json
import subprocess
import sys

import pytest

OUTSIDE = ("ray", "optuna", "pandas", "study", "experiments")


@pytest.fixture(scope="module")
def imported():
    """What importing the library changed, in a process that has neither ray nor optuna nor pandas, as a GPU server."""
    code = (
        "import sys\n"
        f"for name in {sorted(OUTSIDE)}: sys.modules[name] = None\n"
        "import json, logging, random, torch, timm, sklearn.metrics, torchvision\n"
        "torch.manual_seed(3); random.seed(3); threads = torch.get_num_threads()\n"
        "before = torch.random.get_rng_state().clone(), random.getstate(), list(logging.root.handlers)\n"
        "import proxy_attention.trial\n"
        "changed = {'torch seed': not torch.equal(torch.random.get_rng_state(), before[0])}\n"
        "changed['seed'] = random.getstate() != before[1]\n"
        "changed['log'] = list(logging.root.handlers) != before[2]\n"
        "changed['threads'] = torch.get_num_threads() != threads\n"
        "print(json.dumps([proxy_attention.trial.run_trial.__name__, changed]))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_trial_can_be_run_where_no_study_can(imported):
    assert imported[0] == "run_trial"


def test_importing_the_library_does_no_work(imported):
    assert imported[1] == {"torch seed": False, "seed": False, "log": False, "threads": False}


def test_the_library_can_be_imported_and_asked_what_fits_where_captum_is_missing():
    code = (
        "import sys; sys.modules['captum'] = None\n"
        "from proxy_attention.models.build import build\n"
        "from proxy_attention.saliency.registry import METHODS\n"
        "model = build('test_resnet', classes=2, image_size=32, weights='none', seed=0)\n"
        "print(METHODS['deeplift'].lacks(model), METHODS['lrp'].lacks(model))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout.strip() == "None None", done.stderr


def test_what_analyses_a_run_loads_nothing_that_draws_trains_or_runs():
    heavy = ["torch", "ray", "optuna", "matplotlib", "jinja2", "PIL"]
    code = f"import sys, study.analyse; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
