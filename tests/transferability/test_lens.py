import functools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.transferability import (
    LAYER_SELECTION,
    MODEL_SELECTION,
    Lens,
    average,
    epsilon_ratio,
    gradient_x_input,
    norm,
    saliency,
    total,
)


class Score(nn.Module):
    """A small network of one activation, as one number per input."""

    def __init__(self, activation: Callable[[Tensor], Tensor]):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.activation, self.last = nn.Linear(6, 8), activation, nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return total(self.last(self.activation(self.first(x))))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


def test_a_linear_score_has_its_weights(x: Tensor):
    weights = torch.tensor([1.0, -2.0, 3.0, 0.0, 5.0, -6.0])
    torch.testing.assert_close(saliency(lambda x: x @ weights, x), weights.abs().expand(5, 6))
    torch.testing.assert_close(gradient_x_input(lambda x: x @ weights, x), x * weights)
    torch.testing.assert_close(epsilon_ratio(lambda x: x @ weights, x), x * weights)


@pytest.mark.parametrize(
    "activation",
    [
        F.relu,
        torch.tanh,
        Tensor.sigmoid,
        nn.GELU(),
        nn.ELU(0.5),
        nn.ReLU(inplace=True),
        torch.relu_,
        nn.Hardtanh(-0.3, 2),
    ],
)
def test_ratios_are_the_rule_written_out(x: Tensor, activation: Callable[[Tensor], Tensor]):
    score, epsilon = Score(activation), 1e-3
    before = score.first(x).detach()
    after = activation(before.clone())
    ratio = after / (before + epsilon * torch.where(before >= 0, 1.0, -1.0))
    expected = x * ((ratio * score.last.weight.sum(0)) @ score.first.weight)
    torch.testing.assert_close(epsilon_ratio(score, x, epsilon=epsilon), expected)
    torch.testing.assert_close(score(x), total(score.last(after)))  # and nothing is left changed


def test_on_relu_networks_ratios_are_gradient_times_input(x: Tensor):
    score = Score(nn.ReLU())
    cosine = F.cosine_similarity(epsilon_ratio(score, x), gradient_x_input(score, x))
    assert (cosine > 0.999).all()
    smooth = Score(nn.Sigmoid())
    assert (F.cosine_similarity(epsilon_ratio(smooth, x), gradient_x_input(smooth, x)) < 0.999).any()


def test_a_value_overwritten_in_place_is_overwritten_under_the_rule_too(x: Tensor):
    weights = torch.arange(6.0)

    def score(x: Tensor) -> Tensor:
        hidden = x * weights
        F.relu(hidden, inplace=True)  # the result is not used, the effect is
        return hidden.sum(1)

    torch.testing.assert_close(gradient_x_input(score, x), x * weights * (x * weights > 0))
    torch.testing.assert_close(
        epsilon_ratio(score, x, epsilon=1e-7), x * weights * (x * weights > 0), atol=1e-4, rtol=0
    )


def test_what_does_not_depend_on_the_input_is_zero(x: Tensor):
    assert (saliency(lambda x: torch.ones(len(x)), x) == 0).all()
    assert (gradient_x_input(lambda x: torch.ones(len(x), requires_grad=True), x) == 0).all()


def test_scalars():
    output = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]], requires_grad=True)
    assert total(output).tolist() == [7, 0]
    assert average(output).tolist() == [1.75, 0]
    assert norm(output).tolist() == [5, 0]
    norm(output).sum().backward()
    assert output.grad is not None
    assert output.grad.isfinite().all()


def test_the_identity_names_everything():
    lenses = [
        *(
            MODEL_SELECTION,
            LAYER_SELECTION,
            Lens(saliency),
            Lens(scalar=norm),
            Lens(absolute=True),
            Lens(centred=False),
        ),
        *(Lens(epsilon_ratio), Lens(functools.partial(epsilon_ratio, epsilon=0.1))),
    ]
    assert len({str(lens) for lens in lenses}) == len(lenses)
    assert str(lenses[-1]) == "epsilon_ratio(epsilon=0.1) of total, signed, centred"
    assert str(LAYER_SELECTION) == "gradient_x_input of average, absolute, not centred"
    with pytest.raises(UsageError, match="use def, not lambda"):
        str(Lens(lambda score, x: x))
