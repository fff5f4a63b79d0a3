"""Numbers that were asked for."""

import operator
from typing import Any

from mentorch._errors import UsageError


def whole(name: str, value: Any, least: int | None = None) -> int:
    """A whole number, ``least`` or more; True and 2.0 are none.

    >>> whole("views", 3, least=1)
    3

    Raises:
        UsageError: naming it, for anything else.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise UsageError(f"{name} must be a whole number, not {value!r}")
    if least is not None and number < least:
        raise UsageError(f"{name} must be {least} or more, not {value!r}")
    return number
