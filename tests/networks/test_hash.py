import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import hash_tensors, resnet8, state_hash


def test_same_weights_same_hash_and_one_bit_changes_it():
    torch.manual_seed(0)
    a, b = resnet8(), resnet8()
    assert state_hash(a) != state_hash(b)
    b.load_state_dict(a.state_dict())
    assert state_hash(a) == state_hash(b)
    with torch.no_grad():
        b.fc.bias[3] = torch.nextafter(b.fc.bias[3], torch.tensor(9.0))
    assert state_hash(a) != state_hash(b)


def test_buffers_count():
    network = resnet8()
    before = state_hash(network)
    network.bn1.running_mean[0] += 1
    assert state_hash(network) != before


@given(st.permutations(["a", "b", "c.weight", "d"]))
def test_order_does_not_matter(order):
    tensors = {name: torch.full((2,), float(i)) for i, name in enumerate(["a", "b", "c.weight", "d"])}
    assert hash_tensors({name: tensors[name] for name in order}) == hash_tensors(tensors)


def test_name_dtype_shape_and_bytes_all_matter():
    base = torch.arange(6, dtype=torch.int32)
    states = [
        {"a": base},
        {"b": base},
        {"a": base.view(2, 3)},
        {"a": base.view(torch.float32)},
        {"a": base[:3], "b": base[3:]},
        {"a": base + 1},
        {"a": torch.tensor(0)},
        {"a": torch.tensor([0])},
        {"a": torch.zeros(0)},
        {},
    ]
    assert len({hash_tensors(state) for state in states}) == len(states)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.bool, torch.int64, torch.complex64]
)
def test_every_dtype(dtype):
    assert hash_tensors({"a": torch.ones(3, dtype=dtype)}) != hash_tensors({"a": torch.zeros(3, dtype=dtype)})


def test_memory_layout_does_not_matter():
    a = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert hash_tensors({"a": a}) == hash_tensors({"a": a.to(memory_format=torch.channels_last)})
    assert hash_tensors({"a": a.mT}) == hash_tensors({"a": a.mT.contiguous()})


def test_it_is_the_documented_sha256():
    expected = hashlib.sha256(b"'w' torch.float32 (2,)\n" + bytes.fromhex("0000803f00000040"))
    assert hash_tensors({"w": torch.tensor([1.0, 2.0])}) == expected.hexdigest()


def test_state_that_is_not_a_tensor():
    class Odd(nn.Module):
        def get_extra_state(self):
            return {"step": 3}

        def set_extra_state(self, state):
            pass

    with pytest.raises(UsageError, match="'_extra_state' in the state is dict"):
        state_hash(Odd())
