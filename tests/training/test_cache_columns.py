"""Values as rows of bytes: what comes back, and how exactly."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import RunError, UsageError
from mentorch.training._cache_columns import DTYPES, Column


@given(st.sampled_from(DTYPES), st.sampled_from([(), (1,), (3,), (10,), (2, 3, 5)]), st.integers(0, 5))
def test_values_come_back_rounded_once(dtype: torch.dtype, shape: tuple[int, ...], count: int) -> None:
    column = Column("teacher", shape, dtype)
    values = torch.randn(count, *shape, generator=torch.Generator().manual_seed(count), dtype=torch.float64) * 30
    data = column.encode(values)
    assert data.dtype == torch.uint8
    assert data.shape == (count, column.size)
    assert column.size % 8 == 0
    back = column.decode(data)
    assert back.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(back, values.to(dtype).to(back.dtype))
    assert torch.equal(column.encode(back), data)


def test_float32_keeps_every_bit() -> None:
    values = torch.tensor([[0.1, -0.0, 1e-45, 3.4e38, -1.0]])
    back = Column("teacher", (5,), torch.float32).decode(Column("teacher", (5,), torch.float32).encode(values))
    assert torch.equal(back.view(torch.int32), values.view(torch.int32))


@given(st.sampled_from(DTYPES), st.integers(2, 12), st.data())
def test_top_k_keeps_the_largest_and_the_probability_of_the_others(
    dtype: torch.dtype, classes: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, classes - 1))
    column = Column("teacher", (classes,), dtype, k)
    logits = torch.randn(6, classes, generator=torch.Generator().manual_seed(classes)) * 3
    encoded = column.encode(logits)
    assert encoded.shape == (6, column.size)
    back = column.decode(encoded)
    kept = logits >= logits.topk(k, dim=1).values[:, -1:]
    assert torch.equal(back[kept], logits.to(dtype).to(back.dtype)[kept])
    tolerance = 4 * torch.finfo(dtype).eps * 10 if dtype in (torch.float16, torch.bfloat16) else 1e-5
    p, q = logits.double().softmax(1), back.double().softmax(1)
    torch.testing.assert_close(q[kept], p[kept], atol=tolerance, rtol=0)
    rest = torch.where(kept, 0.0, p).sum(1) / (classes - k)  # equal shares
    torch.testing.assert_close(torch.where(kept, 0.0, q), torch.where(kept, 0.0, rest[:, None]), atol=tolerance, rtol=0)


def test_top_k_needs_less_room() -> None:
    assert Column("teacher", (1000,), torch.float32).size == 4000
    assert Column("teacher", (1000,), torch.float16, 20).size == 48 + 80


@pytest.mark.parametrize(("shape", "top_k"), [((10,), 10), ((10,), 0), ((), 1), ((4, 4), 2)])
def test_top_k_must_leave_something_out_of_a_vector(shape: tuple[int, ...], top_k: int) -> None:
    with pytest.raises(UsageError, match=rf"top_k={top_k} of 'teacher'"):
        Column("teacher", shape, torch.float32, top_k)


def test_what_cannot_be_kept_is_refused() -> None:
    column = Column("teacher", (2,), torch.float16)
    with pytest.raises(RunError, match="'teacher' is not finite in float16"):
        column.encode(torch.tensor([[1.0, 1e5]]))  # does not fit
    with pytest.raises(RunError, match="'teacher' is not finite in bfloat16"):
        Column("teacher", (2,), torch.bfloat16).encode(torch.tensor([[1.0, torch.nan]]))
    with pytest.raises(RunError, match=r"'teacher' changed its shape from \[2\] to \[3\]"):
        column.encode(torch.zeros(1, 3))
