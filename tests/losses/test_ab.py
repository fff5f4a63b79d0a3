import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mentorch import Edge, Graph, freeze
from mentorch._errors import UsageError
from mentorch.losses import Regressor, ab, about


def slow(s: float, t: float, margin: float) -> float:
    """The two cases of the released code for one neuron."""
    if t > 0:
        return (s - margin) ** 2 if s <= margin else 0.0
    return (s + margin) ** 2 if s > -margin else 0.0


def test_golden_values_and_released_scale(golden, near):
    value = ab(golden.student_map, golden.teacher_map)
    near(value, [12.2, 24.03])
    near(about(ab).weight * value.mean(), 0.054345)


@given(
    s=st.lists(st.floats(-4, 4), min_size=6, max_size=6),
    t=st.lists(st.floats(-4, 4), min_size=6, max_size=6),
    margin=st.floats(0, 3),
)
def test_equals_the_formula(s: list[float], t: list[float], margin: float):
    value = ab(*(torch.tensor(x, dtype=torch.float64).view(1, 2, 3, 1) for x in (s, t)), margin=margin)
    assert float(value) == pytest.approx(sum(slow(a, b, margin) for a, b in zip(s, t, strict=True)), abs=1e-12)


def test_only_the_sign_of_the_teacher_counts():
    student, teacher = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    assert torch.equal(ab(student, teacher), ab(student, teacher.sign()))
    assert torch.equal(ab(student, teacher), ab(student, teacher.relu()))


def test_zero_once_every_neuron_is_beyond_the_margin():
    teacher = torch.randn(3, 4, 2, 2)
    student = torch.where(teacher > 0, 1.5, -1.5).requires_grad_()
    value = ab(student, teacher)
    value.sum().backward()
    assert torch.equal(value, torch.zeros(3))
    assert (student.grad == 0).all()
    assert (ab(student, teacher, margin=2.0) > 0).all()


def test_trains_through_an_adapter_without_relu():
    torch.manual_seed(0)
    nodes = {"big": freeze(nn.Conv2d(3, 8, 3, stride=2, padding=1)), "small": nn.Conv2d(3, 4, 3, padding=1)}
    graph = Graph(nodes, [Edge("big", "small", ab, adapter=Regressor(relu=False))], example=(torch.randn(4, 3, 8, 8),))
    optimizer = torch.optim.SGD(graph.parameters_of("small"), lr=1e-3)
    inputs, losses = torch.randn(8, 3, 8, 8), []
    for _ in range(30):
        optimizer.zero_grad()
        losses.append(sum(graph(inputs).values()))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match=r"\[2, 3, 4, 4\] and teacher \[2, 5, 4, 4\].*Regressor\(relu=False\)"):
        ab(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))
    with pytest.raises(UsageError, match="at least 0, not -1"):
        ab(torch.zeros(2, 3), torch.zeros(2, 3), margin=-1)
