import pytest
import torch

from mentorch.transferability import _spectrum
from mentorch.transferability._spectrum import spectrum

NOISE = 1e-12


def random(size, seed=0):
    return torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gram(kind):
    """Symmetric matrices that decompositions find easy and hard."""
    x = random(200)
    if kind == "full":
        return x @ x.mT
    if kind == "low rank":
        return x[:, :40] @ x[:, :40].mT
    if kind == "decaying":
        return (x * torch.logspace(0, -12, 200, dtype=torch.float64)) @ x.mT
    if kind == "clusters":
        values = torch.tensor([1.0, 2.0, 2.0, 5.0], dtype=torch.float64).repeat(50)
        turned = torch.linalg.qr(x).Q
        return (turned * values) @ turned.mT
    return torch.eye(200, dtype=torch.float64) if kind == "identity" else torch.diag(torch.arange(200.0).double())


@pytest.mark.parametrize("kind", ["full", "low rank", "decaying", "clusters", "identity", "diagonal"])
def test_values_and_vectors_rebuild_the_matrix(kind):
    matrix = gram(kind)
    found = spectrum(matrix, NOISE)
    expected = torch.linalg.eigvalsh(matrix).flip(0)
    count = len(found.values)
    assert count == int((expected > expected[0] * NOISE).sum()), "as many as stand out"
    torch.testing.assert_close(found.values, expected[:count], rtol=1e-10, atol=float(expected[0]) * 1e-14)
    size = float(matrix.abs().max())
    torch.testing.assert_close((found.vectors * found.values) @ found.vectors.mT, matrix, rtol=0, atol=1e-11 * size)
    eye = torch.eye(count, dtype=torch.float64)
    torch.testing.assert_close(found.vectors.mT @ found.vectors, eye, rtol=0, atol=1e-10)
    columns = random(200, 1)[:, :7]
    torch.testing.assert_close(found.rotate(columns), found.vectors.mT @ columns, rtol=0, atol=1e-10)


def test_coordinates_do_not_need_the_vectors():
    found = spectrum(gram("full"), NOISE)
    found.rotate(random(200, 1)[:, :3])
    assert "vectors" not in vars(found)
    assert found.vectors is found.vectors


def test_what_lapack_gives_up_is_decomposed_in_full(monkeypatch):
    matrix = gram("full")
    first = spectrum(matrix, NOISE)
    monkeypatch.setattr(_spectrum, "_tridiagonal", lambda *_: None)
    again = spectrum(matrix, NOISE)
    torch.testing.assert_close(first.values, again.values)
    signs = (first.vectors * again.vectors).sum(0).sign()
    torch.testing.assert_close(first.vectors, again.vectors * signs, rtol=0, atol=1e-8)


def test_the_matrix_is_left_as_it_was():
    matrix = gram("full")
    before = matrix.clone()
    found = spectrum(matrix, NOISE)
    columns = random(200, 1)
    kept = columns.clone()
    found.rotate(columns)
    found.form()
    assert torch.equal(matrix, before)
    assert torch.equal(columns, kept)
