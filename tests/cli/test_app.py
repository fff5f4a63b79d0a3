import gzip
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from mentorch.cli import _app, _training, main
from mentorch.cli._recipe import TrainRecipe
from mentorch.cli._transfer import CompareRecipe, DistillRecipe

from .conftest import QUICK, call

COMMANDS = (
    *((name,) for name in _app.COMMANDS),
    *(("data", name) for name in ("list", "info", "fetch")),
    *(("zoo", name) for name in ("networks", "list", "check", "describe", "add")),
)

# -- help


@pytest.mark.parametrize("words", [(), *COMMANDS], ids="-".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_explains_itself(mentorch, words: tuple[str, ...], flag: str) -> None:
    result = mentorch(*words, flag)
    assert result.code == 0
    assert result.err == ""
    assert result.out.startswith(" ".join(("Usage: mentorch", *words)))


@pytest.mark.parametrize("name", _app.COMMANDS)
def test_a_command_is_one_file_and_one_line_that_fits(mentorch, name: str) -> None:
    command = _app.load(name)
    assert command.name == name
    assert command.help
    line = re.search(rf"^  {name} +(.*)$", mentorch("--help").out, re.MULTILINE)
    assert line
    assert line[1] == _app.COMMANDS[name]
    assert Path(_app.__file__).with_name("commands").joinpath(f"_{name}.py").is_file()


def test_no_file_of_a_command_is_forgotten() -> None:
    files = Path(_app.__file__).with_name("commands").glob("_[a-z]*.py")
    assert {path.stem[1:] for path in files} == set(_app.COMMANDS)


@pytest.mark.parametrize("words", ["", "zoo", "train", "search", "run", "report"])
def test_help_needs_no_torch(words: str) -> None:
    code = f"""
import sys
from mentorch.cli import main
try:
    main([*{words.split()!r}, "--help"])
except SystemExit as end:
    heavy = {{"torch", "numpy", "optuna", "matplotlib", "sklearn"}} & set(sys.modules)
    sys.exit(end.code or ", ".join(heavy) or None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: mentorch {words}".rstrip())


@pytest.mark.parametrize(
    ("command", "kind"), [("compare", CompareRecipe), ("distill", DistillRecipe), ("train", TrainRecipe)]
)
def test_help_lists_every_option_with_its_default(mentorch, command: str, kind: Any) -> None:
    text = mentorch(command, "--help").out.partition("Options:")[2]
    for name, field in kind.model_fields.items():
        if name == "command":
            continue
        flag = "--" + name.replace("_", "-")
        start = re.search(rf"^  (-\w, )?{flag}(?![-\w])", text, re.MULTILINE)
        assert start, name
        told = " ".join(text[start.end() :].split())
        found = re.search(r"\[default: (.*?)\]", told)
        assert found, name
        default = field.default
        shown = {True: "on", False: "off"}[default] if isinstance(default, bool) else default
        shown = " ".join(map(str, shown)) if isinstance(shown, tuple) else shown
        expected = "none" if shown in (None, {}) else str(shown)
        assert found[1].replace(" ", "") == expected.replace(" ", ""), name
        assert "".join(str(field.description).split()) in "".join(told.split()), name
    assert "--resume" in text
    assert "--dry-run" in text


def test_without_words_the_help_is_shown_and_the_code_is_that_of_wrong_usage(mentorch) -> None:
    for words in ((), ("data",), ("zoo",)):
        result = mentorch(*words)
        assert result.code == 2
        assert result.err.startswith(" ".join(("Usage: mentorch", *words)))
        assert "Commands:" in result.err


def test_the_version_is_that_of_the_package(mentorch) -> None:
    from importlib.metadata import version

    assert mentorch("--version").out == f"mentorch {version('mentorch')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_a_completion_script(shell: str) -> None:
    result = CliRunner().invoke(_app.app, [], prog_name="mentorch", env={"_MENTORCH_COMPLETE": f"source_{shell}"})
    assert result.exit_code == 0
    assert "mentorch" in result.stdout
    assert "_MENTORCH_COMPLETE" in result.stdout


def test_a_shell_can_complete_commands_and_options() -> None:
    def complete(words: str) -> str:
        env = {"_MENTORCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        return CliRunner().invoke(_app.app, [], prog_name="mentorch", env=env).stdout

    assert complete("mentorch comp").split() == ["compare"]
    assert "--teacher-epochs" in complete("mentorch compare --teacher-e")


# -- wrong words: code 2; work that fails: code 1; one line each

USAGE: dict[str, tuple[str, str]] = {
    "an unknown command": ("compar", "No such command 'compar'. Did you mean 'compare'?"),
    "an unknown option": ("compare --optimiser adam", "No such option: --optimiser. Did you mean --optimizer?"),
    "an unknown option of train": ("train --optimiser adam", "No such option: --optimiser"),
    "an option of no loss": ("distill --method dkd --betta 8", "No such option: --betta. Did you mean --beta?"),
    "an option of another loss": (
        "distill --method kd --beta 8",
        "beta has no effect with methods kd (only dist, dkd)",
    ),
    "an option that two losses have differently": (
        "compare --methods kd crd --temperature 4",
        "temperature means several things, by default 0.07 in crd, 4.0 in kd: say whose, as kd.temperature=4",
    ),
    "an option of a loss without value": ("distill --temperature", "--temperature needs a value"),
    "an option of a loss of another type": ("distill --temperature warm", "temperature is a number, got 'warm'"),
    "an option that a loss refuses": ("distill --temperature 0", "kd: the temperature must be positive, not 0.0"),
    "two lists of methods": ("distill --method kd pkt", "pkt"),
    "a method that is none": ("distill --method scratch", "scratch is without teacher: see mentorch train"),
    "a loss that a name cannot draw": (
        "distill --method concatenated",
        "draw its edge in Python, see help(mentorch.losses.Concatenated)",
    ),
    "an option without value": ("train --epochs", "--epochs"),
    "a list without values": ("compare --methods", "--methods"),
    "a missing argument": ("run", "Missing argument"),
    "a word too many": ("train digits", "digits"),
    "an unknown network": ("train --network resnt20", "unknown network 'resnt20': did you mean 'resnet20'"),
    "an unknown student": ("compare --student cnn_tny", "unknown network 'cnn_tny': did you mean 'cnn_tiny'"),
    "an unknown teacher": ("compare --teacher cnn_tny", "unknown network 'cnn_tny': did you mean 'cnn_tiny'"),
    "an unknown method": ("compare --methods kdd", "unknown method 'kdd': did you mean 'kd'"),
    "an unknown data set": ("train --data cifr10", "unknown data set 'cifr10': did you mean 'cifar10'"),
    "a data set that is not here": ("train --data svhn", "data set 'svhn' not found in"),
    "a folder that is not there": ("train --data folder:nowhere", "nowhere"),
    "no epoch": ("train --epochs 0", "epochs: Input should be greater than or equal to 1, got '0'"),
    "a number that is none": ("train --lr fast", "lr: Input should be a valid number"),
    "threads that no machine has": ("train --threads 5000000000", "threads: Input should be less than 4097"),
    "a gate without a name": ("search --partners cnn_tiny --label-gates -", "unknown gate '-'"),
    "a negative rate": ("train --lr -1", "lr: Input should be greater than 0, got '-1'"),
    "a batch of none": ("train --batch-size 0", "batch_size"),
    "a batch larger than the data": (
        "train --train-size 60 --batch-size 64",
        "batch size 64 is larger than the training split (60 images)",
    ),
    "more images than there are": ("train --train-size 99999", "99999"),
    "no method": ("compare --methods ,", "methods: name at least one"),
    "a seed twice": ("compare --seeds 1 2 1", "seeds: name at least one, and none twice"),
    "an option of another optimiser": ("train --rho 0.5", "rho has no effect with optimizer adam"),
    "an option of another method": ("compare --methods pkt --temperature 3", "temperature has no effect"),
    "an option of another protocol": ("train --protocol public --val-fraction 0.2", "val_fraction has no effect"),
    "an option of other data": ("train --image-size 32", "image_size is for folder:PATH"),
    "an option of a given teacher": ("compare --teacher-mean 0.5 --teacher-std 1", "teacher_mean has no effect"),
    "half a normalisation": ("compare --teacher cnn_tiny:w.pt --teacher-mean 0.5", "w.pt"),
    "two limits of the gradient": ("train --clip-norm 1 --clip-value 1", "exclude each other"),
    "a weight of no loss": ("compare --methods kd --weight pkt=3", "unknown loss in --weight 'pkt'"),
    "a weight that is none": ("compare --weight kd", "weight: 'kd' is not written KEY=VALUE"),
    "a tap of no node": ("compare --tap pupil.embedding=fc:in", "unknown node in --tap 'pupil'"),
    "a tap that is not there": ("compare --methods pkt --tap student.embedding=fc9:in", "fc9"),
    "stages that do not pair": ("compare --methods fsp", "the same channels on both sides"),
    "several teachers for pkt": ("compare --teacher cnn_tiny cnn_small --methods pkt", "several teachers work with"),
    "a device that is not here": ("train --device tpu", "unknown device 'tpu'"),
    "nothing to resume": ("train --resume", "nothing to resume in runs/train-digits"),
    "weights that are not there": (
        "compare --student cnn_tiny:nowhere.safetensors",
        "nowhere.safetensors do not exist",
    ),
    "weights of another kind": ("train --weights w.bin2", "w.bin2"),
    "a folder without a card": ("compare --teacher empty", "empty is a folder without card.json"),
    "an unknown card": ("zoo describe empty", "empty is not a stored network"),
    "a zoo that is not there": ("zoo list nowhere", "nowhere is not a folder"),
    "too small images": ("zoo networks --size 2", "at least 8x8"),
    "no download needed": ("data fetch digits", "'digits' needs no download"),
    "unknown data to describe": ("data info cifr10", "unknown data set 'cifr10': did you mean 'cifar10'"),
    "several runs and no place": ("report empty empty", "needs a folder of its own"),
}

FAILURES: dict[str, tuple[str, str]] = {
    "a recipe that is not there": ("run nowhere.yaml", "cannot read recipe nowhere.yaml"),
    "a report on nothing": ("report empty", "empty/results.json does not exist"),
    "an archive that is cut off": (
        "train --data mnist --data-root cut",
        "train-images-idx3-ubyte is cut off or damaged",
    ),
    "a packed archive that is cut off": ("train --data mnist --data-root gz", ".gz is cut off or damaged"),
    "an archive of something else": ("data info mnist --data-root html", "is not an IDX file"),
    "weights that are damaged": ("train --weights broken.safetensors", "broken.safetensors is damaged"),
}


@pytest.fixture
def surroundings(mentorch, tmp_path: Path) -> None:
    """What the words above name: an empty folder, and archives of MNIST that are not whole."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.safetensors").write_bytes(b"\x10")
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    for place in ("cut", "gz", "html"):
        (tmp_path / place).mkdir()
        for name in names:
            shape = (20, 28, 28) if "images" in name else (20,)
            data = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
            data += bytes(torch.tensor(shape).prod().item())
            if place == "gz":
                (tmp_path / place / f"{name}.gz").write_bytes(gzip.compress(data)[:-9])
            elif place == "html":
                (tmp_path / place / name).write_text("<html>moved</html>")
            else:
                (tmp_path / place / name).write_bytes(data[:-7])


@pytest.mark.parametrize("what", [*USAGE, *FAILURES])
def test_bad_input_gets_one_line_that_names_it(surroundings, tmp_path: Path, what: str) -> None:
    words, complaint = {**USAGE, **FAILURES}[what]
    result = call(*words.split())
    assert complaint in result.error
    assert result.err.splitlines() == [result.error]
    assert result.code == (2 if what in USAGE else 1)
    assert result.out == ""
    assert not (tmp_path / "runs").exists(), "nothing was computed, so nothing is written"


def test_a_teacher_of_other_classes_or_channels_is_named(mentorch, taught: Path, tmp_path: Path) -> None:
    from PIL import Image

    for label in "ab":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(20):
            Image.new("RGB", (8, 8), (i, 9 * i, 3)).save(tmp_path / f"photos/{label}/{i}.png")
    result = mentorch("compare", "--teacher", taught, "--data", "folder:photos", "--image-size", "8")
    assert result.code == 2
    assert "knows 10 classes, 'folder:photos' has 2" in result.error


def test_an_error_that_nobody_foresaw_is_one_line_too(mentorch, monkeypatch) -> None:
    def broken(*words: Any, **options: Any) -> None:
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr("mentorch.cli._train.run", broken)
    result = mentorch("train")
    assert result.code == 1
    assert result.error == "error: ZeroDivisionError: first second (unexpected: --debug shows where)"


@pytest.mark.parametrize("words", ["train --lr -1 --debug", "--debug run nowhere.yaml"])
def test_debug_shows_where(mentorch, words: str) -> None:
    from mentorch import MentorchError

    with pytest.raises(MentorchError):
        main(words.split())


def test_interrupted_before_anything_began(mentorch, monkeypatch) -> None:
    def interrupted(*words: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_training, "load", interrupted)
    result = mentorch("train")
    assert result.code == 130
    assert "Traceback" not in result.err


def test_words_are_those_of_the_process_unless_given(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["mentorch", "--version"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("mentorch ")


# -- the other commands


def test_a_report_is_written_again_and_for_several_runs(mentorch, taught: Path) -> None:
    for name in ("a", "b"):
        assert call("compare", *QUICK, "--methods", "scratch", "--name", name).code == 0
    result = mentorch("report", "runs/a")
    assert (result.code, result.out) == (0, "runs/a/report.html\n")
    first = Path("runs/a/report.html").read_bytes()
    assert mentorch("report", "runs/a").code == 0
    assert Path("runs/a/report.html").read_bytes() == first
    both = mentorch("report", "runs/a", "runs/b", "--out", "both")
    assert (both.code, both.out) == (0, "both/report.html\n")
    text = Path("both/report.html").read_text()
    assert ">a<" in text.replace("</", "<")
    assert ">b<" in text.replace("</", "<")


def test_quiet_says_nothing_but_the_result(quick: Callable[..., Any]) -> None:
    loud, quiet = quick("train", "--name", "a"), quick("train", "--name", "b", "--quiet")
    assert quiet.err == ""
    assert "scratch" in quiet.out
    assert "scratch, seed 0: validation" in loud.err
