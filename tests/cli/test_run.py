import json
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mentorch import UsageError
from mentorch._files import locked, seal, unseal
from mentorch.cli import _training
from mentorch.cli._recipe import TrainRecipe
from mentorch.cli._run import Session
from mentorch.training import On

from .conftest import QUICK, call, histories, numbers

TRAIN = ("train", *QUICK, "--network", "cnn_tiny", "--lr", "0.01")


def session(tmp_path: Path, **options: Any) -> Session:
    how = {key: options.pop(key) for key in ("resume", "fresh") if key in options}
    return Session(TrainRecipe(out=str(tmp_path), **options), **how)


# -- which folder


def test_a_run_without_a_name_gets_a_folder_of_its_own(mentorch) -> None:
    for name in ("train-digits", "train-digits-2", "train-digits-3"):
        assert call(*TRAIN).code == 0
        assert yaml.safe_load(Path("runs", name, "recipe.yaml").read_text())["name"] == name


def test_a_name_is_taken_once(mentorch) -> None:
    assert call(*TRAIN, "--name", "r").code == 0
    before = numbers(Path("runs/r"))
    again = call(*TRAIN, "--name", "r", "--seeds", "5")
    assert again.code == 2
    assert "runs/r already holds a run: --resume goes on with it, or choose another --name" in again.error
    assert numbers(Path("runs/r")) == before
    assert call("run", "runs/r/recipe.yaml").code == 0
    assert numbers(Path("runs/r-2")) == before


@pytest.mark.parametrize("name", ["a/b", "..", "/tmp/x", "a/", "."])
def test_a_name_is_that_of_a_folder(mentorch, name: str) -> None:
    result = call(*TRAIN, "--name", name)
    assert result.code == 2
    assert f"name {name!r} is not that of a folder" in result.error


def test_a_folder_in_which_nothing_was_computed_is_free(tmp_path: Path) -> None:
    first = session(tmp_path, name="r")
    with pytest.raises(ZeroDivisionError), first.hold():
        raise ZeroDivisionError
    assert (tmp_path / "r" / "recipe.yaml").exists()
    assert session(tmp_path, name="r").folder == tmp_path / "r"


def test_nothing_cannot_be_resumed(mentorch) -> None:
    for words in ((*TRAIN, "--name", "r"), TRAIN):
        result = call(*words, "--resume")
        assert result.code == 2
        assert "nothing to resume in runs/" in result.error


def test_a_run_is_resumed_with_what_it_was_started_with(mentorch) -> None:
    assert call(*TRAIN, "--name", "r").code == 0
    result = call(*TRAIN, "--name", "r", "--epochs", "2", "--resume")
    assert result.code == 2
    assert "runs/r was started with epochs=1, not 2" in result.error
    result = call("distill", *QUICK, "--name", "r", "--resume")
    assert "runs/r was started with command='train', not 'distill'" in result.error
    assert call(*TRAIN, "--out", "my runs", "--name", "r").code == 0
    result = call(*TRAIN, "--out", "my runs", "--name", "r", "--epochs", "2", "--resume")
    assert result.error.endswith("resume with: mentorch run 'my runs/r/recipe.yaml' --resume")
    harmless = ("--eval-batch-size", "9", "--threads", "1", "--device", "cpu", "--results")
    assert call(*TRAIN, "--name", "r", *harmless, "--resume").code == 0
    assert Path("runs/r/report.html").exists()


def test_a_folder_that_was_moved_is_resumed_where_it_is(mentorch, monkeypatch) -> None:
    assert call(*TRAIN, "--name", "r").code == 0
    before = numbers(Path("runs/r"))
    Path("elsewhere").mkdir()
    shutil.move("runs/r", "elsewhere/moved")
    monkeypatch.setattr(_training, "fit", lambda *a, **o: pytest.fail("nothing is left to train"))
    monkeypatch.chdir("elsewhere/moved")
    result = call("run", "recipe.yaml", "--resume", "--json")
    assert result.code == 0, result.err
    assert numbers(Path()) == before


# -- somebody else is there, or nobody can be


def test_a_folder_in_use_by_a_live_process_is_left_alone(mentorch) -> None:
    with locked(Path("runs/r")):
        result = call(*TRAIN, "--name", "r")
    assert result.code == 1
    assert "runs/r is in use by another live process" in result.error
    assert call(*TRAIN, "--name", "r").code == 0


def test_a_name_that_is_too_long_is_refused(mentorch) -> None:
    Path("runs").mkdir()
    result = call(*TRAIN, "--name", "n" * 300)
    assert result.code == 2
    assert "cannot use a run folder in runs: File name too long: choose another --name or --out" in result.error


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/nowhere", "/dev/null"])
def test_a_folder_that_cannot_be_made_is_named(mentorch, out: str) -> None:
    Path("file").write_text("")
    result = call(*TRAIN, "--out", out)
    assert result.code == 1
    assert f"cannot use folder {out}" in result.error


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_said_and_nothing_computed_is_lost(mentorch, small_disk: Path) -> None:
    words = (*TRAIN, "--seeds", "0", "1", "--save-students", "all", "--name", "r", "--out", small_disk)
    assert call(*words, "--name", "first").code == 0
    space = small_disk / "space"
    left = shutil.disk_usage(small_disk).free
    space.write_bytes(bytes(left - 40_960))
    result = call(*words)
    assert result.code == 1
    assert "No space left on device" in result.error
    assert str(small_disk) in result.error
    assert json.loads((small_disk / "first" / "results.json").read_text())["rows"]
    space.unlink()
    resumed = call(*words, "--resume")
    assert resumed.code == 0, resumed.err
    assert call(*words[:-1], "runs").code == 0
    assert numbers(small_disk / "r") == numbers(Path("runs/r"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # its writer's thread dies
def test_tensorboard_on_a_full_disk_is_said_too(mentorch, small_disk: Path) -> None:
    (small_disk / "space").write_bytes(bytes(shutil.disk_usage(small_disk).free - 8192))
    before = set(threading.enumerate())
    result = call(*TRAIN, "--tensorboard", "--out", small_disk, "--name", "r")
    assert result.code == 1
    for writer in set(threading.enumerate()) - before:
        writer.join(timeout=10)  # its end belongs to this test, not to the next
    assert f"{small_disk}/r" in result.error
    assert "No space left on device" in result.error


# -- checkpoints that are not what they were


class Malice:
    """An object whose unpickling leaves a file behind."""

    def __reduce__(self):
        return (Path.touch, (Path("mark"),))


@pytest.fixture
def cut(mentorch, monkeypatch) -> tuple[list[Path], tuple[str, ...]]:
    """A run that was interrupted in its third epoch: its checkpoints, and the words that resume it."""
    fit = _training.fit

    def stop(training) -> None:
        raise KeyboardInterrupt

    def stopping(graph, train, **options):
        return fit(graph, train, **{**options, "checkpoint_seconds": 0.0, "callbacks": (On("step", stop, at=[5]),)})

    words = (*TRAIN, "--epochs", "4", "--name", "r")
    with monkeypatch.context() as patched:
        patched.setattr(_training, "fit", stopping)
        assert call(*words).code == 130
    return sorted(Path("runs/r/fits/scratch/seed-0/checkpoints").iterdir()), (*words, "--resume")


def test_it_goes_on_to_the_same_bits(cut) -> None:
    checkpoints, words = cut
    assert len(checkpoints) == 2
    assert call(*words).code == 0
    assert call(*words[:-2], "whole").code == 0
    assert numbers(Path("runs/r")) == numbers(Path("runs/whole"))
    assert histories(Path("runs/r")) == histories(Path("runs/whole"))


def spoil_bytes(checkpoint: Path) -> None:
    path = checkpoint / "tensors.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def spoil_by_cutting(checkpoint: Path) -> None:
    path = checkpoint / "state.json"
    path.write_bytes(path.read_bytes()[:-20])


def spoil_by_removing(checkpoint: Path) -> None:
    (checkpoint / "tensors.safetensors").unlink()


def spoil_with_a_pickle(checkpoint: Path) -> None:
    (checkpoint / "tensors.safetensors").write_bytes(pickle.dumps(Malice()))


def spoil_with_a_pickle_and_its_hash(checkpoint: Path) -> None:
    import hashlib

    spoil_with_a_pickle(checkpoint)
    head = unseal((checkpoint / "state.json").read_text())
    head["tensors"] = hashlib.sha256((checkpoint / "tensors.safetensors").read_bytes()).hexdigest()
    (checkpoint / "state.json").write_text(seal(head))


def spoil_with_torch(checkpoint: Path) -> None:
    torch.save({"weights": Malice()}, checkpoint / "tensors.safetensors")


def spoil_the_schema(checkpoint: Path) -> None:
    (checkpoint / "state.json").write_text("[]")


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_bytes,
        spoil_by_cutting,
        spoil_by_removing,
        spoil_with_a_pickle,
        spoil_with_a_pickle_and_its_hash,
        spoil_with_torch,
        spoil_the_schema,
    ],
)
def test_a_damaged_or_malicious_checkpoint_is_refused_and_never_executed(cut, spoil) -> None:
    (previous, last), words = cut
    spoil(last)
    result = call(*words)
    assert result.code == 1
    assert f"checkpoint {last} is damaged" in result.error
    assert not Path("mark").exists()
    # taking the damaged one away is what says that the previous one shall be used
    shutil.rmtree(last)
    assert call(*words).code == 0
    assert call(*words[:-2], "whole").code == 0
    assert numbers(Path("runs/r")) == numbers(Path("runs/whole"))
    assert previous.name == "000000002"


def test_a_checkpoint_of_another_run_is_refused(cut, mentorch) -> None:
    (_, last), words = cut
    other = (*TRAIN, "--network", "cnn_small", "--name", "other")
    assert call(*other).code == 0
    head = unseal((last / "state.json").read_text())
    head["state"]["$map"] = [[k, v] for k, v in head["state"]["$map"] if k != "identity"]
    (last / "state.json").write_text(seal(head))
    result = call(*words)
    assert result.code == 1
    assert "holds another run" in result.error


def test_a_damaged_result_is_named(mentorch) -> None:
    assert call(*TRAIN, "--name", "r").code == 0
    path = Path("runs/r/fits/scratch/seed-0/result.json")
    path.write_text("{")
    result = call(*TRAIN, "--name", "r", "--resume")
    assert result.code == 1
    assert f"{path} is damaged or not JSON" in result.error
    assert "delete it, and this part is trained again" in result.error


def test_a_damaged_recipe_is_named(mentorch) -> None:
    assert call(*TRAIN, "--name", "r").code == 0
    Path("runs/r/recipe.yaml").write_text("command: train\nepochs: many\n")
    result = call(*TRAIN, "--name", "r", "--resume")
    assert result.code == 2
    assert "runs/r/recipe.yaml, line 2: epochs" in result.error


# -- a real Ctrl-C


def test_ctrl_c_says_how_to_go_on_and_the_end_is_the_same(mentorch, tmp_path: Path) -> None:
    words = ("compare", *QUICK, "--teacher", "cnn_tiny", "--teacher-train-size", "100", "--min-teacher-acc", "0")
    words = (*words, "--teacher-epochs", "1", "--methods", "scratch", "kd", "--epochs", "25", "--name", "cut")
    command = [sys.executable, "-m", "mentorch", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    began = tmp_path / "runs/cut/fits/kd/seed-0/metrics.jsonl"
    deadline = time.monotonic() + 120
    while not began.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    again = "mentorch run runs/cut/recipe.yaml --resume"
    assert err.splitlines()[-1] == f"interrupted, nothing is lost; go on with: {again}"
    assert "Traceback" not in err
    assert len(json.loads((tmp_path / "runs/cut/results.json").read_text())["rows"]) == 1
    assert call(*again.split()[1:]).code == 0
    assert call(*words[:-1], "whole").code == 0
    assert numbers(Path("runs/cut")) == numbers(Path("runs/whole"))
    assert histories(Path("runs/cut")) == histories(Path("runs/whole"))


def test_a_path_that_must_be_quoted_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import click  # noqa: F401 - typer needs one or brings its own
    import typer

    held = session(tmp_path / "my runs", name="r")
    with pytest.raises(typer.Exit) as end, held.hold():
        raise KeyboardInterrupt
    assert end.value.exit_code == 130
    assert f"mentorch run '{tmp_path}/my runs/r/recipe.yaml' --resume" in capsys.readouterr().err


def test_what_differs_is_named_with_both_values(tmp_path: Path) -> None:
    with session(tmp_path, name="r").hold():
        pass
    with (
        pytest.raises(UsageError, match=r"started with lr=0\.001, not 0\.5"),
        session(tmp_path, name="r", lr=0.5, resume=True).hold(),
    ):
        pass


# -- several processes


def test_processes_do_one_run_together_and_the_first_one_writes_and_speaks(together, tmp_path: Path) -> None:
    words = [
        "distill",
        *QUICK,
        "--teacher",
        "cnn_small",
        "--teacher-epochs",
        "1",
        "--student",
        "cnn_tiny",
        "--knn",
        "0",
    ]
    words += ["--method", "kd+pkt", "--seeds", "0", "1", "--name", "two"]
    before = set(Path(tempfile.gettempdir()).glob("mentorch-*"))
    first, second = together("command", words=words, folder=tmp_path)
    assert (first["code"], second["code"]) == (0, 0), first["err"]
    assert "kd+pkt is" in first["out"]
    assert "kd+pkt, seed 1" in first["err"]
    assert second["out"] == second["err"] == ""
    assert set(Path(tempfile.gettempdir()).glob("mentorch-*")) == before
    run = tmp_path / "runs" / "two"
    results = json.loads((run / "results.json").read_text())
    assert [row["trained_samples"] for row in results["rows"]] == [100] * 4
    assert json.loads((run / "environment.json").read_text())["processes"] == 2
    (run / "results.json").unlink()
    (run / "fits/kd+pkt/seed-1/result.json").unlink()
    lost = results["rows"][-1]
    again = ["run", str(run / "recipe.yaml"), "--resume"]
    assert together("command", words=again, folder=tmp_path)[0]["code"] == 0
    found = json.loads((run / "results.json").read_text())["rows"][-1]
    assert (found["method"], found["seed"], found["test"]) == (lost["method"], lost["seed"], lost["test"])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["search", "--trials", "1"], "error: mentorch search works in one process: start it without torchrun"),
        ([*TRAIN, "--batch-size", "5"], "error: a batch of 5 cannot be shared by 2 processes in equal parts"),
    ],
)
def test_what_processes_cannot_do_together_is_one_line(
    words: list[str], complaint: str, together, tmp_path: Path
) -> None:
    first, second = together("command", words=words, folder=tmp_path)
    assert (first["code"], second["code"]) == (2, 2)
    assert first["err"].strip() == complaint
    assert second["err"] == ""
    assert not (tmp_path / "runs").exists()
