import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch._errors import RunError, UsageError
from mentorch.losses import CommonFeatures, mmd

DOUBLE = torch.float64
RELEASED = (0.001, 0.01, 0.05, 0.1, 0.2, 1, 2)
X = torch.tensor([[1, 0], [0, 1], [1, 1]], dtype=DOUBLE)
Y = torch.tensor([[1, 0], [1, 0.5], [0.2, 1]], dtype=DOUBLE)


def features(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def by_hand(x: torch.Tensor, y: torch.Tensor, squares: list[float], *, diagonal: bool) -> float:
    """Pair by pair; kernels summed."""
    x, y = (torch.nn.functional.normalize(t).tolist() for t in (x, y))

    def mean(a: list[list[float]], b: list[list[float]], skip: bool) -> float:
        pairs = [(p, q) for i, p in enumerate(a) for j, q in enumerate(b) if not skip or i != j]
        return sum(math.exp(-(math.dist(p, q) ** 2) / (2 * s)) for p, q in pairs for s in squares) / len(pairs)

    return mean(x, x, not diagonal) + mean(y, y, not diagonal) - 2 * mean(x, y, False)


def test_golden_values(near):
    near(mmd(X, Y, bandwidths="released"), 2.009520)
    near(mmd(X, Y[[2, 0, 1]], bandwidths="released"), 2.009520)


@given(seed=st.integers(0, 99))
def test_released_equals_the_formula(seed: int):
    x, y = features(seed, 5, 3), features(seed + 100, 5, 3)
    expected = by_hand(x, y, [s**2 for s in RELEASED], diagonal=True)
    torch.testing.assert_close(mmd(x, y, bandwidths="released"), torch.tensor(max(expected, 0.0), dtype=DOUBLE))


@given(seed=st.integers(0, 99))
def test_ours_equals_the_formula(seed: int):
    x, y = features(seed, 5, 3), features(seed + 100, 5, 3)
    both = [torch.nn.functional.normalize(t) for t in (x, y)]
    distances = [torch.cdist(a, b).square() for a, b in ((both[0], both[0]), (both[1], both[1]), both)]
    mean = sum(float(d.sum()) for d in distances) / (20 + 20 + 25)
    expected = by_hand(x, y, [mean * s for s in (0.25, 0.5, 1, 2, 4)], diagonal=False) / 5
    torch.testing.assert_close(mmd(x, y), torch.tensor(expected, dtype=DOUBLE), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("bandwidths", ["data", "released"])
def test_sides_of_two_precisions_are_compared_in_the_wider(bandwidths: str):
    expected = mmd(X.double(), Y.double(), bandwidths=bandwidths)
    for x, y in ((X.float(), Y.double()), (X.double(), Y.float())):
        assert mmd(x, y, bandwidths=bandwidths).dtype == torch.float64
        torch.testing.assert_close(mmd(x, y, bandwidths=bandwidths), expected, rtol=1e-6, atol=1e-6)


def test_without_bias_halves_of_one_cloud_are_at_distance_0_on_average():
    values = torch.stack([mmd(features(s, 16, 4), features(s + 1000, 16, 4)) for s in range(300)])
    assert values.mean().abs() < 3 * values.std() / 300**0.5
    released = torch.stack(
        [mmd(features(s, 16, 4), features(s + 1000, 16, 4), bandwidths="released") for s in range(30)]
    )
    assert released.min() > 0.1


def test_the_narrow_published_kernels_add_a_constant_and_no_gradient():
    x, y = features(0, 8, 512).requires_grad_(), features(1, 8, 512)
    squares = [torch.cdist(a, b).square() for a in [torch.nn.functional.normalize(x)] for b in (a.detach(),)]
    rest = torch.ones(8, 8, dtype=torch.bool).fill_diagonal_(False)
    assert torch.exp(-squares[0][rest] / (2 * 0.2**2)).max() < 1e-5
    (gradient,) = torch.autograd.grad(mmd(x, y, bandwidths="released"), x)
    wide = lambda u: sum(torch.exp(-torch.cdist(*u).square() / (2 * s**2)).mean() for s in (1, 2))  # noqa: E731
    a, b = torch.nn.functional.normalize(x), torch.nn.functional.normalize(y)
    distinct = torch.pdist(a).square()
    value = sum(2 * torch.exp(-distinct / (2 * s**2)).sum() / 64 for s in (1, 2)) - 2 * wide((a, b))
    torch.testing.assert_close(gradient, torch.autograd.grad(value, x)[0], rtol=1e-3, atol=1e-8)


def test_a_toy_cloud_moves_onto_the_other():
    torch.manual_seed(0)
    x = torch.randn(32, 8).requires_grad_()
    y = torch.randn(32, 8) * 0.2 + torch.eye(8)[0]
    start = mmd(x, y).item()
    optimizer = torch.optim.Adam([x], lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        mmd(x, y).backward()
        optimizer.step()
    assert start > 0.3
    assert mmd(x, y).item() < 0.05


def test_parameters_are_those_of_the_repository():
    maps = [torch.rand(2, 512, 2, 2) for _ in range(3)]
    assert sum(p.numel() for p in CommonFeatures().build(*maps).parameters()) == 3_162_112


@pytest.mark.parametrize("variant", ["cfl_repo", "kamal"])
@pytest.mark.parametrize("teachers", [1, 2, 3])
@pytest.mark.parametrize("kind", ["maps", "vectors", "tokens", "mixed"])
def test_any_number_of_teachers_of_any_kind(variant: str, teachers: int, kind: str):
    shapes = {
        "maps": [(4, 8, 6, 4), (4, 12, 3, 4), (4, 5, 6, 2), (4, 7, 4, 4)],
        "vectors": [(4, 8), (4, 12), (4, 5), (4, 7)],
        "tokens": [(4, 9, 8), (4, 9, 12), (4, 5, 5), (4, 1, 7)],
        "mixed": [(4, 8, 6, 4), (4, 12), (4, 5, 5), (4, 7)],
    }[kind][: teachers + 1]
    torch.manual_seed(0)
    student, *others = (torch.randn(shape) for shape in shapes)
    loss = CommonFeatures(variant=variant, paired=1.0).build(student, *others)
    terms = loss(student, *others)
    assert {name: tuple(term.shape) for name, term in terms.items()} == {
        "mmd": (),
        "reconstruction": (4,),
        "paired": (4,),
    }
    assert len(loss.align) == teachers + 1
    assert len(loss.decode) == teachers
    common = loss.common(student, *others)
    assert len({x.shape for x in common}) == 1
    assert common[0].shape[1] == (128 if variant == "cfl_repo" else 2)


def test_terms_are_sums_over_teachers_in_the_shared_space():
    torch.manual_seed(0)
    student, *others = (torch.randn(5, c, 4, 4, dtype=DOUBLE) for c in (4, 6, 3))
    loss = CommonFeatures(reconstruction=2.0, paired=3.0, bandwidths="released").build(student, *others).eval()
    ours, *theirs = (loss.extract(align(x)) for align, x in zip(loss.align, (student, *others), strict=True))
    terms = loss(student, *others)
    squares = [s**2 for s in RELEASED]
    expected = sum(by_hand(ours.flatten(1).detach(), x.flatten(1).detach(), squares, diagonal=True) for x in theirs)
    torch.testing.assert_close(terms["mmd"].item(), expected)
    rebuilt = [decode(x) for decode, x in zip(loss.decode, theirs, strict=True)]
    errors = sum((a - b).square().mean((1, 2, 3)) for a, b in zip(rebuilt, others, strict=True))
    torch.testing.assert_close(terms["reconstruction"], 2 * errors)
    torch.testing.assert_close(terms["paired"], 3 * sum((ours - x).square().mean((1, 2, 3)) for x in theirs))
    assert "reconstruction" not in CommonFeatures(reconstruction=0.0).build(student, *others)(student, *others)


def test_a_teacher_given_as_student_is_found_in_the_space():
    torch.manual_seed(0)
    student = torch.rand(8, 4, 4, 4)
    loss = CommonFeatures().build(student, student)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3)
    values = []
    for _ in range(25):
        optimizer.zero_grad()
        terms = loss(student, student)
        values.append(terms["reconstruction"].mean().item())
        sum(term.mean() for term in terms.values()).backward()
        optimizer.step()
    assert values[-1] < 0.8 * values[0]


def test_wrong_use_is_named():
    x = torch.ones(3, 2)
    with pytest.raises(UsageError, match="needs 2 or more, got 1"):
        mmd(x[:1], x[:1])
    with pytest.raises(UsageError, match="both sides need one width, got 2 and 4"):
        mmd(x, torch.ones(3, 4))
    with pytest.raises(UsageError, match="did you mean 'released'"):
        mmd(x, x, bandwidths="release")
    with pytest.raises(UsageError, match="did you mean 'kamal'"):
        CommonFeatures(variant="kamel")
    with pytest.raises(UsageError, match="at least one teacher"):
        CommonFeatures().build(x)
    with pytest.raises(RunError, match="build"):
        CommonFeatures()(x, x)
    loss = CommonFeatures().build(x, x)
    with pytest.raises(UsageError, match="built for 1 teachers, not 2"):
        loss(x, x, x)
    with pytest.raises(UsageError, match=r"built for \[\[2\], \[2\]\], not \[\[2\], \[4\]\]"):
        loss.build(x, torch.ones(3, 4))
