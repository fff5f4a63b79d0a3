"""From the graph in a file of `torch.export` to a program of `mentorch.networks.build("exported")`."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from mentorch._errors import UsageError

Node = Mapping[str, Any]
_SCHEMA = 8  # as PyTorch 2.13 writes it; the numbers below are its
DTYPES = (
    *("", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"),
    *("", "", "", "bool", "bfloat16"),
)
_FORMATS = ("", "contiguous_format", "channels_last", "channels_last_3d", "preserve_format")
_STRIDED = 7
_HELD = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
_PLAIN = ("as_int", "as_ints", "as_bool", "as_bools", "as_string", "as_strings")


def program_of(content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The program: what the output needs of the graph, with shapes of the tensors that it needs.

    Args:
        content: the JSON of the file.
        tensors: weights and constants by their addresses.

    Raises:
        UsageError: if it is not one function from images to logits, or does what a program cannot.
    """
    if (found := content["schema_version"]["major"]) != _SCHEMA:
        raise UsageError(f"its schema is {found}, and {_SCHEMA} is read here: export it with PyTorch 2.13")
    graph, signature = content["graph_module"]["graph"], content["graph_module"]["signature"]
    image, held = _inputs(signature["input_specs"])
    output = _output(signature["output_specs"])
    reads, makes = ([each.get("as_int") for each in graph["tensor_values"][name]["sizes"]] for name in (image, output))
    if len(reads) != 4 or len(makes) != 2 or None in (*reads[1:], makes[1]):
        raise UsageError(f"it makes {makes} of {reads}, not [N, classes] of images [N, C, H, W] of one size")
    if (dtype := DTYPES[graph["tensor_values"][image]["dtype"]]) != "float32":
        raise UsageError(f"it reads images in {dtype}, and they are float32 here: export network.float()")
    nodes, needed = _alive(graph["nodes"], output)
    used = {name: facts for name, facts in held.items() if name in needed}
    places = _addresses(nodes, [address for address, _ in used.values()])
    return {
        "reads": reads[1:],
        "classes": makes[1],
        "input": image,
        "output": output,
        "tensors": {
            name: [address, list(tensors[address].shape), str(tensors[address].dtype).removeprefix("torch."), learned]
            for name, (address, learned) in used.items()
        },
        "calls": [_call(node, place) for node, place in zip(nodes, places, strict=True)],
    }


def _inputs(specs: Iterable[Mapping[str, Any]]) -> tuple[str, dict[str, tuple[str, bool]]]:
    """The name of the images; and of the tensors: name -> address, whether it is learned."""
    images, held = [], {}
    for spec in specs:
        ((kind, facts),) = spec.items()
        if kind in _HELD:
            held[facts["arg"]["name"]] = (facts[_HELD[kind]], kind == "parameter")
        elif kind == "user_input" and "as_tensor" in facts["arg"]:
            images.append(facts["arg"]["as_tensor"]["name"])
        else:
            raise UsageError(f"it has an input that is no tensor ({kind})")
    if len(images) != 1:
        raise UsageError(f"it has {len(images)} inputs, not one of images")
    return images[0], held


def _output(specs: Sequence[Mapping[str, Any]]) -> str:
    kinds = [kind for spec in specs for kind in spec]
    if any(kind.endswith("mutation") for kind in kinds):
        raise UsageError("it changes its buffers: export network.eval()")
    if kinds != ["user_output"] or "as_tensor" not in specs[0]["user_output"]["arg"]:
        raise UsageError(f"it has {len(kinds)} outputs, not one tensor of logits")
    name: str = specs[0]["user_output"]["arg"]["as_tensor"]["name"]
    return name


def _alive(nodes: Sequence[Node], output: str) -> tuple[list[Node], set[str]]:
    """Calls that the output needs, and all names that they need; assertions and what only these need fall away."""
    needed, kept = {output}, []
    for node in reversed(nodes):
        if needed & set(_results(node)) or node["target"].split(".")[-2].endswith("_"):
            kept.append(node)
            needed.update(name for given in node["inputs"] for name in _referred(_argument(given["arg"])))
    return kept[::-1], needed


def _call(node: Node, place: str) -> dict[str, Any]:
    results = _results(node)
    single = len(node["outputs"]) == 1 and "as_tensors" not in node["outputs"][0]
    arguments = [(given["name"], _argument(given["arg"]), given.get("kind") == 2) for given in node["inputs"]]
    return {
        "at": place,
        "operator": re.sub(r"^torch\.ops\.", "", re.sub(r"^_operator\.", "size.", node["target"])),
        "arguments": [value for _, value, keyword in arguments if not keyword],
        "options": {name: value for name, value, keyword in arguments if keyword},
        "result": results[0] if single else results,
    }


def _results(node: Node) -> list[str]:
    names: list[str] = []
    for output in node["outputs"]:
        (value,) = output.values()
        parts = value if isinstance(value, list) else [value]
        names += [part.get("name") or part["as_name"] for part in parts if isinstance(part, Mapping)]
    return names


def _argument(given: Mapping[str, Any]) -> Any:
    """As a program writes it."""
    ((kind, value),) = given.items()
    if kind in _PLAIN:
        return value
    if kind == "as_none" or (kind == "as_layout" and value == _STRIDED):
        return None
    if kind in ("as_float", "as_floats"):
        return [_number(each) for each in value] if isinstance(value, list) else _number(value)
    if kind == "as_tensor":
        return {"of": value["name"]}
    if kind == "as_tensors":
        return [{"of": each["name"]} for each in value]
    if kind in ("as_optional_tensor", "as_sym_int", "as_sym_float", "as_sym_bool"):
        return {"of": value["as_name"]} if "as_name" in value else _argument(value)
    if kind in ("as_optional_tensors", "as_sym_ints", "as_sym_floats"):
        return [{"of": each["as_name"]} if "as_name" in each else _argument(each) for each in value]
    if kind == "as_scalar_type" and DTYPES[value]:
        return {"dtype": DTYPES[value]}
    if kind == "as_memory_format" and _FORMATS[value]:
        return {"format": _FORMATS[value]}
    if kind == "as_device":
        return {"device": None}
    raise UsageError(f"it calls an operator with something that a program cannot hold ({kind})")


def _number(value: float | str) -> Any:
    """JSON has no infinity."""
    number = float(value)
    return number if abs(number) < float("inf") else {"number": str(number)}


def _referred(argument: Any) -> list[str]:
    if isinstance(argument, list):
        return [name for each in argument for name in _referred(each)]
    return [argument["of"]] if isinstance(argument, Mapping) and "of" in argument else []


def _addresses(nodes: Sequence[Node], tensors: Iterable[str]) -> list[str]:
    """For each call the path of the module that made it if it made no other, else a name below it."""
    owners = [_owner(node) for node in nodes]
    times = Counter(owners)
    paths = [*(f"{owner}." for owner in owners), *tensors]
    taken = {path[: dot.start()] for path in paths for dot in re.finditer(r"\.", path)}
    taken.update(tensors)
    found = []
    for node, owner in zip(nodes, owners, strict=True):
        alone = owner and times[owner] == 1 and not any(other.startswith(f"{owner}.") for other in times)
        name = f"{owner}.{_results(node)[0]}".strip(".")
        while not alone and name in taken:
            name += "_"
        found.append(owner if alone else name)
        taken.add(found[-1])
    return found


def _owner(node: Node) -> str:
    """The path of the module whose forward made the call, or empty."""
    stack = str(node.get("metadata", {}).get("nn_module_stack", ""))
    parts = stack.rpartition(";")[2].split(",")
    if len(parts) < 3 or parts[1].startswith("_empty_nn_module_stack"):  # of no module, after run_decompositions
        return ""
    return parts[1] if re.fullmatch(r"\w+(\.\w+)*", parts[1]) else ""
