import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import UsageError
from mentorch.losses import catalogue, pkt, pkt_supervised


def embeddings(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def neighbours(rows: list[list[float]], *, cosine: bool = True, diagonal: bool = True) -> list[list[float]]:
    """Conditional probabilities, pair by pair."""
    result = []
    for i, a in enumerate(rows):
        similarity = []
        for j, b in enumerate(rows):
            product = sum(x * y for x, y in zip(a, b, strict=True))
            if cosine:
                product = (product / math.sqrt(sum(x * x for x in a) * sum(x * x for x in b)) + 1) / 2
            similarity.append(product if diagonal or i != j else 0.0)
        result.append([s / sum(similarity) for s in similarity])
    return result


def divergences(p: list[list[float]], q: list[list[float]]) -> torch.Tensor:
    rows = [sum(a * math.log(a / b) for a, b in zip(*pair, strict=True) if a > 0) for pair in zip(p, q, strict=True)]
    return torch.tensor(rows, dtype=torch.float64)


def test_golden_values(golden, near):
    value = pkt(golden.student_embedding, golden.teacher_embedding)
    near(value, [0.0290791, 0.0290791, 0.0353333])
    near(value.mean(), 0.0311638)
    near(pkt(golden.student_embedding, golden.teacher_embedding, variant="released").mean(), 0.0103879)
    near(pkt_supervised(golden.student_embedding, torch.tensor([0, 0, 1])), [0.509353, 0.509353, 0.995880])


@given(seed=st.integers(0, 99), diagonal=st.booleans())
def test_equals_the_formula(seed: int, diagonal: bool):
    student, teacher = embeddings(seed, 5, 3), embeddings(seed + 100, 5, 4)
    q, p = (neighbours(x.tolist(), diagonal=diagonal) for x in (student, teacher))
    torch.testing.assert_close(
        pkt(student, teacher, include_diagonal=diagonal), divergences(p, q), rtol=1e-8, atol=1e-10
    )


@given(seed=st.integers(0, 99), diagonal=st.booleans())
def test_the_gaussian_kernel_equals_its_formula(seed: int, diagonal: bool):
    def gaussian(rows: torch.Tensor) -> list[list[float]]:
        squares = [[float((a - b).square().sum()) for b in rows] for a in rows]
        mean = sum(map(sum, squares)) / (len(rows) * (len(rows) - 1))
        kernel = [[math.exp(-x / mean) * (diagonal or i != j) for j, x in enumerate(r)] for i, r in enumerate(squares)]
        return [[k / sum(row) for k in row] for row in kernel]

    student, teacher = embeddings(seed, 5, 3), embeddings(seed + 100, 5, 4)
    value = pkt(student, teacher, kernel="rbf", include_diagonal=diagonal)
    torch.testing.assert_close(value, divergences(gaussian(teacher), gaussian(student)), rtol=1e-8, atol=1e-10)


def test_the_gaussian_kernel_sees_lengths_but_neither_origin_nor_unit_nor_rotation():
    student, teacher = embeddings(0, 6, 4), embeddings(1, 6, 5)
    rotation = torch.linalg.qr(embeddings(2, 4, 4)).Q
    expected = pkt(student, teacher, kernel="rbf")
    torch.testing.assert_close(pkt(7 * student @ rotation + 3, teacher, kernel="rbf"), expected)
    assert pkt(7 * student @ rotation + 3, student, kernel="rbf").abs().max() < 1e-12
    longer = student * torch.tensor([1.0, 2, 1, 1, 1, 1], dtype=torch.float64)[:, None]
    assert not torch.allclose(pkt(longer, teacher, kernel="rbf"), expected, rtol=1e-2)


def test_akt_equals_the_toolkit():
    student, teacher = embeddings(0, 5, 3).abs(), embeddings(1, 5, 4).abs()
    q, p = (neighbours(x.tolist(), cosine=False) for x in (student, teacher))
    torch.testing.assert_close(pkt(student, teacher, variant="akt"), divergences(p, q))
    assert not torch.allclose(pkt(2 * student, teacher, variant="akt"), pkt(student, teacher), rtol=0.1)


@pytest.mark.parametrize("batch", [32, 64, 128])
def test_released_is_one_batch_size_smaller(batch: int):
    student, teacher = embeddings(0, batch, 6), embeddings(1, batch, 8)
    ours, released = pkt(student, teacher), pkt(student, teacher, variant="released")
    torch.testing.assert_close(released * batch, ours, rtol=1e-3, atol=1e-6)
    q, p = (torch.tensor(neighbours(x.tolist()), dtype=torch.float64) for x in (student, teacher))
    written = (p * ((p + 1e-7) / (q + 1e-7)).log()).mean()  # as the authors' code reduces it
    torch.testing.assert_close(released.mean(), written)
    if batch == 64:
        torch.testing.assert_close(catalogue()["pkt"].weight * ours.mean(), 30000 * written, rtol=1e-4, atol=0)


@given(seed=st.integers(0, 99))
def test_rotations_and_the_scale_of_each_row_do_not_matter(seed: int):
    student, teacher = embeddings(seed, 6, 4), embeddings(seed + 100, 6, 5)
    rotation = torch.linalg.qr(embeddings(seed + 200, 4, 4)).Q
    scales = embeddings(seed + 300, 6, 1).exp()
    expected = pkt(student, teacher)
    torch.testing.assert_close(pkt(scales * student @ rotation, teacher), expected)
    torch.testing.assert_close(pkt(student, scales * teacher), expected)
    assert pkt(scales * student @ rotation, student).abs().max() < 1e-12


def test_orthonormal_features_in_closed_form():
    n = 4
    student, teacher = torch.ones(n, 2, dtype=torch.float64), torch.eye(n, dtype=torch.float64)
    # The teacher's rows are 2/(n+1) on the diagonal and 1/(n+1) elsewhere, the student's are uniform.
    expected = 2 / (n + 1) * math.log(2 * n / (n + 1)) + (n - 1) / (n + 1) * math.log(n / (n + 1))
    torch.testing.assert_close(pkt(student, teacher), torch.full((n,), expected, dtype=torch.float64))


@pytest.mark.parametrize("variant", ["paper", "released", "akt"])
@pytest.mark.parametrize("diagonal", [True, False])
def test_a_zero_row_gets_no_gradient(variant: str, diagonal: bool):
    student, teacher = embeddings(0, 5, 3).abs(), embeddings(1, 5, 4).abs()
    student[2] = 0
    student.requires_grad_()
    value = pkt(student, teacher, variant=variant, include_diagonal=diagonal)
    value.sum().backward()
    assert value.isfinite().all()
    assert student.grad.isfinite().all()
    if variant != "akt":  # products with a zero row do have a slope there
        assert (student.grad[2] == 0).all()


def test_opposite_vectors_are_finite():
    student = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    value = pkt(student, torch.eye(2))
    value.sum().backward()
    assert value.isfinite().all()
    assert student.grad.isfinite().all()


@given(seed=st.integers(0, 99), labels=st.lists(st.integers(-9, 999), min_size=6, max_size=6))
def test_supervised_equals_the_formula(seed: int, labels: list[int]):
    student = embeddings(seed, 6, 3)
    p = [[float(a == b) / labels.count(a) for b in labels] for a in labels]
    expected = divergences(p, neighbours(student.tolist()))
    torch.testing.assert_close(pkt_supervised(student, torch.tensor(labels)), expected, rtol=1e-8, atol=1e-10)


def test_supervised_prefers_separated_classes():
    labels = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    mixed = apart[[0, 2, 1, 3]]
    assert 0 < pkt_supervised(apart, labels).mean() < pkt_supervised(mixed, labels).mean()


def test_maps_are_flattened():
    student, teacher = embeddings(0, 4, 2, 3, 3), embeddings(1, 4, 5)
    assert torch.equal(pkt(student, teacher), pkt(student.flatten(1), teacher))


def test_wrong_use_is_named():
    x = torch.ones(3, 2)
    with pytest.raises(UsageError, match="pkt: compares the samples of a batch, so it needs 2 or more, got 1"):
        pkt(x[:1], x[:1])
    with pytest.raises(UsageError, match="got 3 and 2 samples"):
        pkt(x, x[:2])
    with pytest.raises(UsageError, match="did you mean 'akt'"):
        pkt(x, x, variant="aktt")
    with pytest.raises(UsageError, match="did you mean 'rbf'"):
        pkt(x, x, kernel="rbff")
    with pytest.raises(UsageError, match="variant='akt' has its own similarity"):
        pkt(x, x, variant="akt", kernel="rbf")
    with pytest.raises(UsageError, match=r"pkt_supervised: .* got 1"):
        pkt_supervised(x[:1], torch.tensor([0]))
    with pytest.raises(UsageError, match="needs integer labels"):
        pkt_supervised(x, torch.ones(3))
