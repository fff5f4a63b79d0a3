from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from mentorch import Edge, Graph, freeze
from mentorch._errors import RunError, UsageError
from mentorch.losses import Factor
from mentorch.losses._factor import compare

STUDENT, TEACHER = (4, 3, 6, 6), (4, 8, 6, 6)


def maps(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_golden_values(golden, near):
    near(compare(golden.student_map, golden.teacher_map, "released", 1.0), [0.205334, 0.154540])


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_both_variants_equal_their_formula(power: float):
    student, teacher = maps(0, 2, 3, 4, 4), maps(1, 2, 3, 4, 4)
    paper = [F.normalize(f.flatten(1)) for f in (student, teacher)]
    released = [F.normalize(f.square().mean(1).flatten(1)) for f in (student, teacher)]
    for variant, (s, t) in {"paper": paper, "released": released}.items():
        torch.testing.assert_close(compare(student, teacher, variant, power), ((s - t).abs() ** power).mean(1))


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_scale_of_a_factor_does_not_matter_and_equality_is_zero(variant: str):
    student, teacher = maps(0, 2, 3, 4, 4).float(), maps(1, 2, 3, 4, 4).float()
    expected = compare(student, teacher, variant, 1.0)
    for scale in (1e-15, 1e15):
        torch.testing.assert_close(compare(scale * student, teacher, variant, 1.0), expected)
    torch.testing.assert_close(compare(student, 7 * student, variant, 1.0), torch.zeros(2))
    empty = torch.zeros_like(student).requires_grad_()
    compare(empty, teacher, variant, 1.0).sum().backward()
    assert (empty.grad == 0).all()


def test_is_the_factors_difference_and_the_reconstruction_error():
    student, teacher = maps(0, *STUDENT), maps(1, *TEACHER)
    loss = Factor(reconstruction=0.25).build(student, teacher)
    terms = loss(student, teacher)
    factor = loss.paraphraser["encoder"](teacher)
    assert factor.shape == (4, 4, 6, 6)
    rebuilt = loss.paraphraser["decoder"](factor)
    torch.testing.assert_close(terms["factor"], compare(loss.translator(student), factor, "released", 1.0))
    torch.testing.assert_close(terms["reconstruction"], 0.25 * (rebuilt - teacher).square().mean((1, 2, 3)))


def test_each_term_trains_its_own_part():
    student, teacher = maps(0, *STUDENT), maps(1, *TEACHER)
    loss = Factor().build(student, teacher)
    for term, learner in (("factor", loss.translator), ("reconstruction", loss.paraphraser)):
        loss.zero_grad()
        loss(student, teacher)[term].mean().backward()
        moved = {name for name, p in loss.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        own = {name for name, p in loss.named_parameters() if any(p is q for q in learner.parameters())}
        assert moved == own


def test_pretraining_comes_first_and_is_then_left_alone():
    torch.manual_seed(0)
    student, teacher = torch.randn(STUDENT), torch.rand(TEACHER)
    loss = Factor(reconstruction=0.0)
    errors = loss.pretrain((teacher for _ in range(60)), optimizer=partial(SGD, lr=0.05, momentum=0.9))
    assert errors.shape == (60,)
    assert errors[-5:].mean() < 0.8 * errors[0]
    before = {name: p.clone() for name, p in loss.paraphraser.state_dict().items()}
    loss.build(student, teacher)
    value = loss(student, teacher)
    value.mean().backward()
    assert value.shape == (4,)
    assert all(not p.requires_grad and p.grad is None for p in loss.paraphraser.parameters())
    assert all(p.grad is not None for p in loss.translator.parameters())
    assert all(torch.equal(p, before[name]) for name, p in loss.paraphraser.state_dict().items())
    more = loss.pretrain([teacher], optimizer=partial(SGD, lr=0.05))  # it may go on, and is frozen again
    assert more < errors[0]
    assert not any(p.requires_grad for p in loss.paraphraser.parameters())


def test_without_pretraining_the_published_way_refuses():
    student, teacher = torch.randn(STUDENT), torch.randn(TEACHER)
    with pytest.raises(RunError, match="nothing trained it: call pretrain"):
        Factor(reconstruction=0.0).build(student, teacher)
    with pytest.raises(UsageError, match="at least one batch"):
        Factor().pretrain([], optimizer=partial(SGD, lr=0.1))


@pytest.mark.parametrize("pretrained", [False, True])
def test_trains_in_a_graph(pretrained: bool):
    torch.manual_seed(0)
    teacher, inputs = freeze(nn.Conv2d(3, 8, 3, padding=1)), torch.randn(4, 3, 8, 8)
    loss = Factor(reconstruction=0.0 if pretrained else 0.005)
    if pretrained:
        loss.pretrain([teacher(inputs)] * 3, optimizer=partial(SGD, lr=0.01))
    nodes = {"big": teacher, "small": nn.Conv2d(3, 4, 3, stride=2, padding=1)}
    graph = Graph(nodes, [Edge("big", "small", loss, 200.0, name="ft")], example=(inputs,))
    names = ["ft"] if pretrained else ["ft/factor", "ft/reconstruction"]
    assert list(graph(inputs)) == names
    learning = {id(p) for p in graph.parameters_of("small")}
    assert {id(p) in learning for p in loss.paraphraser.parameters()} == {not pretrained}


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match="did you mean 'paper'"):
        Factor(variant="papers")
    with pytest.raises(UsageError, match=r"power >= 1, ratio > 0 and reconstruction >= 0, not 0\.5, 0\.5 and 0\.005"):
        Factor(power=0.5)
    with pytest.raises(UsageError, match=r"Factor: needs maps .* got \[2, 3\] and \[2, 5\]"):
        Factor().build(torch.zeros(2, 3), torch.zeros(2, 5))
