import numpy as np
import pytest
import torch

from mentorch._errors import UsageError
from mentorch.losses import svd
from mentorch.losses._svd import _right_vectors

SHAPES = (3, 4, 8, 8), (3, 6, 4, 4), (3, 5, 2, 2)


def maps(seed: int, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, dtype=torch.float64, generator=generator) for shape in shapes]


def slow(student: list[np.ndarray], teacher: list[np.ndarray], rank: int) -> float:
    """One sample's matrices, with numpy's decomposition and loops over the vectors."""
    total, before = 0.0, None
    for x, y in zip(student, teacher, strict=True):
        _, values, goals = np.linalg.svd(y, full_matrices=False)
        candidates = np.linalg.svd(x, full_matrices=False)[2][: rank + 3]
        scale = values[:rank] / np.linalg.norm(values[:rank])
        rows = []
        for goal, size in zip(goals[:rank], scale, strict=True):
            up = goal * (1 if goal.sum() >= 0 else -1)
            best = max(candidates, key=lambda v: abs(v @ up))
            rows.append((size * best * np.sign(best @ up), size * up))
        if before is not None:
            for (s, t), (s_, t_) in zip(rows, before, strict=True):
                r_s, r_t = (np.exp(-(np.subtract.outer(a, b) ** 2) / 8) for a, b in ((s, s_), (t, t_)))
                total += float(((r_s - r_t) ** 2).sum())
        before = rows
    return total


@pytest.mark.parametrize("vectors", ["channels", "width"])
@pytest.mark.parametrize("rank", [1, 2])
def test_equals_the_formula(vectors: str, rank: int):
    student, teacher = maps(0, *SHAPES), maps(1, *SHAPES)

    def matrices(features: list[torch.Tensor], b: int) -> list[np.ndarray]:
        if vectors == "channels":
            return [m[b].flatten(1).T.numpy() for m in features]
        return [m[b].flatten(0, 1).numpy() for m in features]

    expected = [slow(matrices(student, b), matrices(teacher, b), rank) for b in range(3)]
    value = svd(student, *teacher, rank=rank, vectors=vectors)
    torch.testing.assert_close(value, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize(("rows", "columns"), [(9, 5), (4, 7)])  # X spans everything, or leaves directions out
def test_gradients_of_singular_vectors_are_those_of_the_decomposition(rows: int, columns: int, count: int):
    (x,) = maps(0, (2, rows, columns))
    x.requires_grad_()
    exact = torch.linalg.svd(x, full_matrices=False)[2][:, :count].mT
    direction = torch.linspace(-1, 1, columns, dtype=torch.float64).view(1, columns, 1)
    ours = _right_vectors(x, count)
    torch.testing.assert_close(ours, exact * (ours * exact).sum(1, keepdim=True).sign())  # signs are free

    def slope(vectors: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(((vectors * direction).sum(1) ** 2).sum(), x)[0]  # blind to signs

    torch.testing.assert_close(slope(ours), slope(exact), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("vectors", ["channels", "width"])
def test_single_precision_is_enough(vectors: str):
    shapes = (4, 16, 16, 16), (4, 32, 8, 8), (4, 64, 4, 4)
    student, teacher = ([(m - 0.5).relu() for m in maps(seed, *shapes)] for seed in (0, 1))
    exact = svd(student, *teacher, vectors=vectors)
    found = svd([m.float() for m in student], *(m.float() for m in teacher), vectors=vectors)
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-6)


def test_zero_at_equality_and_scale_does_not_matter():
    student, teacher = maps(0, *SHAPES), maps(1, *SHAPES)
    torch.testing.assert_close(svd(student, *student), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(svd([100 * m for m in student], *teacher), svd(student, *teacher))
    torch.testing.assert_close(svd([-m for m in student], *teacher), svd(student, *teacher))


@pytest.mark.parametrize("vectors", ["channels", "width"])
def test_sparse_empty_and_constant_maps_have_finite_gradients(vectors: str):
    torch.manual_seed(0)
    student, teacher = ([torch.rand(4, 16, 8, 8) * (torch.rand(4, 16, 8, 8) > 0.9) for _ in range(2)] for _ in range(2))
    student[0][0], student[1][1], student[1][2], teacher[0][3] = 0, 0, 1, 0
    student = [m.requires_grad_() for m in student]
    value = svd(student, *teacher, vectors=vectors)
    value.sum().backward()
    assert value.isfinite().all()
    assert all(m.grad.isfinite().all() for m in student)
    assert (student[0].grad[0] == 0).all()
    assert student[1].grad[3].abs().sum() > 0


def test_learning_lowers_the_loss():
    student, teacher = maps(0, *SHAPES), maps(1, *SHAPES)
    student = [m.requires_grad_() for m in student]
    optimizer = torch.optim.Adam(student, lr=0.02)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append(svd(student, *teacher).mean())
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0]


def test_wrong_use_is_named():
    a, b = torch.rand(2, 3, 4, 4), torch.rand(2, 5, 4, 4)
    with pytest.raises(UsageError, match="two or more on each side, got 1 and 1"):
        svd(a, a)
    with pytest.raises(UsageError, match=r"5 and 3 channels do not compare: tap another layer, or vectors='width'"):
        svd((a, b), a, a)
    assert svd((a, b), a, a, vectors="width").shape == (2,)
    with pytest.raises(UsageError, match="fewer than 4 singular vectors"):
        svd((a, b), a, b, rank=4)
    with pytest.raises(UsageError, match="at least 1, not 0"):
        svd((a, b), a, b, rank=0)
    with pytest.raises(UsageError, match="did you mean 'width'"):
        svd((a, b), a, b, vectors="widths")
    with pytest.raises(UsageError, match="one batch"):
        svd((a[:1], b), a, b)
