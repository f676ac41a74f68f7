import pytest

from proxy_attention.config import TrialConfig
from study.planning.weights_files import WeightsDigests, with_absolute_weights


@pytest.mark.parametrize("name", ["none", "imagenet"])
def test_weights_that_are_a_name_stay_as_they_are_and_have_no_digest(name):
    config = with_absolute_weights(TrialConfig(weights=name))

    assert config.weights == name
    assert WeightsDigests().digest(config) is None


def test_a_weights_file_is_read_once(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr("study.planning.weights_files.weights_digest", lambda path: read.append(path) or "digest")
    config = TrialConfig(weights=str(tmp_path / "w.safetensors"))
    digests = WeightsDigests()

    assert [digests.digest(config), digests.digest(config)] == ["digest", "digest"]
    assert read == [config.weights]


def test_a_weights_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert with_absolute_weights(TrialConfig(weights="w.safetensors")).weights == str(tmp_path / "w.safetensors")
