from pathlib import Path

import pytest
import yaml

from mentorch import RunError, UsageError
from mentorch.cli._recipe import TrainRecipe
from mentorch.cli._transfer import CompareRecipe
from mentorch.cli._yaml import read_recipe, write_recipe

GRAPH = """command: graph
nodes:
  a:
    network: cnn_tiny
edges:
  - source: labels
    target: a
    loss: cross_entropy
  - source: labels
    target: a
    {wrong}
"""


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("command: train\nepochs: 2\nepoch: 3\n", 3, "unknown option 'epoch': did you mean 'epochs'"),
        ("command: train\n\n# why\nlr: fast\n", 4, "lr: .*got 'fast'"),
        ("command: train\nlr: -1\n", 2, "lr: .*got -1"),
        ("command: train\nseeds: [0, one]\n", 2, "seeds.1: .*got 'one'"),
        ("command: train\nseeds:\n- 0\n- one\n", 4, "seeds.1: .*got 'one'"),
        ("command: train\nlr: [1\n", 3, "not YAML"),
        ("command: train\n\tlr: 1\n", 2, "not YAML"),
        ("command: train\nname: !!python/object/apply:os.system ['touch owned']\n", 2, "not YAML"),
        ("command: train\nname: !!python/name:os.system\n", 2, "not YAML"),
        ("command: compare\ntap:\n  student.embedding: [1]\n", 3, "tap.student.embedding: "),
        ("command: compare\nset:\n  beta: 1\n  temperature: 2\nmethods: [kd]\n", 3, "beta has no effect"),
        ("command: compare\nlr: 1\nrho: 0.5\n", 3, "rho has no effect"),
        (GRAPH.format(wrong="losss: kd"), 9, "edges.1.loss: Field required"),
        (GRAPH.format(wrong="loss: kd\n    weight: 2"), 12, "unknown option 'edges.1.weight'"),
        (GRAPH.format(wrong="loss: [kd]"), 11, "edges.1.loss"),
        (GRAPH.replace("network", "net").format(wrong="loss: kd"), 3, "nodes.a.network: Field required"),
    ],
)
def test_an_error_names_the_file_and_the_line(
    tmp_path: Path, monkeypatch, text: str, line: int, complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("asked.yaml")
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"^asked.yaml, line {line}: {complaint}") as error:
        read_recipe(path)
    assert "\n" not in str(error.value)
    assert not Path("owned").exists()


def test_an_error_that_no_line_makes_names_none(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("command: graph\nnodes: {a: {network: cnn_tiny}}\n")
    with pytest.raises(UsageError, match=r"r.yaml: a graph has edges or a preset"):
        read_recipe(path)


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n", "3\n", "null\n"])
def test_a_recipe_is_a_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="a recipe is a mapping of options"):
        read_recipe(path)


@pytest.mark.parametrize("text", ["epochs: 2\n", "command: trian\n", "command: [train]\n", "1: 2\n"])
def test_a_recipe_says_which_command_it_is_for(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="command must be one of train, compare, distill, graph"):
        read_recipe(path)


def test_a_key_that_is_no_word_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("command: train\n7: 2\n")
    with pytest.raises(UsageError, match=r"line 2: .*7"):
        read_recipe(path)


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("command: train\nlr: 0.1\nepochs: 1\nlr: 0.2\n")
    with pytest.raises(UsageError, match=r"line 4: .*'lr' is there twice"):
        read_recipe(path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "r.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"cannot read recipe .*r.yaml"):
        read_recipe(path)


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot read recipe"):
        read_recipe(tmp_path)


def test_numbers_and_lists_may_be_written_as_people_do(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("command: compare\nlr: 1e-3\nmethods: kd, pkt\nweight: kd=2\nteacher: my networks/big\n")
    recipe = read_recipe(path)
    assert isinstance(recipe, CompareRecipe)
    assert (recipe.lr, recipe.methods, recipe.weight) == (1e-3, ("kd", "pkt"), {"kd": 2.0})
    assert recipe.teacher == ("my networks/big",)


def test_a_written_recipe_starts_with_its_command_and_is_plain(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    write_recipe(path, TrainRecipe(name="größe", lr=1e-8))
    text = path.read_text(encoding="utf-8")
    assert text.startswith("command: train\n")
    assert "name: größe\n" in text
    assert "!!" not in text
    plain = yaml.safe_load(text)
    assert "rho" not in plain  # adam has none
    assert None not in plain.values()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)),
            "unfolds to more than 100,000 values",
        ),
        ("command: train\nset: &a {x: *a}\n", "unfolds to more than 100,000 values"),
        ("command: " + "[" * 5000, "nested too deeply"),
        ("command: train\nname: 2001-99-99\n", "a value cannot be read .*month"),
        ("command: train\nseeds: !!int ''\n", "a value cannot be read"),
        ("command: train\nseeds: [-0x" + "f" * 9000 + "]", "seeds.0: .*got a number of thousands of digits"),
        ("command: train\nname: '\x00'\n", "not YAML: unacceptable character"),
    ],
)
def test_a_hostile_recipe_is_one_short_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=complaint) as error:
        read_recipe(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_references_may_stand_for_what_is_repeated(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("command: train\nseeds: &s [0, 1]\nlr_milestones: *s\nlr_schedule: multistep\n")
    assert read_recipe(path).lr_milestones == (0, 1)
