"""What a method is given, and what its row says of it."""

import pytest
import torch

from proxy_attention.saliency.interface import Method, SaliencyInput, at_least_float32


def test_the_explained_score_is_the_logits_weighted_by_their_coefficients():
    inputs = SaliencyInput(None, torch.zeros(2, 3, 4, 4), torch.tensor([[1.0, 0.0], [1.0, -1.0]]), [0, 0])

    assert inputs.score(torch.tensor([[3.0, 5.0], [3.0, 5.0]])).tolist() == [3.0, -2.0]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_becomes_float32_and_no_other(given, kept):
    assert at_least_float32(torch.ones(1, dtype=given)).dtype == kept


@pytest.mark.parametrize(
    ("row", "one_pass", "can_eigen_smooth"),
    [
        (Method("a formula", weights=lambda features, gradients: gradients), True, True),
        (Method("a component", weights=lambda features, gradients: gradients, eigen=True), True, False),
        (Method("weights", weigh=lambda inputs: (inputs.images, inputs.images)), False, True),
        (Method("maps", maps=lambda inputs: inputs.images[:, 0]), False, False),
    ],
    ids=lambda value: value.source.replace(" ", "-") if isinstance(value, Method) else "",
)
def test_a_formula_needs_one_pass_and_a_weighted_sum_can_be_smoothed(row, one_pass, can_eigen_smooth):
    assert row.one_pass is one_pass
    assert row.can_eigen_smooth is can_eigen_smooth


def test_a_row_alone_takes_one_pass_of_any_model_and_lacks_nothing():
    row = Method("a paper")

    assert (row.cost, row.passes(None, 32), row.lacks(None), row.seeded) == ("1", 1, None, False)
