import pytest

from mentorch.reports._diagnosis import advice, crowds, edges, pairs, split, steps, teacher, warnings
from mentorch.reports._format import MISSING
from mentorch.reports._looks import MANY, looks
from mentorch.reports._read import read
from mentorch.reports._study import Study


@pytest.fixture(scope="module")
def seen(fake, tmp_path_factory):
    folder = fake.run(tmp_path_factory.mktemp("run"), ("scratch", "kd", "pkt"), seeds=2, epochs=3, looks=True)
    return looks(read(folder))


def test_one_row_per_edge_and_the_method_named_once(seen):
    rows = edges(seen)
    assert [row["method"] for row in rows] == ["scratch", "kd", "", "pkt"]
    assert rows[2] == {
        "method": "",
        "edge": "teacher, labels → student: kd",
        "gate weight": "0.5",
        "loss": "0.5",
        "gradient": "1",
        "gradient share %": "90.9",
        "cosine with labels": "\u22120.25",
        "equal at": "0.05",  # ten times as loud with a weight of 0.5
    }
    assert rows[3]["equal at"] == rows[3]["cosine with labels"] == MISSING  # no labels to compare with


def test_who_is_right_and_how_sure(seen):
    kd = next(row for row in pairs(seen) if row["method"] == "kd")
    assert list(kd.values()) == ["kd", "teacher → student", "50.0", "40.0", "30.0", "20.0", "10.0", "1.2", "1.2"]


def test_a_step_is_split_without_remainder(seen):
    parts = split(seen[1])
    assert parts == {"data": 0.001, "teachers": 0.002, "students": 0.002, "losses": 0.001, "backward": 0.004}
    row = steps(seen)[1]
    assert (row["step"], row["backward"], row["teachers"]) == ("10 ms", "40 % · 4 ms", "20 % · 2 ms")
    assert steps(seen)[0]["teachers"] == MISSING


def loud(fake, tmp_path, factor, losses=("kd",)):
    """A run whose transfers are ``factor`` times as loud as the labels, at a weight of 0.5."""
    import json

    folder = fake.run(tmp_path, losses, seeds=2, epochs=2, looks=True)
    for path in folder.glob("fits/*/*/metrics.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            for name, edge in line["diagnosis"]["edges"].items():
                edge["gradient"] = 0.1 if name.startswith("labels") else 0.1 * factor
        path.write_text("\n".join(map(json.dumps, lines)))
    return advice(looks(read(folder)))


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (34, ["kd's gradient is 34 times the labels': weight 0.015 would make them equal."]),
        (1 / 34, ["kd's gradient is 1/34 of the labels': weight 17 would make them equal."]),
        (9, []),
        (1 / 9, []),
        (0, []),
    ],
)
def test_advice_where_one_drowns_the_other(fake, tmp_path, factor, words):
    assert loud(fake, tmp_path, factor) == words


def test_advice_is_short(fake, tmp_path):
    told = loud(fake, tmp_path, 100, tuple("abcdefgh"))
    assert len(told) == 7
    assert told[-1] == "… and 2 more."


def test_a_crowd_is_left_to_the_matrices(fake, tmp_path):
    folder = fake.run(tmp_path, ("m",), seeds=1, epochs=2, looks=True, drawn={"m": fake.mutual(4)})
    found = looks(read(folder))
    assert len(found[0].edges) == 16 > MANY
    assert edges(found) == []
    assert crowds(found) == " Not listed, because of more than 12 edges: m."


def of(fake, views, **changes):
    results = fake.results([], **changes)
    results["teacher"]["views"] = views
    return Study(results)


def test_the_teacher_on_the_students_views(fake):
    (line,) = teacher(of(fake, {"accuracy": 0.912, "entropy": 0.31, "images": 1200}))
    assert line == (
        "On the student's own training views (1,200 images) the teacher is right in 91.2 %, on validation images in "
        "95.0 %; its entropy on the views is 0.31 nats."
    )
    assert teacher(of(fake, None)) == teacher(Study(fake.results([], teacher=None))) == []


def test_the_warnings_of_the_run(fake):
    assert warnings(of(fake, None, warnings=["look\nout", None])) == ["Warning: look out"]
    assert warnings(of(fake, None)) == warnings(of(fake, None, warnings=3)) == []
