import pytest
import torch

from proxy_attention.seeds import derive_seed, stream, table


def test_a_derived_seed_is_the_same_in_every_process_and_release():
    assert derive_seed(7, "order", 3) == 4967576539904251390


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, "order", 1), (1, "order", 1)),
        ((0, "order", 1), (0, "order", 2)),
        ((0, "order", 1), (0, "augment", 1)),
        ((0, "order", 1), (0, "order")),
        ((0, "a", "bc"), (0, "ab", "c")),
        ((0, "order", 11), (0, "order", 1, 1)),
        ((0, "order", 1), (0, "order", "1")),
    ],
)
def test_another_seed_or_name_is_another_stream(one, other):
    assert derive_seed(*one) != derive_seed(*other)


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_a_derived_seed_fits_what_torch_takes(seed):
    assert 0 <= derive_seed(seed, "init") < 2**63
    assert stream(seed, "init").initial_seed() == derive_seed(seed, "init")


def test_drawing_more_from_one_stream_shifts_no_other():
    first = table(4, 2, 0, "order", 1)
    torch.rand(1000)
    table(1000, 50, 0, "augment", 1)

    assert torch.equal(table(4, 2, 0, "order", 1), first)


def test_a_table_leaves_the_global_stream_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    table(10, 3, 0, "order", 1)

    assert torch.equal(torch.rand(3), expected)


def test_a_table_is_uniform_in_zero_to_one():
    draws = table(10_000, 2, 0, "augment", 0)

    assert draws.shape == (10_000, 2)
    assert draws.dtype == torch.float32
    assert draws.min() >= 0
    assert draws.max() < 1
    assert abs(float(draws.mean()) - 0.5) < 0.01
