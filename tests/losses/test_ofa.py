import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mentorch import Edge, Graph, UsageError, freeze, networks
from mentorch.losses import OFA


def logits(seed: int, *shape: int) -> torch.Tensor:
    return 3 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def alone(student, teacher, labels, **options) -> torch.Tensor:
    """The loss of the output, without stages."""
    return OFA(**options).build(student, teacher, labels)(student, teacher, labels)["logits"]


def test_golden_values(golden, near):
    batch = golden.student, golden.teacher, golden.labels
    near(alone(*batch), [1.828118, 0.832396, 1.006318, 1.506166])
    near(alone(*batch).mean(), 1.293250)
    near(alone(*batch, exponent=1.5), [1.502799, 0.703751, 0.906252, 2.562331])
    near(alone(*batch, exponent=1.5).mean(), 1.418783)


@given(seed=st.integers(0, 99), exponent=st.floats(1, 3), temperature=st.floats(0.5, 5))
def test_equals_the_formula(seed: int, exponent: float, temperature: float):
    z, v, y = logits(seed, 4, 5), logits(seed + 100, 4, 5), torch.tensor([1, 0, 4, 2])
    expected = []
    for b in range(4):
        p, log_q = (v[b] / temperature).softmax(0).tolist(), (z[b] / temperature).log_softmax(0).tolist()
        weights = [(1 + x) ** exponent - 1 if c == y[b] else x**exponent for c, x in enumerate(p)]
        expected.append(-sum(w * x for w, x in zip(weights, log_q, strict=True)))
    found = alone(z, v, y, exponent=exponent, temperature=temperature)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-10)


def test_exponent_one_is_the_cross_entropy_with_the_teacher():
    z, v, y = logits(0, 4, 5), logits(1, 4, 5), torch.tensor([1, 0, 4, 2])
    torch.testing.assert_close(alone(z, v, y), F.cross_entropy(z, v.softmax(1), reduction="none"))


def test_a_sure_teacher_stresses_the_true_class():
    z, y = logits(0, 3, 4), torch.tensor([0, 1, 2])
    v = 1e3 * F.one_hot(y, 4).double()
    expected = (2**1.5 - 1) * F.cross_entropy(z, y, reduction="none")
    torch.testing.assert_close(alone(z, v, y, exponent=1.5), expected)


SHAPES = {
    "maps": [(4, 16, 16), (8, 8, 8), (12, 4, 4)],
    "tokens": [(17, 8), (17, 8), (17, 8)],
    "mixed": [(4, 7, 5), (9, 6), (11,)],
}


@pytest.mark.parametrize("kind", SHAPES)
def test_every_stage_speaks_through_its_own_head(kind: str):
    torch.manual_seed(0)
    stages = [torch.randn(6, *shape) for shape in SHAPES[kind]]
    z, v, y = torch.randn(6, 5), torch.randn(6, 5), torch.arange(6) % 5
    loss = OFA(exponent=1.5).build((*stages, z), v, y)
    found = loss((*stages, z), v, y)
    assert list(found) == ["logits", "stage 1", "stage 2", "stage 3"]
    for i, stage in enumerate(stages):
        voice = loss.heads[i](stage)
        assert voice.shape == (6, 5)
        torch.testing.assert_close(found[f"stage {i + 1}"], alone(voice, v, y, exponent=1.5))
    sum(term.mean() for term in found.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in loss.parameters())


def test_maps_end_at_the_width_of_the_deepest_stage():
    stages = [torch.randn(2, *shape) for shape in SHAPES["maps"]]
    loss = OFA().build((*stages, torch.randn(2, 5)), torch.randn(2, 5), torch.tensor([0, 1]))
    widths = [[m.out_channels for m in head if isinstance(m, torch.nn.Conv2d)] for head in loss.heads]
    assert widths == [[4, 8, 8, 12], [8, 12], [12]]
    assert [loss.heads[i][:-2](stages[i]).shape[2:] for i in range(3)] == [(4, 4)] * 3


def test_learns_across_architectures():
    torch.manual_seed(0)
    student, teacher = networks.cnn_tiny(5, 1), freeze(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5)))
    targets = (*(f"student.{stage}" for stage in student.taps.stages), "student")
    edge = Edge(("teacher", "labels"), targets, OFA(), name="ofa")
    batch = torch.rand(8, 1, 8, 8), torch.arange(8) % 5
    graph = Graph({"student": student, "teacher": teacher}, [edge], example=batch)
    optimizer = torch.optim.SGD(graph.parameters_of("student"), lr=0.1)
    values = []
    for _ in range(15):
        optimizer.zero_grad()
        found = graph(batch[0], labels=batch[1])
        sum(found.values()).backward()
        optimizer.step()
        values.append({name: value.item() for name, value in found.items()})
    assert set(values[0]) == {"ofa/logits", "ofa/stage 1", "ofa/stage 2"}
    assert all(values[-1][name] < values[0][name] for name in values[0])


def test_wrong_use_is_named():
    z, y = torch.randn(2, 3), torch.tensor([0, 1])
    with pytest.raises(UsageError, match=r"exponent must be at least 1, not 0.5"):
        OFA(exponent=0.5)
    with pytest.raises(UsageError, match="temperature must be positive, not 0"):
        OFA(temperature=0)
    with pytest.raises(UsageError, match=r"OFA: student \[2, 3\] and teacher \[2, 4\] differ"):
        OFA().build(z, torch.randn(2, 4), y)
    with pytest.raises(UsageError, match="needs integer labels"):
        OFA().build(z, z, y)(z, z, y.float())
    with pytest.raises(UsageError, match=r"not \[2, 3, 4, 4, 4\]: tap another layer"):
        OFA().build((torch.randn(2, 3, 4, 4, 4), z), z, y)
