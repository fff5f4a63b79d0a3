import pytest
import torch

from mentorch import RunError
from mentorch._reading import at_least_single, bring, from_batch, full_precision, read
from mentorch._tap import parse


def test_brings_tensors_wherever_they_are_held_and_leaves_the_rest():
    brought = bring({"image": torch.ones(2), "names": ["a"], "pair": (torch.zeros(1), 3)}, torch.device("meta"))
    assert brought["image"].is_meta
    assert brought["pair"][0].is_meta
    assert brought["names"] == ["a"]
    assert brought["pair"][1] == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype):
    assert at_least_single(torch.ones(1, dtype=dtype)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_everything_else_stays(dtype):
    tensor = torch.ones(1, dtype=dtype)
    assert at_least_single(tensor) is tensor


def test_reads_the_named_part_of_a_batch():
    depth = torch.ones(2)
    assert from_batch({"depth": depth}, parse("labels.depth", {})) is depth


def test_a_missing_part_of_a_batch_is_named():
    with pytest.raises(RunError, match=r"reads 'labels', but the batch has no labels"):
        from_batch(None, parse("labels", {}))


def test_labels_in_a_mapping_are_named_with_a_dot():
    with pytest.raises(RunError, match=r"'labels' is not one tensor but a mapping with 'depth': add '\.' and the one"):
        from_batch({"depth": torch.ones(2)}, parse("labels", {}))


def test_several_targets_are_read_as_a_tuple():
    values = {"a": torch.ones(1), "b": torch.zeros(1)}
    assert read(values, "a") is values["a"]
    assert read(values, ("a", "b")) == (values["a"], values["b"])


def test_losses_leave_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16), full_precision({"a": torch.ones(1)}):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
