import dataclasses
import functools
import json
import math
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from mentorch import transferability as tr
from mentorch import zoo
from mentorch._errors import UsageError
from mentorch.networks import Taps, build, hash_tensors

INPUT = zoo.Input(3, (16, 16), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
KINDS = ("cnn_tiny", "cnn_small", "resnet8", "wrn_10_1")


def put(folder, name, network, seed=0, *, channels=3, classes=5, bare=False, **facts):
    torch.manual_seed(seed)
    arguments = {"num_classes": classes} | ({} if bare else {"in_channels": channels})
    card = zoo.Card(name, network, arguments, input=INPUT, **facts)
    return zoo.save(build(network, **arguments), folder / name, card)


def change(folder, name, tensor, value):
    """Set one tensor of a stored network, and its card's hash with it."""
    tensors = load_file(folder / name / "model.safetensors")
    tensors[tensor].fill_(value)
    save_file(tensors, folder / name / "model.safetensors")
    edit(folder / name, hash=hash_tensors(tensors))


def edit(folder, **changes):
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    for number, kind in enumerate(KINDS):
        put(folder, f"{kind} net", kind, number, dataset="nothing", metrics={"test": {"accuracy": 0.2 + number / 10}})
    return folder


@pytest.fixture
def copy(four, tmp_path):
    return shutil.copytree(four, tmp_path / "zoo")


@pytest.fixture(scope="module")
def target():
    """Three classes of images that differ by where they are bright."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(45) % 3
    images = torch.rand(45, 3, 16, 16, generator=generator)
    for c in range(3):
        images[labels == c, c, 4 * c : 4 * c + 6] += 0.5
    return (images.clamp(0, 1) * 255).byte(), labels


def by_name(ranking):
    return {row.name: row for row in ranking.rows}


def test_every_value_is_that_of_the_score_on_the_networks_own_features(four, target):
    images, labels = target
    scores = (tr.logme, tr.ridge, tr.leep, functools.partial(tr.knn, k=3))
    ranking = tr.rank(four, images, labels, scores=scores)
    assert ranking.scores == ("logme", "ridge", "leep", "knn(k=3)")
    for entry in zoo.entries(four):
        network, card = entry.load()
        fed = (images.float() / 255 - torch.tensor(INPUT.mean)[:, None, None]) / torch.tensor(INPUT.std)[:, None, None]
        seen = tr.observe(network, fed, at="fc:in")
        row = by_name(ranking)[card.name]
        expected = [
            tr.logme(seen.features, labels),
            tr.ridge(seen.features, labels),
            tr.leep(seen.output.softmax(1), labels),
            tr.knn(seen.features, labels, k=3),
        ]
        for name, value in zip(ranking.scores, expected, strict=True):
            assert row.scores[name] == pytest.approx(float(value), abs=1e-5), name
        assert row.parameters == sum(p.numel() for p in network.parameters())
        assert row.macs > 0
        assert row.hash == card.hash
        assert row.own == card.metrics["test"]["accuracy"]
        assert (row.network, row.dataset, row.failure) == (card.network, "nothing", "")
    values = [row.scores["logme"] for row in ranking.rows]
    assert values == sorted(values, reverse=True)
    assert (ranking.samples, ranking.classes) == (45, 3)


def test_the_order_of_the_zoo_and_the_batches_do_not_matter_and_nothing_is_random(four, target):
    first = tr.rank(four, *target)
    state = torch.random.get_rng_state()
    again = tr.rank(reversed(list(zoo.entries(four))), *target, batch_size=7)
    assert torch.equal(state, torch.random.get_rng_state())
    assert [row.name for row in first.rows] == [row.name for row in again.rows]
    for a, b in zip(first.rows, again.rows, strict=True):
        assert dict(a.scores) == pytest.approx(dict(b.scores), abs=1e-5)


def test_who_computes_and_in_which_order_does_not_matter(copy, target):
    shutil.copytree(copy / "resnet8 net", copy / "x")
    edit(copy / "x", name="copy of resnet8")
    calls = []

    def backwards(work, entries):
        found = [(entry, work(entry)) for entry in reversed(list(entries))]
        calls.append(len(found))
        return iter(found)

    expected = tr.rank(copy, *target)
    for engine in (backwards, functools.partial(tr.in_processes, workers=2)):
        found = tr.rank(copy, *target, engine=engine)
        assert [row.name for row in found.rows] == [row.name for row in expected.rows]
        for a, b in zip(found.rows, expected.rows, strict=True):
            assert dict(a.scores) == pytest.approx(dict(b.scores), abs=1e-5)
            assert dataclasses.replace(a, scores={}, seconds=0) == dataclasses.replace(b, scores={}, seconds=0)
    assert calls == [5]


def test_a_network_whose_worker_dies_is_a_row_with_that_reason(four, target):
    def deadly(work, entries):
        return ((entry, "its worker died" if entry.name == "resnet8 net" else work(entry)) for entry in entries)

    row = tr.rank(four, *target, engine=deadly).rows[-1]
    assert (row.name, row.failure, row.network, row.own) == ("resnet8 net", "its worker died", "resnet8", 0.4)


def test_other_sizes_and_gray_images_are_brought_to_what_the_card_says(four, target):
    images, labels = target
    larger = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert not any(row.failure for row in tr.rank(four, larger, labels).rows)
    assert not any(row.failure for row in tr.rank(four, images[:, :1], labels).rows)


def test_each_bad_network_is_a_row_with_its_reason_and_the_rest_is_ranked(copy, target, monkeypatch):
    good = tr.rank(copy, *target).rows
    put(copy, "nan", "cnn_tiny")
    change(copy, "nan", "layer1.0.weight", math.nan)
    put(copy, "constant", "cnn_tiny")
    change(copy, "constant", "layer2.1.weight", 0.0)
    put(copy, "liar", "cnn_tiny")
    edit(copy / "liar", hash="0" * 64)
    put(copy, "depth", "cnn_tiny", channels=4)
    edit(copy / "depth", input=None)
    put(copy, "twin", "cnn_tiny", 7)
    edit(copy / "twin", name="cnn_tiny net")
    put(copy, "gone", "cnn_tiny")
    (copy / "gone/model.safetensors").unlink()
    (copy / "silent.py").write_text(
        "from torch import nn\n"
        "def net(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, num_classes))\n"
    )
    monkeypatch.syspath_prepend(copy)
    put(copy, "silent", "silent:net", bare=True)
    ranking = tr.rank(copy, *target, trust=True)
    sys.modules.pop("silent")
    reasons = {row.name: row.failure for row in ranking.rows if row.failure}
    expected = {
        "nan": "not finite",
        "constant": "the same for all samples",
        "liar": "is not what its card says: hash",
        "depth": "reads 4 channels",
        "cnn_tiny net": "two networks are called 'cnn_tiny net'",
        "gone": r"has a card but no model.safetensors",
        "silent": "does not say where its embedding is",
    }
    assert reasons.keys() == expected.keys()
    for name, text in expected.items():
        assert text in reasons[name], name
    assert ranking.ranked == ranking.rows[: len(good)]
    assert [(r.name, r.scores) for r in ranking.ranked] == [(r.name, r.scores) for r in good]
    assert "7 of 11 networks cannot be ranked" in ranking.warnings


def test_an_address_of_the_user_and_of_the_card(copy, target):
    ranking = tr.rank(copy, *target, at="layer1")
    assert not any(row.failure for row in ranking.rows)
    assert by_name(ranking)["cnn_tiny net"].scores != by_name(tr.rank(copy, *target))["cnn_tiny net"].scores
    edit(copy / "cnn_tiny net", taps={"stem": "layer1", "stages": [], "embedding": "layer1"})
    assert zoo.read(copy / "cnn_tiny net").taps == Taps("layer1", (), "layer1")
    assert by_name(tr.rank(copy, *target))["cnn_tiny net"].scores == by_name(ranking)["cnn_tiny net"].scores
    assert all("unknown module" in row.failure for row in tr.rank(copy, *target, at="layer99").rows)


def test_scores_that_say_nothing_warn_on_their_row(four, target):
    images, labels = target
    ranking = tr.rank(four, images[:12], labels[:12], scores=(tr.logme, tr.h_score))
    told = [text for row in ranking.rows for text in row.warnings]
    assert any(text.startswith("h_score") for text in told)


def test_same_weights_under_two_names_are_told(copy, target):
    shutil.copytree(copy / "resnet8 net", copy / "x")
    edit(copy / "x", name="copy of resnet8")
    ranking = tr.rank(copy, *target)
    assert "the same weights as resnet8 net" in by_name(ranking)["copy of resnet8"].warnings
    assert any("the same value: their order means nothing" in text for text in ranking.warnings)


def test_a_card_without_an_input_is_told(copy, target):
    edit(copy / "cnn_tiny net", input=None)
    row = by_name(tr.rank(copy, *target))["cnn_tiny net"]
    assert "does not say what it is fed" in row.warnings[0]


def test_absent_classes_are_a_note_and_change_nothing_else(four, target):
    images, labels = target
    ranking = tr.rank(four, images, labels * 2, classes=7)
    assert "4 of 7 classes of the target have no image here" in ranking.warnings
    assert [row.scores for row in ranking.rows] == [row.scores for row in tr.rank(four, images, labels).rows]


def test_similarity_to_a_reference_is_largest_for_itself(four, target):
    reference = zoo.load(four / "resnet8 net")
    scores = (tr.cka, tr.rsa, tr.depara)
    ranking = tr.rank(four, *target, scores=scores, reference=reference, probes=20)
    for score in ranking.scores:
        best = max(ranking.rows, key=lambda row: row.column(score))
        assert best.name == "resnet8 net", score
    assert ranking.rows[0].scores["cka"] == pytest.approx(1)
    assert ranking.rows[0].scores["depara"] == pytest.approx(2)
    with pytest.raises(UsageError, match="cka compares with a network that is good at the target: name a reference"):
        tr.rank(four, *target, scores=(tr.cka,))


def test_attributions_that_are_all_zero_are_no_score_of_that_network_alone(copy, target):
    put(copy, "blind", "cnn_tiny")
    change(copy, "blind", "layer1.0.weight", 0.0)
    reference = zoo.load(copy / "resnet8 net")
    ranking = tr.rank(copy, *target, scores=(tr.depara,), reference=reference, probes=10)
    row = by_name(ranking)["blind"]
    assert row.failure or math.isnan(row.scores["depara"])
    assert len(ranking.ranked) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(45, dtype=torch.long)}, r"rank: all samples are of class \[0\]"),
        ({"labels": torch.zeros(44, dtype=torch.long)}, "45 samples have 44 labels"),
        ({"labels": torch.rand(45)}, "one integer class per sample"),
        ({"scores": ()}, "at least one score"),
        ({"scores": (max,)}, "max is not a score"),
        ({"scores": ("logme",)}, "logme is not a score"),
    ],
)
def test_wrong_targets_and_scores_are_errors_at_once(four, target, change, message):
    asked = {"labels": target[1]} | change
    with pytest.raises(UsageError, match=message):
        tr.rank(four, target[0], asked.pop("labels"), **asked)


def test_a_zoo_of_nothing_is_an_error(tmp_path, target):
    with pytest.raises(UsageError, match="nothing to rank"):
        tr.rank(tmp_path, *target)
    with pytest.raises(UsageError, match="is not a folder"):
        tr.rank(tmp_path / "gone", *target)


def test_each_row_is_told_when_it_is_done(four, target):
    told = []
    ranking = tr.rank(four, *target, on_row=told.append)
    assert {row.name for row in told} == {row.name for row in ranking.rows}
    assert all(row.seconds > 0 for row in told)


def test_known_rows_are_taken_as_they_are_and_the_rest_is_looked_at(four, target):
    whole = tr.rank(four, *target, scores=(tr.ridge,))
    told = []
    known = {entry.folder: row for entry in zoo.entries(four) for row in whole.rows[:2] if row.name == entry.name}
    known = {folder: dataclasses.replace(row, seconds=-1.0) for folder, row in known.items()}
    again = tr.rank(four, *target, scores=(tr.ridge,), known=known, on_row=lambda row: told.append(row.name))
    assert [row.name for row in again.rows] == [row.name for row in whole.rows]
    assert [row.scores for row in again.rows] == [row.scores for row in whole.rows]
    assert [row.seconds == -1 for row in again.rows] == [True, True, False, False]
    assert sorted(told) == sorted(row.name for row in whole.rows[2:])
