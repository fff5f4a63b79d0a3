import dataclasses

import pytest
import torch

from mentorch import methods, networks, zoo
from mentorch import transferability as tr
from mentorch._errors import RunError, UsageError
from mentorch._freeze import is_frozen
from mentorch.data import Dataset, Split
from mentorch.zoo import Card, Input

CLASSES = ("red", "green", "blue")
INPUT = Input(3, (12, 12), (0.5,) * 3, (0.25,) * 3)


def colours(count, seed):
    """Images whose class is the channel that is bright."""
    labels = torch.arange(count) % 3
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 0.5
    images[torch.arange(count), labels] += 0.5
    return Split((images * 255).byte(), labels, torch.arange(count))


@pytest.fixture(scope="module")
def target():
    parts = {
        name: colours(count, i) for i, (name, count) in enumerate((("train", 60), ("validation", 12), ("test", 12)))
    }
    return Dataset.of("colours", classes=CLASSES, **parts)


def put(folder, name, classes, *, seed=0, kind="cnn_tiny"):
    torch.manual_seed(seed)
    arguments = {"num_classes": len(classes), "in_channels": 3}
    card = Card(name, kind, arguments, classes=classes, input=INPUT)
    zoo.save(networks.build(kind, **arguments), folder / name, card)


def student():
    torch.manual_seed(9)
    return networks.cnn_tiny(3)


def lines(graph):
    return [f"{', '.join(edge.sources)} -> {', '.join(edge.targets)}" for edge in graph.edges]


def test_the_best_teach_and_see_images_as_their_cards_say(tmp_path, target):
    for number, kind in enumerate(("cnn_tiny", "cnn_small", "cnn_medium")):
        put(tmp_path, kind, CLASSES, seed=number, kind=kind)
    found = methods.suggest(tmp_path, target, student(), k=2)
    expected = tr.rank(tmp_path, target.train.images, target.train.labels, scores=(tr.logme,))
    assert [row.name for row in found.teachers.values()] == [row.name for row in expected.ranked[:2]]
    assert found.kind == "distill"
    assert lines(found.graph) == ["labels -> student", "teacher1 -> student", "teacher2 -> student"]
    assert [edge.gate for edge in found.graph.edges] == pytest.approx([0.1, 0.45, 0.45])
    for name, row in found.teachers.items():
        assert is_frozen(found.graph.nodes[name])
        assert networks.state_hash(found.graph.nodes[name]) == row.hash
    images = target.train.images[:6].float() / 255
    losses = found.graph(images, labels=target.train.labels[:6])
    assert len(losses) == 3
    sum(losses.values()).backward()
    assert found.graph.nodes["student"].fc.weight.grad.abs().sum() > 0
    torch.testing.assert_close(found.graph.views["teacher1"](images), zoo.Prepare(INPUT)(images))


def test_teachers_of_other_classes_teach_relations_beside_the_labels(tmp_path, target):
    put(tmp_path, "other", ("a", "b"))
    found = methods.suggest(tmp_path, target, student())
    assert found.kind == "features"
    assert lines(found.graph) == ["labels -> student", "teacher.fc:in -> student.fc:in"]
    assert len(found.graph(target.train.images[:6].float() / 255, labels=target.train.labels[:6])) == 2


def test_teachers_who_only_together_know_the_classes_are_amalgamated(tmp_path, target):
    put(tmp_path, "warm", ("red", "violet"))
    put(tmp_path, "cold", ("blue", "green"), seed=1)
    images = target.train.images[:6].float() / 255
    found = methods.suggest(tmp_path, target, student(), k=2, example=(images, target.train.labels[:6]))
    assert found.kind == "amalgamate"
    assert lines(found.graph) == ["teacher1, teacher2 -> student"]
    (loss,) = found.graph(images).values()
    assert loss.isfinite()
    assert methods.suggest(tmp_path, target, student(), k=1).kind == "features"
    # the same classes in another order are known together, but not as logits in this order
    put(tmp_path, "mixed", ("blue", "green", "red"), seed=2, kind="cnn_medium")
    assert methods.suggest(tmp_path, target, student(), k=3).kind == "amalgamate"


def test_a_ranking_is_not_made_twice(tmp_path, target, monkeypatch):
    put(tmp_path, "a", CLASSES)
    ranking = tr.rank(tmp_path, target.train.images, target.train.labels)
    monkeypatch.setattr("mentorch.methods._suggest.rank", None)
    found = methods.suggest(ranking, target, student())
    assert found.ranking is ranking


def test_wrong_requests(tmp_path, target):
    put(tmp_path, "a", CLASSES)
    for k in (0, 2):
        with pytest.raises(UsageError, match=f"between 1 and the 1 networks that can be ranked, not {k}"):
            methods.suggest(tmp_path, target, student(), k=k)
    (tmp_path / "a/model.safetensors").unlink()
    with pytest.raises(RunError, match=r"no network of the zoo can be ranked.*has a card but no model"):
        methods.suggest(tmp_path, target, student())


def test_the_target_needs_two_classes(tmp_path, target):
    put(tmp_path, "a", CLASSES)
    one = dataclasses.replace(target, train=target.train.select(torch.arange(0, 60, 3)))
    with pytest.raises(UsageError, match="all samples are of class"):
        methods.suggest(tmp_path, one, student())
