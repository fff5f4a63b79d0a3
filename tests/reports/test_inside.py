import re

from mentorch.reports._inside import CHOSEN, inside
from mentorch.reports._looks import looks
from mentorch.reports._read import read


def draw(folder):
    return inside(looks(read(folder)))


def words(picture):
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture.svg)


def test_shares_of_the_gradient_and_who_is_right(fake, tmp_path):
    gradient, right = draw(fake.run(tmp_path, ("scratch", "kd"), seeds=2, epochs=3, looks=True))
    assert (gradient.kind, right.kind) == ("gradients", "right")
    assert {"labels → student: cross_entropy", "teacher, labels → student: kd"} <= set(words(gradient))
    assert {"both are right", "only teacher", "only student", "neither"} <= set(words(right))
    assert gradient.svg.count("url(#") >= 1  # hatched: told apart without colour


def test_no_looks_no_pictures(fake, tmp_path):
    assert draw(fake.run(tmp_path, ("scratch", "kd"), seeds=1)) == []


def test_a_page_is_not_flooded(fake, tmp_path):
    found = draw(fake.run(tmp_path, tuple("abcdefghij"), seeds=1, epochs=2, looks=True))
    assert [sum(p.kind == kind for p in found) for kind in ("gradients", "right")] == [CHOSEN, CHOSEN]
    assert len({picture.name for picture in found}) == len(found)


def test_several_learners_have_a_picture_each_and_a_matrix(fake, tmp_path):
    found = draw(fake.run(tmp_path, ("m",), seeds=1, epochs=5, looks=True, drawn={"m": fake.mutual(3)}))
    assert [picture.kind for picture in found] == ["gradients"] * 3 + ["right"] * 3 + ["matrix"]
    assert found[0].caption == "m, into a"
    told = words(found[-1])
    assert [word for word in told if "epoch" in word] == [
        f"{what}, epoch {epoch}" for what in ("share of the gradient", "agreement") for epoch in (1, 3, 5)
    ]
    # each receiver: labels 1, others 10 each; agreement 0.5 between nodes, accuracy on the diagonal
    assert told.count("48") == 3 * 6
    assert told.count("5") == 3 * 3
    assert told.count("50") == 3 * 6


def test_a_crowd_has_its_matrix_only(fake, tmp_path):
    found = draw(fake.run(tmp_path, ("m",), seeds=1, epochs=1, looks=True, drawn={"m": fake.mutual(5)}))
    assert [picture.kind for picture in found] == ["matrix"]
    assert "share of the gradient, epoch 1" in words(found[0])


def test_two_learners_need_no_matrix(fake, tmp_path):
    found = draw(fake.run(tmp_path, ("m",), seeds=1, epochs=2, looks=True, drawn={"m": fake.mutual(2)}))
    assert "matrix" not in [picture.kind for picture in found]


def test_edges_with_the_same_ends_and_loss_go_by_their_names(fake, tmp_path):
    graph = fake.graph("kd")
    graph["edges"].append(graph["edges"][1] | {"name": "kd at another temperature"})
    gradient, _ = draw(fake.run(tmp_path, ("kd",), seeds=1, epochs=2, looks=True, drawn={"kd": graph}))
    assert {"teacher, labels -> student: kd", "kd at another temperature"} <= {
        w.replace("&gt;", ">") for w in words(gradient)
    }
