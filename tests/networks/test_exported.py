import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

from mentorch._errors import UsageError
from mentorch.networks import build, cost, embedding, taps

PROGRAM = {
    "reads": [2, 4, 4],
    "classes": 3,
    "input": "x",
    "output": "logits",
    "tensors": {
        "w": ["conv.weight", [5, 2, 3, 3], "float32", True],
        "shift": ["shift", [5, 1, 1], "float32", False],
        "p_fc": ["fc.weight", [3, 10], "float32", True],
    },
    "calls": [
        {
            "at": "conv",
            "operator": "aten.conv2d.default",
            "arguments": [{"of": "x"}, {"of": "w"}, None, [1, 1], [1, 1]],
            "options": {},
            "result": "c",
        },
        {
            "at": "add",
            "operator": "aten.add.Tensor",
            "arguments": [{"of": "c"}, {"of": "shift"}],
            "options": {"alpha": 2},
            "result": "a",
        },
        {"at": "relu", "operator": "aten.relu_.default", "arguments": [{"of": "a"}], "options": {}, "result": "r"},
        {
            "at": "halves",
            "operator": "aten.split.Tensor",
            "arguments": [{"of": "r"}, 2, 2],
            "options": {},
            "result": ["top", "bottom"],
        },
        {
            "at": "both",
            "operator": "aten.stack.default",
            "arguments": [[{"of": "top"}, {"of": "bottom"}], 2],
            "options": {},
            "result": "s",
        },
        {"at": "pool", "operator": "aten.mean.dim", "arguments": [{"of": "s"}, [3, 4]], "options": {}, "result": "m"},
        {
            "at": "flat",
            "operator": "aten.flatten.using_ints",
            "arguments": [{"of": "m"}, 1],
            "options": {},
            "result": "f",
        },
        {
            "at": "fc",
            "operator": "aten.linear.default",
            "arguments": [{"of": "f"}, {"of": "p_fc"}],
            "options": {},
            "result": "logits",
        },
    ],
}


def made(change=lambda program: None, **arguments):
    program = copy.deepcopy(PROGRAM)
    change(program)
    network = build("exported", **({"num_classes": 3, "in_channels": 2} | arguments), options={"program": program})
    torch.manual_seed(0)
    for tensor in network.state_dict().values():
        tensor.normal_()
    return network


def by_hand(network, x):
    state = network.state_dict(keep_vars=True)
    maps = (F.conv2d(x, state["conv.weight"], padding=1) + 2 * state["shift"]).relu()
    halves = torch.stack([maps[:, :, :2], maps[:, :, 2:]], 2).mean((3, 4)).flatten(1)
    return halves, halves @ state["fc.weight"].T


def test_it_calculates_what_the_calls_say_with_gradients():
    network, x = made(), torch.randn(6, 2, 4, 4)
    found, (_, expected) = network(x), by_hand(network, x)
    torch.testing.assert_close(found, expected)
    names = [name for name, _ in network.named_parameters()]
    assert sorted(names) == ["conv.weight", "fc.weight"]
    for loss in (found, expected):
        network.zero_grad()
        loss.square().sum().backward()
        gradients = [parameter.grad.clone() for parameter in network.parameters()]
        if loss is found:
            first = gradients
    torch.testing.assert_close(gradients, first)


def test_every_call_is_a_module_and_the_embedding_enters_the_classifier():
    network, x = made(), torch.randn(4, 2, 4, 4)
    assert (embedding(network), taps(network).stem) == ("fc:in", "conv")
    seen = []
    network.fc.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    network(x)
    torch.testing.assert_close(seen[0], by_hand(network, x)[0])
    assert cost(network, x[:1]).macs == 16 * 5 * 2 * 9 + 3 * 10


def test_without_a_classifier_it_names_no_embedding():
    def cut(program):
        program["output"], program["classes"] = "f", 10
        del program["calls"][-1], program["tensors"]["p_fc"]

    with pytest.raises(UsageError, match="does not say where its embedding is"):
        embedding(made(cut, num_classes=10))


def test_after_a_decomposition_the_embedding_is_what_is_multiplied():
    def decompose(program):
        call = program["calls"][-1]
        program["tensors"]["bias"] = ["bias", [3], "float32", True]
        turned = call | {"at": "turn", "operator": "aten.permute.default", "result": "turned"}
        turned["arguments"] = [{"of": "p_fc"}, [1, 0]]
        program["calls"].insert(-1, turned)
        call |= {"operator": "aten.addmm.default", "arguments": [{"of": "bias"}, {"of": "f"}, {"of": "turned"}]}

    network, x = made(decompose), torch.randn(4, 2, 4, 4)
    assert embedding(network) == "flat"
    torch.testing.assert_close(network(x), by_hand(network, x)[1] + network.bias)
    assert cost(network, x[:1]).parameters == 5 * 2 * 9 + 3 * 10 + 3


def test_it_is_copied_pickled_and_moved_as_any_network():
    network, x = made(), torch.randn(2, 2, 4, 4)
    for again in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(again(x), network(x))
    assert copy.deepcopy(network).double()(x.double()).dtype == torch.float64


def change_call(number, **facts):
    return lambda program: program["calls"][number].update(facts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_call(0, operator="os.system"), "may not call 'os.system'"),
        (change_call(0, at="fc"), "two calls at 'fc'"),
        (change_call(0, at="forward"), "no exported program: KeyError"),
        (change_call(1, arguments=[{"of": "later"}, 1]), "'later' before it is there"),
        (change_call(1, arguments=[{"of": "c"}, {"python": "print()"}]), "KeyError 'python'"),
        (change_call(1, options={"dtype": {"dtype": "os"}}), "names 'os', which is no dtype"),
        (change_call(2, arguments=[{"of": "x"}]), "changes 'x', which is given to it"),
        (change_call(2, operator="aten.dropout.default", arguments=[{"of": "a"}, 0.5, True]), "in training mode"),
        (lambda program: program.pop("calls"), "KeyError 'calls'"),
        (lambda program: program["tensors"].update(w=["conv.weight", [-1], "float32", True]), "RuntimeError"),
        (lambda program: program["tensors"].update(w=["conv.weight", [1], "load", True]), "which is no dtype"),
        (lambda program: program.update(classes=4), "reads 2 channels and knows 4 classes, not 2 and 3"),
    ],
)
def test_what_is_no_program_is_an_error_when_it_is_built(change, message):
    with pytest.raises(UsageError, match=message):
        made(change)
