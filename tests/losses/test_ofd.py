import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import truncnorm
from torch import nn

from mentorch import Edge, Graph, freeze
from mentorch._errors import UsageError
from mentorch.losses import OFD
from mentorch.losses._ofd import compare, expected_margins


def norm(weight: list[float], bias: list[float]) -> nn.BatchNorm2d:
    module = nn.BatchNorm2d(len(weight)).double()
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weight))
        module.bias.copy_(torch.tensor(bias))
    return module


def slow(s: float, t: float, m: float) -> float:
    """The three cases of the released code for one neuron."""
    if t > 0:
        return (s - t) ** 2
    if t > m:
        return (s - t) ** 2 if s > t else 0.0
    return (s - m) ** 2 if s > m else 0.0


def test_golden_values(golden, near):
    margins = torch.tensor([-0.5, -0.25], dtype=torch.float64)
    near(compare(golden.student_map, golden.teacher_map, margins), [3.1625, 10.025])


@given(
    s=st.lists(st.floats(-4, 4), min_size=6, max_size=6),
    t=st.lists(st.floats(-4, 4), min_size=6, max_size=6),
    m=st.lists(st.floats(-3, 0), min_size=2, max_size=2),
)
def test_equals_the_formula(s: list[float], t: list[float], m: list[float]):
    student, teacher = (torch.tensor(x, dtype=torch.float64).view(1, 2, 3, 1) for x in (s, t))
    value = compare(student, teacher, torch.tensor(m, dtype=torch.float64))
    expected = sum(slow(a, b, m[i // 3]) for i, (a, b) in enumerate(zip(s, t, strict=True)))
    assert float(value) == pytest.approx(expected, abs=1e-12)


def test_squared_error_above_zero_and_nothing_below_the_margin():
    student, margins = torch.randn(2, 3, 4, 4), torch.full((3,), -0.5)
    teacher = torch.rand(2, 3, 4, 4) + 0.1
    torch.testing.assert_close(compare(student, teacher, margins), (student - teacher).square().sum((1, 2, 3)))
    below = (-0.5 - student.abs()).requires_grad_()
    value = compare(below, -teacher - 0.5, margins)
    value.sum().backward()
    assert torch.equal(value, torch.zeros(2))
    assert (below.grad == 0).all()


@given(
    weight=st.floats(0.05, 3) | st.floats(-3, -0.05),
    bias=st.floats(-3, 3),
)
def test_margins_are_the_mean_of_the_negative_part_of_a_normal(weight: float, bias: float):
    spread = abs(weight)
    margin = float(expected_margins(norm([weight], [bias])))
    if bias / spread < 3.09:  # 1/1000 is negative
        expected = truncnorm.mean(-float("inf"), -bias / spread, loc=bias, scale=spread)
        assert margin == pytest.approx(expected, rel=1e-6, abs=1e-9)
    elif bias / spread > 3.0903:
        assert margin == pytest.approx(-3 * spread)
    assert margin < 0


def test_a_dead_batch_norm_still_has_margins():
    assert expected_margins(norm([0.0, 0.0], [-2.0, 2.0])).tolist() == [-2.0, 0.0]


def test_measured_margins_are_those_of_normal_outputs():
    torch.manual_seed(0)
    module = norm([1.0, 0.5, 2.0], [0.3, -0.4, 1.0])
    teacher = module(torch.randn(64, 3, 32, 32).double()).detach()
    loss = OFD().build(teacher, teacher)
    torch.testing.assert_close(loss.margins, expected_margins(module), rtol=0.02, atol=0)
    assert OFD().build(teacher, teacher.relu()).margins.tolist() == [0.0, 0.0, 0.0]


def test_margins_may_be_given_and_are_kept_with_the_state():
    student, teacher = torch.randn(2, 4, 8, 8), torch.randn(2, 3, 4, 4)
    given_, named = torch.tensor([-1.0, -2.0, -3.0]), nn.BatchNorm2d(3)
    loss = OFD(margins=given_).build(student, teacher)
    assert torch.equal(loss.state_dict()["margins"], given_)
    other = OFD().build(student, teacher)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.eval()(student, teacher), loss.eval()(student, teacher))
    assert torch.equal(OFD(margins=named).margins, expected_margins(named))
    assert not any("margins" in name for name, _ in loss.named_parameters())


def test_trains_against_the_batch_statistics_of_the_teacher_without_changing_them():
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
    loss = OFD(margins=teacher[1])
    nodes = {"big": freeze(teacher, statistics="batch"), "small": nn.Conv2d(3, 4, 3, padding=1)}
    before = [t.clone() for t in teacher.state_dict().values()]
    inputs = torch.randn(8, 3, 6, 6)
    graph = Graph(nodes, [Edge("big.2:in", "small", loss)], example=(inputs,))
    optimizer, values = torch.optim.SGD(graph.parameters_of("small"), lr=2e-4), []
    for _ in range(30):
        optimizer.zero_grad()
        values.append(sum(graph(inputs).values()))
        values[-1].backward()
        optimizer.step()
    assert values[-1] < 0.9 * values[0]
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.state_dict().values(), strict=True))


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match=r"has 3 channels, but margins has shape \[5\]"):
        OFD(margins=torch.zeros(5)).build(torch.zeros(2, 4, 8, 8), torch.zeros(2, 3, 8, 8))
    with pytest.raises(UsageError, match=r"OFD: needs maps .* got \[2, 3\] and \[2, 5\]"):
        OFD().build(torch.zeros(2, 3), torch.zeros(2, 5))
