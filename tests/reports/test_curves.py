import json
import re

import pytest

from mentorch.reports._curves import curves, over_seeds, shares
from mentorch.reports._read import read


def test_over_seeds_keeps_finite_values_in_order():
    histories = [[{"epoch": 2, "v": 0.5}, {"epoch": 1, "v": float("nan")}], [{"epoch": 1, "v": 0.1}, {"epoch": 2}]]
    assert over_seeds(histories, "v") == {1: [0.1], 2: [0.5]}


def test_accuracy_and_cross_entropy_with_the_teacher_as_a_line(fake, tmp_path):
    accuracy, entropy = curves(read(fake.run(tmp_path)))
    assert (accuracy.name, entropy.name) == ("accuracy", "cross-entropy")
    for picture in (accuracy, entropy):
        words = re.findall(r"<text[^>]*>([^<]*)</text>", picture.svg)
        assert {"scratch", "kd", "dkd", "teacher", "epoch"} <= set(words)
        assert picture.png.startswith(b"\x89PNG")


def test_a_teacher_known_on_test_only_says_so(fake, tmp_path):
    folder = fake.run(tmp_path)
    fake.edit(folder, lambda results: results["teacher"].pop("validation"))
    assert "teacher (test)" in curves(read(folder))[0].svg


def test_an_untrained_classifier_has_no_accuracy_curve_and_the_caption_says_so(fake, tmp_path):
    accuracy = curves(read(fake.run(tmp_path, ("scratch", "pkt"))))[0]
    assert ">pkt<" not in accuracy.svg
    assert "Not shown, because no loss trains its classifier: pkt." in accuracy.caption


def test_knn_per_epoch_is_drawn_for_every_method(fake, tmp_path):
    folder = fake.run(tmp_path, ("pkt",), seeds=1)
    path = folder / "fits/pkt/seed-0/metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["validation"]["student"] = {"knn": 0.5}
    path.write_text("\n".join(map(json.dumps, lines)))
    (picture,) = curves(read(folder))
    assert picture.name == "knn"
    assert ">pkt<" in picture.svg


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_any_number_of_epochs(fake, tmp_path, epochs):
    run = read(fake.run(tmp_path, ("scratch", "kd"), seeds=2, epochs=epochs))
    assert len(curves(run)) == 2
    (terms,) = shares(run)  # scratch has one term: nothing to see
    assert "teacher -&gt; student: kd" in terms.svg


def test_ticks_of_a_single_epoch_are_whole(fake, tmp_path):
    svg = curves(read(fake.run(tmp_path, ("kd",), seeds=1, epochs=1)))[0].svg
    axis = svg[svg.index('id="matplotlib.axis_1"') : svg.index('id="matplotlib.axis_2"')]
    assert [word for word in re.findall(r">([\d.]+)</text>", axis) if "." in word] == []


def test_no_history_draws_nothing(fake, tmp_path):
    folder = fake.run(tmp_path, ("kd",), seeds=1)
    (folder / "fits/kd/seed-0/metrics.jsonl").write_text("")
    assert curves(read(folder)) == shares(read(folder)) == []
