import json

import numpy as np
import pytest
from PIL import Image

from proxy_attention.errors import ConfigError
from study.analyse import main
from study.reporting.export import export_proxies
from study.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(finished_run):
    """A complete run of baselines, trials with proxies and controls. Read only."""
    return finished_run


def proxied(run):
    """The complete trials of a run that made proxies."""
    return [trial for trial in RunFolder(run).read_plan().trials if trial.config.has_proxies]


def test_every_proxy_becomes_a_file_and_a_row_of_the_manifest(run, tmp_path):
    trial = proxied(run)[0]

    count = export_proxies(run, [trial.trial_id], tmp_path / "out")

    told = json.loads((tmp_path / "out" / trial.trial_id / "manifest.json").read_text())
    report = json.loads((RunFolder(run).trial(trial.trial_id).report_file).read_text())
    files = sorted((tmp_path / "out").rglob("*.png"))
    assert count == len(files) == len(told["proxies"]) == report["proxy_images"] > 0
    assert [tmp_path / "out" / trial.trial_id / row["file"] for row in told["proxies"]] == files
    assert all(row["true"] != row["predicted"] for row in told["proxies"])
    size = trial.config.image_size
    assert {np.asarray(Image.open(file)).shape for file in files} == {(size, size, 3)}


def test_the_command_line_exports_what_a_query_picks(run, tmp_path, capsys):
    ids = [trial.trial_id for trial in proxied(run) if trial.config.threshold > 0.5 and trial.config.seed == 0]

    code = main([str(run), "--query", "threshold > 0.5 and seed == 0", "--export-proxies", str(tmp_path / "out")])

    assert code == 0
    assert len(ids) == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ids
    assert "proxies below" in capsys.readouterr().out


def test_a_folder_that_holds_something_is_left_alone(run, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")

    with pytest.raises(ConfigError, match=r"^the folder for proxies must be new or empty; got "):
        export_proxies(run, [proxied(run)[0].trial_id], tmp_path)


def test_trials_without_proxies_are_named_as_the_trouble(run, tmp_path):
    plain = [trial.trial_id for trial in RunFolder(run).read_plan().trials if not trial.config.has_proxies]

    with pytest.raises(ConfigError, match="must be a complete trial that made proxies"):
        export_proxies(run, plain, tmp_path / "out")
