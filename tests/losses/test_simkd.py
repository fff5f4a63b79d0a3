import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mentorch as mt
from mentorch._errors import RunError, UsageError
from mentorch.losses import SimKD


def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    student = mt.networks.build("resnet8", num_classes=5, in_channels=1)
    return student, mt.freeze(mt.networks.build("resnet8x4", num_classes=5, in_channels=1))


def train(student: nn.Module, teacher: nn.Module, steps: int = 3) -> SimKD:
    loss = SimKD(teacher_head=teacher.fc)
    images, labels = torch.rand(6, 1, 16, 16), torch.zeros(6, dtype=torch.long)
    graph = mt.Graph(
        {"teacher": teacher, "student": student},
        [mt.Edge("teacher.layer3", "student.layer3", loss)],
        example=(images, labels),
    )
    optimizer = torch.optim.SGD(graph.parameters_of("student"), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(graph(images, labels).values()).backward()
        optimizer.step()
    return loss


@pytest.mark.parametrize(("height", "width"), [(8, 4), (4, 4), (3, 6)])
def test_equals_the_formula(height: int, width: int):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, height, width), torch.randn(2, 6, 4, 4)
    loss = SimKD(teacher_head=nn.Linear(6, 5)).build(student, teacher).eval()
    size = (min(height, 4), min(width, 4))
    x = F.adaptive_avg_pool2d(student, size)
    for convolution, norm in zip(loss.projector[::3], loss.projector[1::3], strict=True):
        x = F.conv2d(x, convolution.weight, padding=convolution.kernel_size[0] // 2)
        x = (x / (1 + norm.eps) ** 0.5).clamp(min=0)
    expected = (x - F.adaptive_avg_pool2d(teacher, size)).square().sum((1, 2, 3)) / (6 * size[0] * size[1])
    torch.testing.assert_close(loss(student, teacher), expected)
    assert [tuple(c.weight.shape) for c in loss.projector[::3]] == [(3, 3, 1, 1), (3, 3, 3, 3), (6, 3, 1, 1)]
    assert not any(c.bias is not None for c in loss.projector[::3])


def test_a_perfect_match_gives_the_teachers_logits():
    teacher = torch.rand(2, 6, 4, 4)
    head = nn.Linear(6, 5)
    loss = SimKD(teacher_head=head).build(teacher, teacher)
    loss.projector = nn.Sequential(nn.Identity())
    assert loss(teacher, teacher).abs().max() == 0
    assert torch.equal(loss.predict(teacher), head(teacher.mean((2, 3))))


def test_the_exported_network_predicts_what_was_trained_and_stands_alone():
    student, teacher = pair()
    before = copy.deepcopy(teacher.state_dict())
    loss = train(student, teacher)
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert not any("head" in key for key in loss.state_dict())
    seen = []
    student.eval(), loss.eval()
    handle = student.layer3.register_forward_hook(lambda *args: seen.append(args[2]))
    images = torch.rand(4, 1, 16, 16)
    student(images)
    handle.remove()
    exported = loss.export(student, "layer3", "fc").eval()
    expected = loss.predict(seen[0]).detach()
    assert torch.equal(exported(images), expected)
    count = sum(p.numel() for m in (student, loss.projector, teacher.fc) for p in m.parameters())
    assert sum(p.numel() for p in exported.parameters()) == count - sum(p.numel() for p in student.fc.parameters())
    for parameter in (*student.parameters(), *loss.parameters()):
        nn.init.zeros_(parameter)
    assert torch.equal(exported(images), expected)
    assert torch.equal(copy.deepcopy(exported)(images), expected)


def test_the_students_own_classifier_learns_nothing():
    student, teacher = pair()
    before = {key: value.clone() for key, value in student.named_parameters()}
    train(student, teacher)
    changed = {key for key, value in student.named_parameters() if not torch.equal(value, before[key])}
    assert {"fc.weight", "fc.bias"}.isdisjoint(changed)
    assert "conv1.weight" in changed


def test_wrong_use_is_named():
    x, y, head = torch.rand(2, 3, 4, 4), torch.rand(2, 6, 4, 4), nn.Linear(6, 5)
    with pytest.raises(RunError, match="build"):
        SimKD(teacher_head=head)(x, y)
    with pytest.raises(RunError, match="train it first"):
        SimKD(teacher_head=head).export(nn.Sequential(), "a", "b")
    with pytest.raises(UsageError, match=r"needs two maps .*\[2, 3\]"):
        SimKD(teacher_head=head).build(x[..., 0, 0], y)
    loss = SimKD(teacher_head=head).build(x, y)
    with pytest.raises(UsageError, match="was built for"):
        loss.build(y, y)
    with pytest.raises(UsageError, match="no module 'layer9'"):
        loss.export(pair()[0], "layer9", "fc")
    with pytest.raises(UsageError, match="factor must be at least 1"):
        SimKD(teacher_head=head, factor=0)
