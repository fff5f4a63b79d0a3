import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import UsageError
from mentorch.losses import kd, mlkd

TEMPERATURES = (2.0, 3.0, 4.0, 5.0, 6.0)


def logits(seed: int, *shape: int) -> torch.Tensor:
    return 3 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def slow_levels(z: torch.Tensor, v: torch.Tensor, t: float) -> tuple[list[float], list[float], list[float]]:
    """Instance, batch and class terms, number by number."""
    q, p = (z / t).softmax(1).tolist(), (v / t).softmax(1).tolist()
    n, k = len(q), len(q[0])
    instance = [t * t * sum(b * math.log(b / a) for a, b in zip(q[i], p[i], strict=True)) for i in range(n)]
    gram = [[sum(m[i][c] * m[j][c] for c in range(k)) for i in range(n) for j in range(n)] for m in (q, p)]
    batch = [sum((gram[0][i * n + j] - gram[1][i * n + j]) ** 2 for j in range(n)) for i in range(n)]
    cross = [[[sum(m[i][c] * m[i][d] for i in range(n)) for d in range(k)] for c in range(k)] for m in (q, p)]
    classes = [sum((cross[0][c][d] - cross[1][c][d]) ** 2 for d in range(k)) for c in range(k)]
    return instance, batch, classes


def lower_half(values: list[float]) -> list[float]:
    ordered = sorted(values)
    median = (ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2
    return [float(value <= median) for value in values]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_golden_values(golden, near):
    """Without masks: the golden batch twice, of which every mean mask is known."""
    terms = mlkd(golden.student.repeat(2, 1), golden.teacher.repeat(2, 1), temperatures=(4.0,))
    samples = mean(lower_half(golden.teacher.softmax(1).amax(1).tolist()))
    classes = mean(lower_half(golden.teacher.softmax(1).sum(0).tolist()))
    near(terms["class weak T=4"] / classes, 0.0454355)
    near(terms["batch weak T=4"].mean() / samples, 0.000854912)
    near(terms["instance weak T=4"].mean() / samples, 0.660570)
    near(terms["instance strong T=4"].mean(), 0.660570)


@given(seed=st.integers(0, 50), n=st.integers(2, 5), classes=st.integers(2, 5))
def test_released_form_term_by_term(seed: int, n: int, classes: int):
    z, v = logits(seed, 2 * n, classes), logits(seed + 100, 2 * n, classes)
    found = {name: term.mean().item() for name, term in mlkd(z, v).items()}
    expected = {}
    sure = v[:n].softmax(1)
    samples, kinds = mean(lower_half(sure.amax(1).tolist())), mean(lower_half(sure.sum(0).tolist()))
    for t in TEMPERATURES:
        instance, batch, classes_ = slow_levels(z[:n], v[:n], t)
        other = slice(n) if t in (2.0, 6.0) else slice(n, None)
        expected[f"instance weak T={t:g}"] = mean(instance) * samples
        expected[f"instance strong T={t:g}"] = mean(slow_levels(z[other], v[other], t)[0])
        expected[f"batch weak T={t:g}"] = mean(batch) * samples
        expected[f"class weak T={t:g}"] = mean(classes_) * kinds
    assert found == pytest.approx(expected, rel=1e-8, abs=1e-12)


@given(seed=st.integers(0, 50), n=st.integers(2, 5), classes=st.integers(2, 5))
def test_paper_form_term_by_term(seed: int, n: int, classes: int):
    z, v = logits(seed, 2 * n, classes), logits(seed + 100, 2 * n, classes)
    found = mlkd(z, v, variant="paper")
    assert len(found) == 2 * 5 * 3  # views, temperatures, levels: none is lost on the way
    sure = v[:n].softmax(1)
    samples, kinds = lower_half(sure.amax(1).tolist()), lower_half(sure.sum(0).tolist())
    for view, rows in (("weak", slice(n)), ("strong", slice(n, None))):
        for t in TEMPERATURES:
            instance, batch, classes_ = slow_levels(z[rows], v[rows], t)
            for level, values in (("instance", instance), ("batch", batch)):
                expected = [m * x for m, x in zip(samples, values, strict=True)]
                assert found[f"{level} {view} T={t:g}"].tolist() == pytest.approx(expected, rel=1e-8, abs=1e-12)
            expected = mean([m * x for m, x in zip(kinds, classes_, strict=True)])
            assert found[f"class {view} T={t:g}"].item() == pytest.approx(expected, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_zero_at_equality(variant):
    v = logits(0, 6, 4)
    assert all((term == 0).all() for term in mlkd(v, v, variant=variant).values())


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_permuting_the_pairs_leaves_every_term(variant):
    z, v = logits(0, 8, 4), logits(1, 8, 4)
    order = torch.tensor([2, 0, 3, 1])
    both = torch.cat([order, order + 4])
    found, plain = mlkd(z[both], v[both], variant=variant), mlkd(z, v, variant=variant)
    for name, term in plain.items():
        torch.testing.assert_close(found[name].mean(), term.mean())
        if term.ndim:
            torch.testing.assert_close(found[name], term[order])


def test_the_halves_share_the_median_only():
    z, v = logits(0, 8, 4), logits(1, 8, 4)
    low, high = (mlkd(z, v, variant="paper", keep=keep)["instance strong T=4"] for keep in ("low", "high"))
    assert ((low == 0) ^ (high == 0)).all()
    torch.testing.assert_close(low + high, kd(z[4:], v[4:]))


def test_views_are_told_apart():
    z, v = logits(0, 8, 4), logits(1, 8, 4)
    swapped = torch.cat([torch.arange(4, 8), torch.arange(4)])
    assert mlkd(z, v)["class weak T=3"] != mlkd(z[swapped], v[swapped])["class weak T=3"]
    torch.testing.assert_close(mlkd(z, v)["instance strong T=3"], kd(z[4:], v[4:], temperature=3.0))


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda z: mlkd(z, z[:, :2]), r"mlkd: student \[6, 3\] and teacher \[6, 2\] differ"),
        (lambda z: mlkd(z[:5], z[:5]), r"two views, \[2N, K\], weak ones first, got \[5, 3\]"),
        (lambda z: mlkd(z[:2], z[:2]), r"got \[2, 3\]"),
        (lambda z: mlkd(z, z, variant="papers"), "did you mean 'paper'|paper"),
        (lambda z: mlkd(z, z, keep="lower"), "low"),
        (lambda z: mlkd(z, z, temperatures=(2.0, 0.0)), "positive temperatures, each once"),
        (lambda z: mlkd(z, z, temperatures=()), "positive temperatures"),
        (lambda z: mlkd(z, z, temperatures=(2.0, 2.0)), "each once"),
    ],
)
def test_wrong_use_is_named(call, complaint: str):
    with pytest.raises(UsageError, match=complaint):
        call(logits(0, 6, 3))
