"""Files that were cut, worn or forged, and what must never come of reading one."""

import contextlib
import copy
import gzip
import io
import json
import os
import pickle
import random
import resource
import struct
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from mentorch import MentorchError

CANARY = Path("canary")
"""Made in the working folder by whatever manages to run code."""
ROOM = 3 << 30
"""Bytes that reading a file of some kilobytes may take beside what the process has: far too many, but few enough."""


class Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(CANARY),)


def _torch_file() -> bytes:
    file = io.BytesIO()
    torch.save({"weights": Malice()}, file)
    return file.getvalue()


def _tarball() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name in ("../../escaped", "/escaped", "train.bin", "test.bin"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return file.getvalue()


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../escaped", b"x")
        archive.writestr("archive/data.pkl", pickle.dumps(Malice()))
    return file.getvalue()


def _tensors(header: dict[str, Any] | bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "a pickle": pickle.dumps(Malice()),
    "an old pickle": pickle.dumps(Malice(), protocol=0),
    "a torch file": _torch_file(),
    "a tarball that leaves its folder": _tarball(),
    "a zip that leaves its folder": _zip(),
    "four gigabytes in a small gzip": gzip.compress(bytes(1 << 22), 9) * 1024,
    "a header of eight exabytes": _tensors(b"{}", 1 << 63),
    "a header of a hundred megabytes": _tensors(b"{}", 100_000_000),
    "a tensor of an exabyte": _tensors({"x": {"dtype": "F32", "shape": [1 << 58], "data_offsets": [0, 1 << 60]}}),
    "a tensor of negative size": _tensors({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}),
    "an unknown kind of number": _tensors({"x": {"dtype": "Q9", "shape": [], "data_offsets": [0, 0]}}),
    "images by the billion": struct.pack(">BBBB3I", 0, 0, 8, 3, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
    "255 dimensions": bytes([0, 0, 8, 255]) + b"\xff" * 1020,
    "deep brackets": b"[" * 200_000,
    "deep braces": b'{"a":' * 200_000,
    "a number of ten thousand digits": b'{"schema": ' + b"9" * 10_000 + b"}",
    "infinite numbers": b'{"schema": Infinity, "rows": [NaN]}',
    "half a character": b'{"schema": "\xc3"}',
    "a lone surrogate": b'{"schema": "\\ud800", "rows": []}',
    "a list": b"[]",
    "a word": b'"mentorch"',
    "null": b"null",
    "code in YAML": b"command: !!python/object/apply:os.mkdir [canary]\n",
    "code in YAML, by name": b"command: train\nseeds: !!python/name:os.system\n",
    "a billion laughs": b"a0: &a0 [x, x]\n"
    + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (i, i, i - 1, i - 1) for i in range(1, 60))
    + b"command: train\nset: *a59\n",
    "itself inside itself": b"command: train\nset: &a {x: *a}\n",
    "deep YAML": b"command: " + b"[" * 20_000,
    "numbers that are none": b"command: train\nepochs: 1_0_\nseeds: !!int ''\nlr: !!float x\n",
    "a date that is none": b"command: train\nname: 2001-99-99\n",
    "keys that are none": b"command: train\n? [1, 2]\n: 3\n? {a: b}\n: 4\n",
    "markup": b'{"schema": "<script>alert(1)</script>", "rows": [{"method": "<script>alert(1)</script>"}]}',
}

ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**63,
    10**400,
    1e308,
    float("nan"),
    float("-inf"),
    "",
    "x" * 5000,
    "../../../etc/passwd",
    "\x00",
    "\ud800",
    "<script>alert(1)</script>",
    "[bold red]",
    [],
    {},
    [[[[]]]],
    {"$tensor": "x"},
    {"$map": [[1]]},
    {"a": {"b": {"c": 1}}},
)


def mutants(data: bytes, count: int, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """``count`` damaged copies: some hostile files in its place, then bytes worn and values exchanged."""
    hostile = draw.sample(sorted(HOSTILE), min(len(HOSTILE), count // 3))
    yield from ((name, HOSTILE[name]) for name in hostile)
    values = _values(data)
    for number in range(count - len(hostile)):
        if values is not None and number % 2:
            yield "an odd value", _with_odd_value(values, draw)
        else:
            name = draw.choice(sorted(WEAR))
            yield name, WEAR[name](data, draw)


def _place(data: bytes, draw: random.Random) -> int:
    return draw.randrange(max(1, len(data)))


def _changed(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def _flipped(data: bytes, draw: random.Random) -> bytes:
    place = _place(data, draw)
    return _changed(data, place, bytes([data[place] ^ (1 << draw.randrange(8))])) if data else b"\x01"


WEAR: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": lambda data, draw: data[: _place(data, draw)],
    "a flipped bit": _flipped,
    "another flipped bit": lambda data, draw: _flipped(data[:200], draw) + data[200:],  # where headers are
    "bytes overwritten": lambda data, draw: _changed(data, _place(data, draw), draw.randbytes(draw.randint(1, 16))),
    "bytes lost": lambda data, draw: data[: (at := _place(data, draw))] + data[at + draw.randint(1, 64) :],
    "bytes twice": lambda data, draw: data[: (at := _place(data, draw))] + data[max(0, at - draw.randint(1, 64)) :],
    "a hole": lambda data, draw: _changed(data, _place(data, draw), bytes(draw.randint(1, 512)))[: len(data)],
    "something after the end": lambda data, draw: data + draw.randbytes(draw.randint(1, 64)),
    "the end first": lambda data, draw: data[(at := _place(data, draw)) :] + data[:at],
}


def _values(data: bytes) -> Any:
    """The parsed text of a file of values, one or one per line; None for other files."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(data)
    with contextlib.suppress(ValueError, RecursionError):
        return {"lines": [json.loads(line) for line in data.splitlines()]} if data.strip() else None
    return None


def _with_odd_value(values: Any, draw: random.Random) -> bytes:
    changed = copy.deepcopy(values)
    holder, key = draw.choice(list(_places(changed)))
    if draw.random() < 0.2:
        del holder[key]
    else:
        holder[key] = draw.choice(ODD)
    if isinstance(changed, dict) and list(changed) == ["lines"]:
        lines = changed["lines"] if isinstance(changed["lines"], list) else [changed["lines"]]
        return "\n".join(map(json.dumps, lines)).encode()
    return json.dumps(changed).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield value, key
        yield from _places(item)


def attack(
    path: Path, read: Callable[[], Any], count: int, *, checked: bool, same: Callable[[Any, Any], bool] | None = None
) -> Counter[str]:
    """Read a file in ``count`` damaged states.

    Args:
        path: the file; it is whole again afterwards.
        read: what reads it, and returns what can be compared.
        count: of mutations.
        checked: whether everything that differs must be refused, because the file has a hash or a checksum.
        same: whether what was read counts as what was written; equal, if nothing is said.

    Returns:
        How many were ``refused``, read as the ``same``, or as something ``else``.

    Raises:
        AssertionError: naming each mutation that ended in anything but these.
    """
    whole, expected = path.read_bytes(), read()
    found: Counter[str] = Counter()
    wrong: list[str] = []
    with _little_memory():
        for kind, data in mutants(whole, count, random.Random(path.name)):
            path.write_bytes(data)
            try:
                seen = read()
            except MentorchError as error:
                found["refused"] += 1
                if "\n" in str(error):
                    wrong.append(f"{kind}: an error of several lines: {error}")
            except BaseException as error:
                wrong.append(f"{kind} of {path.name}: {type(error).__name__}: {str(error)[:200]} {_where(error)}")
            else:
                alike = same(seen, expected) if same else seen == expected
                found["same" if alike else "else"] += 1
                if checked and not alike:
                    wrong.append(f"{kind} of {path.name}: accepted in silence")
    path.write_bytes(whole)
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(dict.fromkeys(wrong))
    assert not CANARY.exists(), "something ran code"
    assert sum(found.values()) == count
    return found


def _where(error: BaseException) -> str:
    trace, place = error.__traceback__, ""
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "mentorch" in name and "faults" not in name:
            place = f"{Path(name).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"at {place}"


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    """Whoever believes a header that promises an exabyte finds out here."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
