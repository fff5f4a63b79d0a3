import pytest
import torch
from torch import nn

from mentorch import networks
from mentorch.methods._amalgamate._relay import Relay

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def plain() -> nn.Sequential:
    layers = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(6, 12, 3, padding=1)
    return nn.Sequential(*layers, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(192, 5)).double().eval()


def relayed(student: nn.Module, view=None) -> tuple[Relay, list[str]]:
    """With all convolutions and linear layers but the last, and their paths."""
    paths = [p for p, m in student.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)][:-1]
    return Relay(student, [{"student": path} for path in paths], view), paths


def resnet() -> nn.Module:
    return networks.resnet8(5).double().eval()  # convolutions without bias


@pytest.mark.parametrize("make", [plain, resnet])
def test_folding_leaves_the_function_unchanged(make) -> None:
    student = make()
    relay, paths = relayed(student)
    names = set(student.state_dict())
    for parameter in relay.adapt.parameters():
        nn.init.normal_(parameter, std=0.5)
    handles = [
        student.get_submodule(path).register_forward_hook(lambda m, args, out, adapter=adapter: adapter(out))
        for path, adapter in zip(paths, relay.adapt, strict=True)
    ]
    expected = student(IMAGES)
    for handle in handles:
        handle.remove()
    assert not torch.allclose(student(IMAGES), expected)
    for _ in range(2):  # folded adapters change nothing any more
        relay.fold()
        torch.testing.assert_close(student(IMAGES), expected, rtol=1e-10, atol=1e-10)
    assert set(student.state_dict()) == names


@pytest.mark.parametrize("make", [plain, resnet])
def test_it_begins_as_the_student_whose_own_layers_are_the_codes(make) -> None:
    student, given = make(), 2 * IMAGES
    relay, paths = relayed(student, view=lambda x: 2 * x)
    own = {}
    handles = [
        student.get_submodule(path).register_forward_hook(lambda m, a, out, i=i: own.update({i: out.detach().clone()}))
        for i, path in enumerate(paths)
    ]
    output = student(given)
    for handle in handles:
        handle.remove()
    made = relay({"inputs": IMAGES, **{f"code{i}": code for i, code in own.items()}})
    torch.testing.assert_close(made["output"], output)
    assert set(made) == {"output", *(f"layer{i}" for i in own)}
    if make is resnet:  # nothing writes over what a convolution made
        for i, code in own.items():
            torch.testing.assert_close(made[f"layer{i}"], code)


def test_layers_do_not_influence_each_other() -> None:
    student = plain()
    relay, _ = relayed(student)
    codes = {"code0": torch.randn(4, 6, 8, 8).double(), "code1": torch.randn(4, 12, 4, 4).double()}
    seen = {"inputs": IMAGES, **codes}
    own = {"layer0": ["student.0"], "layer1": ["adapt.0", "student.3"], "output": ["adapt.1", "student.6"]}
    for name, parts in own.items():
        made = relay(seen)
        relay.zero_grad()
        made[name].square().sum().backward()
        reached = {key.rpartition(".")[0] for key, p in relay.named_parameters() if p.grad is not None}
        assert reached == set(parts)
    # and each alone is that layer on the code before it
    first = student[3](student[2](torch.relu(relay.adapt[0](seen["code0"]))))
    torch.testing.assert_close(made["layer1"], first)


def test_the_student_is_left_without_hooks_also_after_a_failure() -> None:
    student = plain()
    relay, _ = relayed(student)
    with pytest.raises(RuntimeError):
        relay({"inputs": IMAGES[:, :2], "code0": None, "code1": None})
    with pytest.raises(KeyError, match="code1"):
        relay({"inputs": IMAGES, "code0": torch.zeros(4, 6, 8, 8).double()})
    assert not any(module._forward_hooks for module in student.modules())
    assert student(IMAGES).shape == (4, 5)


def test_adapters_are_of_the_layer_s_precision_and_have_a_bias_where_it_has_one() -> None:
    relay, _ = relayed(resnet())
    assert {p.dtype for p in relay.adapt.parameters()} == {torch.float64}
    assert all(adapter.bias is None for adapter in relay.adapt)
    assert all(adapter.bias is not None for adapter in relayed(plain())[0].adapt)
