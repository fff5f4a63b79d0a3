import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import UsageError
from mentorch.data import LabelSpace
from mentorch.methods import accuracy_by_task

SPACE = LabelSpace.union({"a": "uvw", "b": "wxyz"})


@given(seed=st.integers(0, 99))
def test_equals_counting(seed: int):
    draw = torch.Generator().manual_seed(seed)
    outputs, labels = torch.randn(40, len(SPACE), generator=draw), torch.randint(0, len(SPACE), (40,), generator=draw)
    found = accuracy_by_task(SPACE, outputs, labels)
    rows = list(zip(outputs.tolist(), labels.tolist(), strict=True))
    assert found["joint"] == sum(max(range(6), key=o.__getitem__) == y for o, y in rows) / 40
    for part, classes in SPACE.parts.items():
        own = [(o, y) for o, y in rows if y in classes]
        assert found[part] == pytest.approx(sum(max(classes, key=o.__getitem__) == y for o, y in own) / len(own))
    assert found["task"] == pytest.approx((found["a"] + found["b"]) / 2)


def test_a_task_without_samples_is_not_judged():
    found = accuracy_by_task(SPACE, torch.eye(6)[:2], torch.tensor([0, 1]))
    assert found == {"joint": 1.0, "task": 1.0, "a": 1.0}


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match=r"outputs \[2, 5\] are not of the 6 joint classes"):
        accuracy_by_task(SPACE, torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UsageError, match="no sample belongs to a task"):
        accuracy_by_task(LabelSpace(("u", "v")), torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64))
