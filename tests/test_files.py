"""Files are whole or not there, whatever happens while they are written."""

import errno
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from mentorch import RunError
from mentorch._files import (
    in_lines,
    locked,
    read_json,
    read_sealed,
    seal,
    sha256,
    unseal,
    write_atomic,
    write_json,
    write_sealed,
    write_text,
)

OLD, NEW = "the old file\n", "the new file\n"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    path.write_text(OLD)
    return path


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
    ) if os.geteuid() == 0 else None  # fmt: skip
    if mounted is None or mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def only(path: Path, text: str) -> None:
    """The file holds this text and nothing was left beside it."""
    assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def failing(code: int) -> Callable[..., None]:
    def fail(*args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_writing_makes_the_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "first" / "summary.md"
    write_text(path, NEW)
    only(path, NEW)
    write_text(path, "")
    only(path, "")


def test_the_writer_works_on_a_neighbour_and_the_old_file_stays_until_it_is_done(target: Path) -> None:
    def write(temporary: Path) -> None:
        assert temporary.parent == target.parent  # a rename is atomic only inside one file system
        assert temporary != target
        temporary.write_text(NEW)
        assert target.read_text() == OLD

    write_atomic(target, write)
    only(target, NEW)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES])
def test_a_failing_write_leaves_the_old_file_and_names_it(target: Path, code: int) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text(NEW[:5])
        raise OSError(code, os.strerror(code))

    with pytest.raises(RunError) as caught:
        write_atomic(target, write)
    assert str(caught.value) == f"cannot write {target}: {os.strerror(code)}"
    only(target, OLD)


def test_a_disk_that_fails_late_leaves_the_old_file(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(RunError, match="No space left"):
        write_text(target, NEW)
    monkeypatch.undo()
    only(target, OLD)


def test_a_failing_rename_leaves_the_old_file(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", failing(errno.EPERM))
    with pytest.raises(RunError, match="not permitted"):
        write_text(target, NEW)
    only(target, OLD)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError, MemoryError])
def test_an_interrupted_write_leaves_the_old_file_and_no_litter(
    target: Path, interruption: type[BaseException]
) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text(NEW[:5])
        raise interruption

    with pytest.raises(interruption):
        write_atomic(target, write)
    only(target, OLD)


def test_a_process_killed_in_the_middle_leaves_the_old_file(target: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from mentorch._files import write_atomic
def write(temporary):
    temporary.write_text({NEW[:5]!r})
    os.kill(os.getpid(), signal.SIGKILL)
write_atomic(Path({str(target)!r}), write)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert target.read_text() == OLD
    write_text(target, NEW)  # and what the dead process left does not hinder the next
    assert target.read_text() == NEW


def test_readers_never_see_half_a_file(target: Path) -> None:
    texts = [letter * 200_000 for letter in "ab"]
    write_text(target, texts[0])
    writers = [threading.Thread(target=lambda t=t: [write_text(target, t) for _ in range(20)]) for t in texts]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(target.read_text())
    for writer in writers:
        writer.join()
    assert seen <= set(texts)
    assert list(target.parent.iterdir()) == [target]


def test_a_full_disk_is_named_and_what_was_there_stays(full_disk: Path) -> None:
    path = full_disk / "results.json"
    write_text(path, OLD)
    with pytest.raises(RunError, match=r"cannot write .*results\.json: No space left on device"):
        write_text(path, "x" * 200_000)
    only(path, OLD)
    write_text(path, NEW)
    only(path, NEW)


def test_a_full_disk_is_named_also_when_a_library_writes(full_disk: Path) -> None:
    path = full_disk / "model.safetensors"
    write_text(path, OLD)
    with pytest.raises(RunError, match=r"cannot write .*model\.safetensors: .*No space left on device"):
        write_atomic(path, lambda temporary: save_file({"weight": torch.zeros(100_000)}, temporary))
    only(path, OLD)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text(OLD)
    for path in (file / "inside.json", file / "deep" / "inside.json"):
        with pytest.raises(RunError, match=r"cannot write .*inside\.json: "):
            write_text(path, NEW)
    only(file, OLD)


@pytest.mark.skipif(sys.platform != "linux", reason="/sys is a folder that nobody can write on Linux only")
def test_a_folder_without_permission() -> None:
    with pytest.raises(RunError, match=r"cannot write /sys/results\.json: "):
        write_text(Path("/sys/results.json"), NEW)


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.mkdir()
    with pytest.raises(RunError, match=r"cannot write .*results\.json: "):
        write_text(path, NEW)
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_is_not_that_of_forked_children(tmp_path: Path) -> None:
    """Workers of a data loader live on for a while, also after their parent was killed."""
    (begun, begins), (ended, ends) = os.pipe(), os.pipe()
    with locked(tmp_path):
        child = os.fork()
        if not child:
            os.close(ends)
            os.write(begins, b".")
            os.read(ended, 1)  # until the parent has closed the other end
            os._exit(0)
        os.read(begun, 1)
        with pytest.raises(RunError, match="in use by another live process"), locked(tmp_path):
            pass
    with locked(tmp_path):
        pass
    for pipe in (ends, ended, begun, begins):
        os.close(pipe)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(os.name != "posix", reason="umask is a POSIX notion")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_that_the_user_asked_for(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "ours", NEW)
        write_atomic(tmp_path / "tensors", lambda path: save_file({"x": torch.zeros(2)}, path))
        (tmp_path / "plain").write_text(NEW)
    finally:
        os.umask(before)
    modes = {(tmp_path / name).stat().st_mode for name in ("ours", "tensors", "plain")}
    assert len(modes) == 1


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
encodable = values.filter(lambda value: "\\ud" not in json.dumps(value))  # lone surrogates are no text


@given(encodable)
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_has_no_numbers_that_are_none(tmp_path: Path, number: float) -> None:
    path, value = tmp_path / "value.json", {"loss": number, "rows": [1.0, (number, {"deep": number})]}
    write_json(path, value)
    assert read_json(path) == {"loss": None, "rows": [1.0, [None, {"deep": None}]]}
    assert json.loads(in_lines([value])) == read_json(path)


@given(st.dictionaries(st.text(), encodable, min_size=1).filter(lambda value: "sha256" not in value))
def test_a_seal_comes_off(value: dict[str, object]) -> None:
    assert unseal(seal(value)) == value
    assert unseal(seal(value, indent=2)) == value
    assert list(json.loads(seal(value))) == [*value, "sha256"]


def test_a_sealed_file_is_what_was_written_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_sealed(path, {"accuracy": 0.91, "inner": {"sha256": "x"}})
    assert read_sealed(path) == {"accuracy": 0.91, "inner": {"sha256": "x"}}
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(RunError, match=r"result\.json is damaged"):
            read_sealed(path)
        path.write_bytes(whole[:place])
        with pytest.raises(RunError, match=r"result\.json is damaged"):
            read_sealed(path)
    write_json(path, {"accuracy": 1.0})
    with pytest.raises(RunError, match="it has no hash of its own"):
        read_sealed(path)


def test_what_is_not_json_is_refused_before_the_file_is_touched(target: Path) -> None:
    with pytest.raises(TypeError):
        write_json(target, {"tensor": object()})
    only(target, OLD)


def test_text_is_utf8_wherever_it_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "text", "naïve 网络 🐦\n")
    assert (tmp_path / "text").read_bytes().decode("utf-8") == "naïve 网络 🐦\n"


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nothing\.json does not exist"):
        read_json(tmp_path / "nothing.json")


def test_a_truncated_file_is_damaged_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"epoch": 3, "names": ["a", "b"], "loss": 0.25})
    whole = path.read_bytes()
    for length in range(len(whole.rstrip())):
        path.write_bytes(whole[:length])
        with pytest.raises(RunError, match=r"state\.json is damaged or not JSON") as caught:
            read_json(path)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"{'a': 1}", b"[" * 100_000, b"9" * 10_000, b'{"a": 1} {"b": 2}', b"\x80\x04K\x01."],
)
def test_a_hostile_file_is_damaged_too(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"state\.json is damaged or not JSON"):
        read_json(path)


def test_a_folder_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="damaged or not JSON"):
        read_json(tmp_path)


@pytest.mark.parametrize("content", [b"", b"abc", bytes(range(256)) * 20_000])
def test_the_hash_is_that_of_the_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_the_hash_of_a_published_example(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")  # FIPS 180-4, one-block message
    assert sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
