import pytest

from study.planning.device_memory import machine_memory_mb


@pytest.mark.parametrize("limit", ["max\n", f"{2**63 - 1}"])
def test_the_memory_is_that_of_the_machine_where_a_container_has_no_limit(tmp_path, limit):
    (tmp_path / "limit").write_text(limit)

    assert machine_memory_mb((tmp_path / "nowhere", tmp_path / "limit")) == machine_memory_mb(()) > 64


def test_the_memory_is_that_of_the_container_if_it_has_a_limit(tmp_path):
    (tmp_path / "limit").write_text(f"{64 * 2**20}\n")

    assert machine_memory_mb((tmp_path / "nowhere", tmp_path / "limit")) == 64
