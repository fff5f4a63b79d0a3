import functools

import pytest
import torch
from torch import Tensor, nn

from mentorch import UsageError, fit, freeze
from mentorch.data import Normalize
from mentorch.methods import reuse
from mentorch.networks import Taps, build, hash_tensors, taps


def networks() -> tuple[nn.Module, nn.Module, Tensor]:
    torch.manual_seed(0)
    student, teacher = (build(name, num_classes=5, in_channels=3) for name in ("resnet8", "resnet14"))
    with torch.no_grad():
        for _ in range(3):
            teacher(torch.rand(16, 3, 16, 16))
    return student, freeze(teacher), torch.rand(8, 3, 16, 16)


def test_the_loss_is_that_of_the_maps_and_the_logits_are_the_teacher_s_classifier_s():
    student, teacher, images = networks()
    view = Normalize((0.5,) * 3, (0.2,) * 3)
    graph = reuse(student, teacher, example=(images,), views={"student": view})
    seen: dict[str, Tensor] = {}
    node = graph.nodes["student"].eval()
    node.body.layer3.register_forward_hook(lambda *a: seen.update(own=a[2]))
    teacher.layer3.register_forward_hook(lambda *a: seen.update(theirs=a[2]))
    (value,) = graph(images).values()
    projected = node.loss.projector(seen["own"])
    torch.testing.assert_close(value, (projected - seen["theirs"]).square().mean())
    torch.testing.assert_close(graph.predict("student", images), teacher.fc(projected.mean((2, 3))))


@pytest.mark.parametrize(("student", "teacher"), [("cnn_tiny", "resnet8"), ("resnet8", "vgg8"), ("vgg8", "resnet8")])
def test_networks_may_have_other_numbers_of_stages(student: str, teacher: str):
    small, large = (build(name, num_classes=5, in_channels=3) for name in (student, teacher))
    images = torch.rand(4, 3, 32, 32)
    graph = reuse(small, large, example=(images,))
    assert graph.edges[0].sources == (f"teacher.{taps(large).stages[-1]}",)
    assert graph(images)[graph.edges[0].name].isfinite()
    assert graph.predict("student", images).shape == (4, 5)


def test_body_and_projector_learn_and_nothing_else():
    student, teacher, images = networks()
    before, classifier = hash_tensors(student.state_dict()), teacher.fc.weight.clone()
    graph = reuse(student, teacher, example=(images,))
    node = graph.nodes["student"]
    start = {name: value.clone() for name, value in node.named_parameters()}
    data = [(images, torch.zeros(8).long())]
    optimizer = functools.partial(torch.optim.Adam, lr=0.01, weight_decay=1e-3)
    history = fit(graph, data, optimizer=optimizer, epochs=20, device="cpu", progress=False)
    losses = history.column("train.loss")
    assert losses[-1] < losses[0] / 2
    same = [name for name, value in node.named_parameters() if torch.equal(value, start[name])]
    assert {name.partition(".")[0] for name in same} == {"head"}
    assert torch.equal(node.head.weight, classifier)
    assert torch.equal(teacher.fc.weight, classifier)
    assert hash_tensors(student.state_dict()) == before  # it was copied


def test_the_network_says_where_its_features_are():
    student, teacher, images = networks()
    node = reuse(student, teacher, example=(images,)).nodes["student"]
    assert taps(node) == Taps("body.relu", ("body.layer1", "body.layer2", "body.layer3"), "head:in")
    modules = dict(node.named_modules())
    assert {taps(node).stem, *taps(node).stages} <= modules.keys()
    assert isinstance(node.body.fc, nn.Identity)


def test_networks_are_left_as_they_were():
    student, teacher, images = networks()
    student.layer1.eval()
    before = hash_tensors(student.state_dict())
    reuse(student, teacher, example=(images,))
    assert hash_tensors(student.state_dict()) == before
    assert student.training
    assert not student.layer1.training
    assert not any(m._forward_hooks for m in student.modules())


def test_a_teacher_whose_classifier_reads_something_else_is_refused():
    student, _, images = networks()
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    with pytest.raises(UsageError, match="not those of its classifier on the mean of its last map"):
        reuse(student, layers, example=(images,), places={"teacher": Taps("0", ("0",), "3:in")})
