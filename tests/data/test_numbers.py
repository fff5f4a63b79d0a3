from typing import Any

import numpy as np
import pytest

from mentorch import UsageError
from mentorch.data._numbers import whole


@pytest.mark.parametrize("value", [3, np.int64(3)])
def test_whole_numbers_pass(value: Any) -> None:
    assert whole("views", value, least=3) == 3
    assert whole("seed", -value) == -3


@pytest.mark.parametrize("value", [2.5, 2.0, True, None, "4", float("nan")])
def test_what_is_no_whole_number_is_named(value: Any) -> None:
    with pytest.raises(UsageError, match=f"^batch size must be a whole number, not {value!r}$"):
        whole("batch size", value, least=1)


def test_what_is_too_small_is_named() -> None:
    with pytest.raises(UsageError, match=r"^batch size must be 1 or more, not 0$"):
        whole("batch size", 0, least=1)
