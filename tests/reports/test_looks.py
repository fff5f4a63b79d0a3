import json

import pytest

from mentorch.reports._looks import accuracy_in, flat, looks
from mentorch.reports._read import read


def of(folder):
    return {found.method: found for found in looks(read(folder))}


def test_older_runs_have_no_looks(fake, tmp_path):
    assert looks(read(fake.run(tmp_path, ("scratch", "kd"), seeds=1))) == []


def test_numbers_are_found_by_where_they_stood(fake, tmp_path):
    kd = of(fake.run(tmp_path, ("scratch", "kd"), seeds=2, epochs=3, looks=True))["kd"]
    assert [sorted(seed) for seed in kd.seeds] == [[1, 2, 3]] * 2
    assert [link.loss for link in kd.edges] == ["cross_entropy", "kd"]
    assert kd.labels_of(kd.edges[1]) == kd.edges[0]
    assert kd.labels_of(kd.edges[0]) is None
    assert kd.pairs == [("teacher", "student")]
    assert kd.median("edges", kd.edges[1].name, "share") == pytest.approx(10 / 11)
    assert kd.at_the_end("nodes", "student", "entropy") == pytest.approx(1.2)
    assert kd.median("edges", "unknown", "share") is None


def test_closed_edges_count_as_nothing_in_the_mean(fake, tmp_path):
    folder = fake.run(tmp_path, ("kd",), seeds=1, epochs=4, looks=True)
    path = folder / "fits/kd/seed-0/metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    name = "teacher, labels -> student: kd"
    for line in lines[:2]:
        del line["diagnosis"]["edges"][name]
    path.write_text("\n".join(map(json.dumps, lines)))
    kd = of(folder)["kd"]
    assert kd.mean("edges", name, "share") == pytest.approx(10 / 11 / 2)
    assert kd.median("edges", name, "share") == pytest.approx(10 / 11)


def test_pairs_count_once_in_whichever_direction(fake, tmp_path):
    folder = fake.run(tmp_path, ("m",), seeds=1, looks=True, drawn={"m": fake.mutual(3)})
    assert {frozenset(pair) for pair in of(folder)["m"].pairs} == set(map(frozenset, ("ab", "ac", "bc")))
    assert len(of(folder)["m"].pairs) == 3


def test_accuracy_of_source_and_target():
    pair = {"source": "a", "target": "b", "both": 0.5, "source_only": 0.25, "target_only": 0.125}
    look = flat({"pairs": [pair]})
    assert (accuracy_in(look, "a"), accuracy_in(look, "b"), accuracy_in(look, "c")) == (0.75, 0.625, None)


@pytest.mark.parametrize(
    "odd",
    [None, 3, [], {"edges": 3, "cosines": {}, "pairs": "x", "seconds": None, "nodes": []},
     {"edges": {"e": {"loss": float("nan"), "share": "x"}}, "cosines": [1, {"edges": ["e"], "cosine": 1}],
      "pairs": [{}]}],
)  # fmt: skip
def test_odd_entries_say_nothing(odd):
    assert flat(odd) == {}
