"""One frozen node and what is kept of it."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from mentorch import Edge, Graph, RunError, UsageError, freeze
from mentorch._tap import parse
from mentorch.data import Batches, Split
from mentorch.training._cache_node import KeptNode

SAMPLES = 10


class Teacher(nn.Module):
    """Two layers, and a last word about what they say; counts runs where they do not make it another network."""

    runs: ClassVar[int] = 0

    def __init__(self, last: Any = None) -> None:
        super().__init__()
        self.hidden, self.fc, self.last = nn.Linear(4, 6), nn.Linear(6, 3), last
        Teacher.runs = 0

    def forward(self, inputs: Tensor) -> Any:
        Teacher.runs += 1
        output = self.fc(self.hidden(inputs.flatten(1)))
        return output if self.last is None else self.last(output)


def kept(folder: Path, teacher: Teacher, *texts: str, dtype: torch.dtype = torch.float32) -> KeptNode:
    torch.manual_seed(0)
    split = Split(*(torch.zeros(SAMPLES, 1, 2, 2, dtype=torch.uint8), *(torch.arange(SAMPLES),) * 2))
    nodes = {"teacher": freeze(teacher), "student": nn.Linear(2, 2)}
    graph = Graph(nodes, [Edge("teacher", "student", nn.functional.mse_loss)])
    addresses = [parse(text, nodes) for text in texts or ("teacher",)]
    node = KeptNode(folder, graph, "teacher", addresses, Batches(split, 4), dtype, None)
    node.settle()
    return node


def images(count: int) -> Tensor:
    return torch.rand(count, 1, 2, 2, generator=torch.Generator().manual_seed(count))


def test_every_address_comes_back_from_one_run(tmp_path: Path) -> None:
    teacher = Teacher()
    node = kept(tmp_path, teacher, "teacher", "teacher.fc:in")
    Teacher.runs = 0
    inputs, rows = images(4), torch.tensor([7, 1, 0, 9])
    found = node.decode(node.data(rows, 0, inputs), ("teacher", "teacher.fc:in"))
    assert Teacher.runs == 1
    assert torch.equal(found["teacher"], teacher(inputs))
    assert torch.equal(found["teacher.fc:in"], teacher.hidden(inputs.flatten(1)))
    only = node.decode(node.data(rows.flip(0), 0, inputs), ("teacher.fc:in",))
    assert list(only) == ["teacher.fc:in"]
    assert torch.equal(only["teacher.fc:in"], found["teacher.fc:in"].flip(0))
    assert Teacher.runs == 2  # the comparison above
    assert not teacher.fc._forward_pre_hooks


def test_what_was_begun_is_completed(tmp_path: Path) -> None:
    """A batch runs whole if one of its samples is missing; what was there stays as it was."""
    teacher = Teacher()
    node = kept(tmp_path, teacher)
    rows, inputs = torch.arange(6), images(6)
    first = node.data(rows[:2], 0, inputs[:2])
    changed = torch.cat([inputs[:2] + 1, inputs[2:]])
    again = node.data(rows, 0, changed)
    assert torch.equal(again[:2], first)
    torch.testing.assert_close(node.decode(again, ("teacher",))["teacher"], teacher(inputs))
    assert torch.equal(node.data(rows, 0, inputs * torch.nan), again)


def test_views_are_files_of_their_own(tmp_path: Path) -> None:
    node = kept(tmp_path, Teacher())
    rows, everything = torch.arange(SAMPLES), range(3)
    assert node.missing_bytes(everything) == 3 * SAMPLES * (16 + 8)
    one, two = (node.data(rows, view, images(SAMPLES) + view) for view in (0, 2))
    assert not torch.equal(one, two)
    assert torch.equal(node.data(rows, 0, images(SAMPLES) * torch.nan), one)
    assert node.missing_bytes(everything) == SAMPLES * (16 + 8)
    assert sorted(path.name for path in (tmp_path / "teacher").glob("*.rows")) == ["view-00000.rows", "view-00002.rows"]


def test_the_card_says_what_is_there_and_saves_the_run_for_the_shapes(tmp_path: Path) -> None:
    teacher = Teacher()
    kept(tmp_path, teacher, "teacher", "teacher.fc:in")
    assert Teacher.runs == 1
    card = json.loads((tmp_path / "teacher" / "card.json").read_text())
    assert card["shapes"] == {"teacher": [3], "teacher.fc:in": [6]}
    assert card["dtype"] == "torch.float32"
    kept(tmp_path, teacher, "teacher", "teacher.fc:in")
    assert Teacher.runs == 1


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (lambda x: x.argmax(1), r"'teacher' is int64 \[1\] for 1 samples, not one value for each"),
        (lambda x: x.mean(0), r"'teacher' is float32 \[3\] for 1 samples"),
        (lambda x: (x, x), "address 'teacher' is not one tensor but a tuple of 2"),
    ],
)
def test_only_one_value_per_sample_can_be_kept(tmp_path: Path, last: Any, message: str) -> None:
    with pytest.raises((UsageError, RunError), match=message):
        kept(tmp_path, Teacher(last))
    assert list(tmp_path.iterdir()) == []


def test_values_that_do_not_fit_are_refused_by_name_and_not_written(tmp_path: Path) -> None:
    teacher = Teacher(lambda x: x + 1e5)
    node = kept(tmp_path, teacher, dtype=torch.float16)
    with pytest.raises(RunError, match="'teacher' is not finite in float16"):
        node.data(torch.arange(4), 0, images(4))
    assert not node.rows(0).read(torch.arange(4))[1].any()
