import pytest
import torch

from mentorch._errors import RunError, UsageError
from mentorch.losses import Layerwise


def test_terms_equal_their_formulas():
    torch.manual_seed(0)
    student, birds, dogs = torch.randn(3, 4, 2, 2), torch.randn(3, 5, 2, 2), torch.randn(3, 3, 2, 2)
    loss = Layerwise(reconstruction=2.0).build(student, birds, dogs)
    e, d, a = (layer.weight[:, :, 0, 0] for layer in (loss.encode, loss.decode, loss.adapt))
    for b in range(3):
        both = torch.cat([birds[b], dogs[b]]).flatten(1)  # [8, positions]
        code = e @ both + loss.encode.bias[:, None]
        rebuilt = d @ code + loss.decode.bias[:, None]
        adapted = a @ student[b].flatten(1) + loss.adapt.bias[:, None]
        terms = loss(student, birds, dogs)
        torch.testing.assert_close(terms["code"][b], (adapted - code).square().mean())
        errors = (rebuilt - both).square()
        torch.testing.assert_close(terms["reconstruction"][b], 2 * (errors[:5].mean() + errors[5:].mean()))


def test_the_code_does_not_follow_the_student():
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4, 2, 2).requires_grad_(), torch.randn(3, 5, 2, 2)
    loss = Layerwise().build(student, teacher)
    loss(student, teacher)["code"].sum().backward()
    assert loss.encode.weight.grad is None
    assert loss.adapt.weight.grad.abs().sum() > 0
    assert student.grad.abs().sum() > 0


def test_the_optimum_is_that_of_principal_components():
    torch.manual_seed(0)
    teacher = torch.randn(200, 5) @ torch.randn(5, 5)
    student = torch.randn(200, 2)  # a code of two numbers for five
    loss = Layerwise().build(student, teacher)
    optimizer = torch.optim.LBFGS(
        [*loss.encode.parameters(), *loss.decode.parameters()], max_iter=300, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(student, teacher)["reconstruction"].mean()
        value.backward()
        return value

    optimizer.step(closure)
    discarded = torch.linalg.eigvalsh(teacher.T.cov(correction=0))[:3].sum() / 5
    torch.testing.assert_close(closure().detach(), discarded, rtol=1e-2, atol=0)


@pytest.mark.parametrize("shapes", [[(3, 4), (3, 5)], [(3, 7, 4), (3, 5)], [(3, 4, 6, 2), (3, 5, 2, 4), (3, 3, 8, 8)]])
def test_vectors_tokens_and_maps(shapes: list[tuple[int, ...]]):
    features = [torch.randn(shape) for shape in shapes]
    assert all(term.shape == (3,) for term in Layerwise().build(*features)(*features).values())


def test_wrong_use_is_named():
    x = torch.ones(3, 2)
    with pytest.raises(RunError, match="build"):
        Layerwise()(x, x)
    with pytest.raises(UsageError, match="at least one teacher"):
        Layerwise().build(x)
    with pytest.raises(UsageError, match=r"built for widths \[2, 2\], not \[2, 4\]"):
        Layerwise().build(x, x).build(x, torch.ones(3, 4))
