import pytest

from proxy_attention.config import TrialConfig
from study.planning import benchmark
from study.planning.benchmark import Speed, fastest_precision, fastest_threads, measure_speed, plain_values

CONFIG = TrialConfig(model="test_resnet", image_size=32, batch_size=8, precision="fp32", threads=1)


def test_the_speed_of_a_few_real_steps_is_measured():
    speed = measure_speed(CONFIG, 4, "cpu")

    assert 0 < speed.pass_seconds < speed.train_seconds < 1
    assert speed.weights_mb > 0
    assert speed.peak_mb == 0


@pytest.mark.parametrize(("half", "precision"), [(0.94, "bf16"), (0.96, "fp32")])
def test_half_precision_must_be_a_twentieth_faster(monkeypatch, half, precision):
    seconds = {"fp32": 1.0, "bf16": half}
    monkeypatch.setattr(benchmark, "_measure", lambda config, *_: Speed(seconds[config.precision], 0.1, 1.0))

    assert fastest_precision(CONFIG, "cpu") == precision


@pytest.mark.parametrize(("apart", "threads"), [(2.0, 1), (1.0, 1), (0.5, 4)])
def test_threads_are_those_with_which_trials_train_most_images(monkeypatch, apart, threads):
    monkeypatch.setattr(benchmark, "_images_per_second", lambda configs: apart if len(configs) == 4 else 1.0)

    assert fastest_threads(CONFIG, 4) == threads


def test_plain_values_stand_for_auto_alone_and_are_measured_once(monkeypatch):
    asked = []
    monkeypatch.setattr(benchmark, "fastest_precision", lambda config, device: asked.append(config) or "bf16")
    auto = TrialConfig(model="test_resnet", image_size=32, batch_size="auto", precision="auto", threads="auto")
    measured = {"batch_size": 16}

    found = [plain_values(auto, measured=measured, cpus=2, device="cpu") for _ in range(2)]

    assert found == [{"threads": 2, "batch_size": 16, "precision": "bf16"}] * 2
    assert len(asked) == 1
    assert plain_values(CONFIG, measured=measured, cpus=2, device="cpu") == {}
