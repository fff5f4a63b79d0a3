from pathlib import Path

import pytest
import torch

from mentorch import zoo
from mentorch.data import load

from .conftest import call
from .test_amalgamate import QUICK, results, specialist

NEEDED = ("--methods", "kd", "--train-size", "100")


@pytest.fixture
def teachers(mentorch, tmp_path: Path) -> tuple[str, ...]:
    own = {"low": "01234", "high": "56789", "also": "34567", "further": "56789"}
    images = load("digits", train_size=100).train.images.float() / 255
    for name, classes in own.items():
        network, card = zoo.load(specialist(tmp_path / name, tuple(classes)))
        with torch.no_grad():  # so that not all images are of one class
            network.fc.bias -= network((images - 0.3) / 0.4).mean(0)
        zoo.save(network, tmp_path / name, card)
    return tuple(f"{name}={tmp_path / name}" for name in own)


def test_a_teacher_whose_classes_others_know_too_is_dropped(teachers) -> None:
    result = call("amalgamate", *QUICK, *NEEDED, "--teachers", *teachers[:3], "--keep-teachers", "2", "--name", "a")
    assert result.code == 0, result.err
    assert "kept of 3 teachers by logme: " in result.err
    found = results("a")
    assert set(found["teachers"]) == set(found["usefulness"]) == {"low", "high"}
    assert found["label_space"][3] == {"output": 3, "class": "3", "of": {"low": 3}}
    assert "also" not in found["summary"][0]["metric"]


def test_another_score_ranks_those_of_some_classes(teachers) -> None:
    own = ("--classes", *"56789", "--keep-teachers", "2", "--usefulness", "leep")
    result = call("amalgamate", *QUICK, *NEEDED, "--teachers", *teachers, *own, "--name", "a")
    assert result.code == 0, result.err
    assert len(results("a")["teachers"]) == 2
    assert "left out, they know none of the classes: low" in result.err
    assert "low" not in results("a")["teachers"]


def test_wrong_use_is_one_line(teachers) -> None:
    def error(*own: str) -> str:
        result = call("amalgamate", *QUICK, *NEEDED, "--teachers", *teachers, *own)
        assert result.code == 2, result.err
        return result.error

    assert "unknown score of usefulness 'cka'" in error("--keep-teachers", "2", "--usefulness", "cka")
    assert "keep_teachers: 2 or more, and fewer than the 4 that there are, not 4" in error("--keep-teachers", "4")
    assert "not 1" in error("--keep-teachers", "1")
    assert "only one teacher knows any of 0, 1: amalgamation needs two" in error("--classes", "0", "1")
    assert "usefulness has no effect with all teachers" in error("--usefulness", "leep")
