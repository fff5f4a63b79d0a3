import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mentorch._errors import UsageError
from mentorch.losses import VID


def maps(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plain(student: torch.Tensor, teacher: torch.Tensor, **options: float) -> VID:
    """The loss with the identity in the place of its convolutions."""
    loss = VID(**options).build(student, teacher)
    loss.mean = nn.Identity()
    return loss


def test_golden_values(golden, near):
    student, teacher = golden.student_map, golden.teacher_map
    near(plain(student, teacher)(student, teacher), [0.889719, 1.024719])
    near(plain(student, teacher)(teacher, teacher), [0.804719, 0.804719])


def test_is_the_likelihood_under_a_gaussian():
    student, teacher = maps(0, 3, 4, 5, 5), maps(1, 3, 6, 5, 5)
    loss = VID(variance=0.3).build(student, teacher)
    with torch.no_grad():
        loss.rho += torch.linspace(-1, 1, 6)
    spread = (loss.rho.exp().log1p() + 1e-5).sqrt().view(1, 6, 1, 1)
    convolutions = [layer.weight[:, :, 0, 0] for layer in loss.mean if isinstance(layer, nn.Conv2d)]
    mean = student.movedim(1, -1)
    for i, weight in enumerate(convolutions):
        mean = (mean if i == 0 else mean.relu()) @ weight.T
    log_likelihood = torch.distributions.Normal(mean.movedim(-1, 1), spread).log_prob(teacher)
    expected = -log_likelihood.flatten(1).mean(1) - math.log(2 * math.pi) / 2
    torch.testing.assert_close(loss(student, teacher), expected)


@pytest.mark.parametrize("variance", [2e-5, 0.1, 5.0, 1e4])
def test_starts_with_the_variance_asked_for(variance: float):
    x = maps(0, 2, 3, 2, 2)
    torch.testing.assert_close(
        plain(x, x, variance=variance)(x, x), torch.full((2,), math.log(variance) / 2).double(), rtol=1e-6, atol=1e-6
    )


def test_the_best_variance_is_the_mean_squared_error_of_the_channel():
    student, teacher = maps(0, 4, 3, 4, 4), maps(1, 4, 3, 4, 4)
    loss = plain(student, teacher)
    errors = (student - teacher).square().mean((0, 2, 3))
    with torch.no_grad():
        loss.rho.copy_((errors - 1e-5).expm1().log())
    (slope,) = torch.autograd.grad(loss(student, teacher).mean(), loss.rho)
    assert slope.abs().max() < 1e-12


def test_extreme_scales_of_the_variance_stay_finite():
    x = torch.randn(2, 3, 2, 2)
    for rho in (-200.0, 200.0):
        loss = plain(x, x)
        nn.init.constant_(loss.rho, rho)
        value = loss(x, x + 1)
        value.sum().backward()
        assert value.isfinite().all()
        assert loss.rho.grad.isfinite().all()


def test_the_larger_side_is_averaged_whichever_it_is():
    large, small = maps(0, 2, 3, 8, 4), maps(1, 2, 3, 4, 6)
    a, b = F.adaptive_avg_pool2d(large, (4, 4)), F.adaptive_avg_pool2d(small, (4, 4))
    torch.testing.assert_close(plain(large, small)(large, small), plain(a, b)(a, b))
    torch.testing.assert_close(plain(small, large)(small, large), plain(b, a)(b, a))


def test_the_variances_are_trained():
    student, teacher = torch.randn(4, 3, 4, 4), torch.randn(4, 5, 4, 4)
    loss = VID().build(student, teacher)
    before = loss.rho.detach().clone()
    loss(student, teacher).mean().backward()
    torch.optim.SGD(loss.parameters(), lr=1.0).step()
    assert (loss.rho != before).all()


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match=r"above 1e-05, not 0\.0"):
        VID(variance=0.0)
    with pytest.raises(UsageError, match=r"VID: needs maps .* got \[2, 3\] and \[2, 5\]"):
        VID().build(torch.zeros(2, 3), torch.zeros(2, 5))
