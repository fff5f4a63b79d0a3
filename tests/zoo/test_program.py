"""Graphs as `torch.export` writes them, in the smallest form that has what is looked at."""

import pytest
import torch

from mentorch._errors import UsageError
from mentorch.zoo._program import program_of


def tensor(name):
    return {"as_tensor": {"name": name}}


def node(target, arguments, results, owner=""):
    stack = f"L__self__,,Net;L__self__{owner},{owner},Layer" if owner else "L__self__,,Net"
    return {
        "target": f"torch.ops.aten.{target}",
        "inputs": [{"name": f"a{i}", "arg": given, "kind": 1} for i, given in enumerate(arguments)],
        "outputs": results,
        "metadata": {"nn_module_stack": stack},
    }


def graph(*nodes, reads=(3, 8, 8), makes=5, inputs=(), outputs=None):
    sizes = {"x": [{"as_expr": {"expr_str": "batch"}}, *({"as_int": size} for size in reads)]}
    sizes["y"] = [{"as_expr": {"expr_str": "batch"}}, {"as_int": makes}]
    values = {name: {"sizes": each, "dtype": 7} for name, each in sizes.items()}  # of float32
    image = {"user_input": {"arg": tensor("x")}}
    weight = {"parameter": {"arg": {"name": "p_fc_weight"}, "parameter_name": "fc.weight"}}
    return {
        "schema_version": {"major": 8, "minor": 20},
        "graph_module": {
            "graph": {"nodes": list(nodes), "tensor_values": values},
            "signature": {
                "input_specs": [weight, *inputs, image],
                "output_specs": outputs or [{"user_output": {"arg": tensor("y")}}],
            },
        },
    }


TENSORS = {"fc.weight": torch.zeros(5, 3)}
LAST = node("linear.default", [tensor("m"), tensor("p_fc_weight")], [tensor("y")], "fc")


def calls(*nodes):
    return program_of(graph(*nodes), TENSORS)["calls"]


def test_arguments_of_every_kind():
    given = [
        {"as_none": True},
        {"as_int": 3},
        {"as_ints": [1, 2]},
        {"as_float": 0.5},
        {"as_float": "-inf"},
        {"as_floats": [1.0, "Infinity"]},
        {"as_bool": False},
        {"as_string": "none"},
        {"as_tensors": [{"name": "x"}, {"name": "x"}]},
        {"as_optional_tensors": [{"as_tensor": {"name": "x"}}, {"as_none": True}]},
        {"as_sym_int": {"as_name": "x"}},
        {"as_sym_ints": [{"as_int": 4}, {"as_name": "x"}]},
        {"as_scalar_type": 7},
        {"as_memory_format": 2},
        {"as_layout": 7},
        {"as_device": {"type": "cuda", "index": 1}},
    ]
    first, _ = calls(node("mean.dim", given, [tensor("m")]), LAST)
    x = {"of": "x"}
    assert first["arguments"] == [
        *(None, 3, [1, 2], 0.5, {"number": "-inf"}, [1.0, {"number": "inf"}], False, "none"),
        *([x, x], [x, None], x, [4, x]),
        *({"dtype": "float32"}, {"format": "channels_last"}, None, {"device": None}),
    ]


def test_several_results_and_keywords():
    halves = node("split.Tensor", [tensor("x")], [{"as_tensors": [{"name": "a"}, {"name": "b"}]}])
    halves["inputs"].append({"name": "dim", "arg": {"as_int": 1}, "kind": 2})
    best = node("max.dim", [tensor("b")], [tensor("m"), tensor("where")])
    first, second, _ = calls(halves, best, LAST)
    assert (first["result"], first["options"], first["arguments"]) == (["a", "b"], {"dim": 1}, [{"of": "x"}])
    assert second["result"] == ["m", "where"]


def test_what_the_output_does_not_need_falls_away():
    dead = node("relu.default", [tensor("x")], [tensor("nobody")])
    check = node("_assert_tensor_metadata.default", [tensor("nobody")], [])
    program = program_of(
        graph(
            dead,
            check,
            node("mean.dim", [tensor("x")], [tensor("m")]),
            LAST,
            inputs=[{"buffer": {"arg": {"name": "b_count"}, "buffer_name": "count", "persistent": True}}],
        ),
        TENSORS | {"count": torch.tensor(3)},
    )
    assert [call["result"] for call in program["calls"]] == ["m", "y"]
    assert program["tensors"] == {"p_fc_weight": ["fc.weight", [5, 3], "float32", True]}
    assert (program["reads"], program["classes"], program["input"], program["output"]) == ([3, 8, 8], 5, "x", "y")


def test_a_change_in_place_is_kept():
    inside = node("relu_.default", [tensor("a")], [tensor("nobody")])
    found = calls(
        node("neg.default", [tensor("x")], [tensor("a")]), inside, node("mean.dim", [tensor("a")], [tensor("m")]), LAST
    )
    assert [call["operator"] for call in found][1] == "aten.relu_.default"


def test_a_module_that_called_once_lends_its_address_and_others_have_a_place_below_theirs():
    found = calls(
        node("conv2d.default", [tensor("x")], [tensor("a")], "layer1.conv"),
        node("add.Tensor", [tensor("a")], [tensor("b")], "layer1"),  # layer1 called once, but has a module below
        node("relu.default", [tensor("b")], [tensor("c")], "act"),
        node("relu.default", [tensor("c")], [tensor("d")], "act"),  # one module, called twice
        node("neg.default", [tensor("d")], [tensor("fc")]),  # a result that is called as a module is
        node("mean.dim", [tensor("fc")], [tensor("m")], "_empty_nn_module_stack_from_metadata_hook"),
        LAST,
    )
    assert [call["at"] for call in found] == ["layer1.conv", "layer1.b", "act.c", "act.d", "fc_", "m", "fc"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (graph(LAST) | {"schema_version": {"major": 9}}, "its schema is 9, and 8 is read here"),
        (graph(LAST, reads=(8,)), "not .N, classes. of images"),
        (graph(LAST, makes=None), "not .N, classes. of images"),
        (graph(LAST, inputs=[{"user_input": {"arg": tensor("z")}}]), "it has 2 inputs"),
        (graph(LAST, inputs=[{"custom_obj": {"arg": {"name": "o"}}}]), "an input that is no tensor .custom_obj"),
        (graph(LAST, outputs=[{"buffer_mutation": {}}]), "changes its buffers"),
        (graph(LAST, outputs=[{"user_output": {"arg": tensor("y")}}] * 2), "it has 2 outputs"),
        (graph(node("cat.default", [{"as_graph": {}}], [tensor("m")]), LAST), "cannot hold .as_graph"),
        (graph(node("to.dtype", [{"as_scalar_type": 10}], [tensor("m")]), LAST), "cannot hold .as_scalar_type"),
    ],
)
def test_what_a_program_cannot_be_is_said(content, message):
    with pytest.raises(UsageError, match=message):
        program_of(content, TENSORS)
