"""From whatever a results file holds to text a person reads; nothing here fails on odd values."""

import math
import re
from typing import Any

MISSING = "\u2013"


def number(value: object) -> float | None:
    """A finite number, or None for anything else (also NaN, infinity, booleans and text)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer of hundreds of digits
        return None


def dig(value: Any, *keys: str) -> Any:
    """The value under nested ``keys``, or None as soon as a level is missing or is not a mapping."""
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def text(value: object) -> str:
    r"""One printable line: white space becomes a space, and what cannot be shown ``\ufffd`` (controls, surrogates).

    >>> text("kd\n\x00")
    'kd �'
    """
    return "".join(" " if letter.isspace() else letter if letter.isprintable() else "\ufffd" for letter in str(value))


def shorten(value: str, length: int) -> str:
    """At most ``length`` characters, cut in the middle because names differ at their ends.

    >>> shorten("teacher.layer3 -> student.layer3", 16)
    'teacher….layer3'
    """
    if len(value) <= length:
        return value
    half = (length - 1) // 2
    return f"{value[:half].rstrip()}…{value[-half:].lstrip()}"


def signed(value: float, digits: int) -> str:
    """A number with the typographic minus sign, and no sign on a rounded zero."""
    return f"{value + 0.0:.{digits}f}".replace("-", "\u2212") if round(value, digits) else f"{0:.{digits}f}"


def count(value: object) -> str:
    """A whole number with thousands separators.

    >>> count(272474)
    '272,474'
    """
    found = number(value)
    return MISSING if found is None else f"{found:,.0f}"


def amount(value: object) -> str:
    """A large number in three digits with its unit.

    >>> amount(1.234e12), amount(40_551_424), amount(12)
    ('1.23 T', '40.6 M', '12')
    """
    found = number(value)
    if found is None:
        return MISSING
    for limit, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(found) >= limit:
            return f"{found / limit:.3g} {unit}" if abs(found) < 1000 * limit else f"{found:.3g}"
    return f"{found:.3g}"


def stored(value: object) -> str:
    """Bytes as a person says them.

    >>> stored(301_160)
    '301 kB'
    """
    found = amount(value)
    return found if found == MISSING else f"{found}B" if found[-1].isalpha() else f"{found} B"


def milliseconds(value: object) -> str:
    """A short time in milliseconds.

    >>> milliseconds(0.00123)
    '1.23 ms'
    """
    found = number(value)
    return MISSING if found is None else f"{1e3 * found:.3g} ms"


def duration(value: object) -> str:
    """Seconds as a person says them.

    >>> duration(0.42), duration(75), duration(4000)
    ('0.4 s', '1 min 15 s', '1 h 7 min')
    """
    found = number(value)
    if found is None:
        return MISSING
    if found < 60:
        return f"{found:.1f} s"
    if found < 3600:
        return f"{int(found) // 60} min {int(found) % 60} s"
    return f"{int(found) // 3600} h {round(found % 3600 / 60):d} min"


def ratio(one: object, other: object) -> str:
    """``one / other`` as a factor, for compression ratios.

    >>> ratio(925182, 106922), ratio(106922, 925182)
    ('8.65x', '0.116x')
    """
    top, bottom = number(one), number(other)
    return f"{top / bottom:.3g}x" if top is not None and bottom else MISSING


def slug(name: str) -> str:
    """A name as part of a file name.

    >>> slug("kd+pkt / mutual")
    'kd-pkt-mutual'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "method"
