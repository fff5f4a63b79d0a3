"""Checkpoints: whole or not there, nothing pickled, readable errors for whatever else lies in the folder."""

import contextlib
import errno
import json
import math
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mentorch import RunError, UsageError
from mentorch._files import seal, unseal
from mentorch.training import _checkpoint
from mentorch.training._checkpoint import load, pack, random_state, save, set_random_state, steps, unpack

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64,
]  # fmt: skip


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    values = torch.randn(*shape, 2, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))) * 3
    made = values.to(draw(st.sampled_from(DTYPES)))
    strided = made[..., 0]  # every second element: not contiguous
    return draw(st.sampled_from([made, strided, strided.transpose(0, -1) if strided.ndim else strided]))


SHARED = torch.arange(4.0)
KEYS = st.one_of(st.text(alphabet="ab/1$", max_size=4), st.integers(0, 3))
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
LEAVES = st.one_of(PLAIN, tensors(), st.just(SHARED), st.just(SHARED[1:]))
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
        st.lists(KEYS, max_size=3).map(Counter),
    ),
    max_leaves=12,
)


def equal(a: Any, b: Any) -> bool:
    """The same types, structure and bits, NaN included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bits(a), _bits(b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


def _bits(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format).flatten().view(torch.uint8)


@given(NESTED)
def test_pack_and_unpack_are_inverse_through_json_and_safetensors(value: Any) -> None:
    from safetensors.torch import load as from_bytes
    from safetensors.torch import save as to_bytes

    taken: dict[str, Tensor] = {}
    text = json.dumps(pack(value, taken))
    assert equal(unpack(json.loads(text), from_bytes(to_bytes(taken))), value)


def test_paths_that_read_alike_stay_apart() -> None:
    taken: dict[str, Tensor] = {}
    value = {"a/b": torch.tensor(1), "a": {"b": torch.tensor(2)}, 1: torch.tensor(3), "1": torch.tensor(4)}
    assert equal(unpack(pack(value, taken), taken), value)


@pytest.mark.parametrize("value", [{"a": {1, 2}}, object(), np.int64(1), {(1, 2): 3}, {"f": len}])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="checkpoint"):
        pack(value, {})


def test_a_packed_tensor_is_a_copy() -> None:
    taken: dict[str, Tensor] = {}
    original = torch.zeros(2)
    pack(original, taken)
    original.add_(1)
    assert next(iter(taken.values())).tolist() == [0.0, 0.0]


def test_two_are_kept_as_safetensors_and_json(tmp_path: Path) -> None:
    for step in (3, 20, 100, 1_000_000_000):
        assert save(tmp_path, step, {"x": torch.tensor(step), "n": step}).is_dir()
    assert steps(tmp_path) == [100, 1_000_000_000]
    assert load(tmp_path)["n"] == 1_000_000_000
    assert load(tmp_path, "previous")["n"] == 100
    files = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["state.json", "state.json", "tensors.safetensors", "tensors.safetensors"]


def test_the_same_step_is_replaced_and_remains_of_killed_writers_go(tmp_path: Path) -> None:
    (tmp_path / ".writing-dead").mkdir()
    (tmp_path / ".writing-dead" / "state.json").write_text("{")
    save(tmp_path, 1, {"n": 1})
    save(tmp_path, 1, {"n": 2})
    assert load(tmp_path)["n"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["000000001"]


def test_asking_for_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no last checkpoint"):
        load(tmp_path / "nowhere")
    save(tmp_path, 1, {})
    with pytest.raises(UsageError, match="no previous checkpoint"):
        load(tmp_path, "previous")


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _edit(path: Path, **changes: Any) -> None:
    """Forge a head: changed, with a hash that agrees."""
    path.write_text(seal({**unseal(path.read_text()), **changes}))


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": lambda p: _flip(p / "tensors.safetensors"),
    "tensors cut short": lambda p: os.truncate(p / "tensors.safetensors", 20),
    "no tensors": lambda p: (p / "tensors.safetensors").unlink(),
    "a pickle for tensors": lambda p: (p / "tensors.safetensors").write_bytes(pickle.dumps(Bomb())),
    "JSON cut short": lambda p: os.truncate(p / "state.json", (p / "state.json").stat().st_size // 2),
    "empty JSON": lambda p: os.truncate(p / "state.json", 0),
    "foreign JSON": lambda p: (p / "state.json").write_text('{"hello": "world"}'),
    "a JSON list": lambda p: (p / "state.json").write_text("[1, 2]"),
    "not text": lambda p: (p / "state.json").write_bytes(b"\xff\xfe\x00"),
    "endless nesting": lambda p: (p / "state.json").write_text("[" * 100_000),
    "another schema": lambda p: _edit(p / "state.json", schema="mentorch.checkpoint/9"),
    "no state": lambda p: _edit(p / "state.json", state=None),
    "an unknown reference": lambda p: _edit(p / "state.json", state={"$tensor": "x"}),
    "an unknown mark": lambda p: _edit(p / "state.json", state={"$code": "x"}),
    "no hash of the tensors": lambda p: _edit(p / "state.json", tensors=None),
    "no hash of its own": lambda p: (p / "state.json").write_text(json.dumps(unseal((p / "state.json").read_text()))),
    "another number": lambda p: _replace(p / "state.json", '"step": 8', '"step": 7'),
    "a file for a folder": lambda p: (shutil.rmtree(p), p.write_text("x")),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_line_and_says_what_else_there_is(kind: str, tmp_path: Path) -> None:
    save(tmp_path, 4, {"x": torch.ones(3)})
    save(tmp_path, 8, {"x": torch.ones(3)})
    DAMAGE[kind](tmp_path / "000000008")
    with pytest.raises(RunError, match=r"000000008 is damaged .*previous one is step 4: .*resume='previous'") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    assert equal(load(tmp_path, "previous"), {"x": torch.ones(3)})


def test_damage_with_nothing_else_left(tmp_path: Path) -> None:
    save(tmp_path, 4, {})
    DAMAGE["no tensors"](tmp_path / "000000004")
    with pytest.raises(RunError, match="no other is left"):
        load(tmp_path)


def test_a_pickle_with_the_right_hash_is_still_not_executed(tmp_path: Path) -> None:
    import hashlib

    save(tmp_path, 4, {})
    data = pickle.dumps(Bomb())
    (tmp_path / "000000004" / "tensors.safetensors").write_bytes(data)
    _edit(tmp_path / "000000004" / "state.json", tensors=hashlib.sha256(data).hexdigest())
    with pytest.raises(RunError, match="damaged"):
        load(tmp_path)


@pytest.fixture(params=["tmpfs", "write", "rename"])
def full(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, Callable[[], None], Callable[[], None]]]:
    """A folder, something that fills its disk, and something that makes room again."""
    if request.param == "tmpfs":
        mounted = (
            os.geteuid() == 0
            and not subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True, check=False
            ).returncode
        )
        if not mounted:
            pytest.skip("only a superuser can mount a small file system")
        ballast = tmp_path / "ballast"

        def fill() -> None:
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while file.write(b"x" * 4096):
                    pass

        yield tmp_path, fill, ballast.unlink
        subprocess.run(["umount", str(tmp_path)], check=True)
        return

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill_later() -> None:
        if request.param == "write":
            monkeypatch.setattr(_checkpoint, "_write", refuse)
        else:
            monkeypatch.setattr(Path, "rename", refuse)

    yield tmp_path, fill_later, monkeypatch.undo


def test_a_full_disk_leaves_earlier_checkpoints_alone(
    full: tuple[Path, Callable[[], None], Callable[[], None]],
) -> None:
    disk, fill, free = full
    state = {"x": torch.randn(30_000)}  # more than a file system keeps for a short file
    folder = disk / "checkpoints"
    save(folder, 5, state)
    fill()
    with pytest.raises(RunError, match=r"cannot write a checkpoint.*No space left.*step 5 is intact") as caught:
        save(folder, 6, state)
    assert "\n" not in str(caught.value)
    assert [path.name for path in folder.iterdir()] == ["000000005"]
    assert equal(load(folder), state)
    free()
    save(folder, 6, state)
    assert steps(folder) == [5, 6]


def test_a_first_checkpoint_that_fails_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="there is no earlier checkpoint"):
        save(tmp_path / "file" / "checkpoints", 1, {})


def test_random_streams_go_on_where_they_were() -> None:
    own = torch.Generator().manual_seed(5)
    random.gauss(0, 1)  # Python and NumPy keep a second normal number for later
    np.random.normal()
    saved = random_state([own])
    taken: dict[str, Tensor] = {}
    saved = unpack(json.loads(json.dumps(pack(saved, taken))), taken)

    def draw() -> list[float]:
        numbers = [random.random(), random.gauss(0, 1), np.random.rand(), np.random.normal()]
        return [*numbers, torch.rand(()).item(), torch.randn(()).item(), torch.rand((), generator=own).item()]

    expected = draw()
    draw()
    set_random_state(saved, [own])
    assert draw() == expected


def test_numpy_is_left_alone_where_nobody_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "numpy")
    saved = random_state()
    set_random_state(saved)
    assert "numpy" not in saved
    assert "numpy" not in sys.modules
