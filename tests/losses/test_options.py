import inspect
from collections.abc import Sequence
from typing import Literal

import pytest
from torch import Tensor, nn

from mentorch.losses import LossInfo, OptionInfo, catalogue, options

NAMES = sorted(catalogue())
CODE_ONLY = {("concatenated", "blocks"), ("ofd", "margins")}  # modules and tensors, which no text stands for


def example(
    student: Tensor,
    *,
    flag: bool = False,
    count: int | None = None,
    scale: float = 1.0,
    form: Literal["a", "b"] = "a",
    steps: Sequence[float] = (1.0, 2.0),
    head: nn.Module | None = None,
    either: Tensor | nn.Module | None = None,
    samples: int = 1,
    bare: int = 3,
) -> Tensor:
    """An example.

    Args:
        student: what it is about; not an option.
        flag: whether to.
        count: how many, of :class:`nn.Module`,
            on a second line.
        scale: how much; ``2.0`` is: much.
        form: ``a`` or ``b``.

        steps: which.
        head: a module.

    Returns:
        flag: this is not an argument.
    """


def test_options_are_what_the_signature_and_the_docstring_say():
    info = LossInfo(example, reads="logits", kind="sample", weight=1.0, summary="", paper="", context=("samples",))
    assert list(options(info).values()) == [
        OptionInfo("flag", bool, False, "whether to."),
        OptionInfo("count", int, None, "how many, of nn.Module, on a second line."),
        OptionInfo("scale", float, 1.0, "how much; 2.0 is: much."),
        OptionInfo("form", str, "a", "a or b.", ("a", "b")),
        OptionInfo("steps", tuple, (1.0, 2.0), "which."),
        OptionInfo("bare", int, 3, ""),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_keyword_of_a_loss_is_an_option_with_a_description(name: str):
    info = catalogue()[name]
    found = options(info)
    keywords = {p.name for p in inspect.signature(info.function).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert keywords - found.keys() == {k for n, k in CODE_ONLY if n == name} | (set(info.context) & keywords)
    for key, option in found.items():
        assert (option.name, bool(option.doc)) == (key, True)
        assert not set("`\n") & set(option.doc)
        assert option.default is None or type(option.default) is option.type
        assert bool(option.choices) == (option.type is str)
        assert not option.choices or option.default in option.choices


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_describes_no_keyword_that_is_gone(name: str):
    info = catalogue()[name]
    arguments = inspect.signature(info.function).parameters
    text = inspect.getdoc(info.function) or ""
    described = [line.split(":")[0].strip() for line in text.split("Args:\n")[-1].split("\n\n")[0].splitlines()]
    if "Args:\n" in text:
        assert {word for word in described if word.isidentifier()} <= arguments.keys()
