import csv
import re

import pytest

from mentorch.reports._format import MISSING
from mentorch.reports._generations import generations, generations_figure
from mentorch.reports._page import page
from mentorch.reports._read import read
from mentorch.reports._study import Study
from mentorch.reports._write import write


def rows(fake, seeds=2, slim=True):
    """Three generations: the dense network at 50, 60, 70 %, the slim one at 10, 40, 70 %; scratch at 60 %."""
    found = [fake.row("scratch", seed, 0.602) for seed in range(seeds)]
    for number in (1, 2, 3):
        name = "evolve" if number == 3 else f"generation {number}"
        for narrow, accuracy in ((False, 0.402 + 0.1 * number), (True, 0.302 * number - 0.2 + 0.002)):
            for seed in range(seeds if slim or not narrow else 0):
                label = f"{name} slim" if narrow else name
                row = fake.row(label, seed, accuracy + 0.01 * seed) | {"generation": number, "slim": narrow}
                found.append(row | {"trained_samples": 1000 * number, "history": None})
    return found


def test_a_row_per_generation_with_both_networks(fake):
    found = generations(Study(fake.results(rows(fake), select="last")))
    assert [row["generation"] for row in found] == ["1", "2", "3"]
    assert [row["trained samples"] for row in found] == ["1,000", "2,000", "3,000"]
    assert found[0]["dense, test accuracy %"].startswith("50.5 ± ")
    assert found[2]["slim, test accuracy %"].startswith("71.1 ± ")


def test_without_slim_networks_there_is_no_column_of_them(fake):
    found = generations(Study(fake.results(rows(fake, slim=False))))
    assert list(found[0]) == ["generation", "trained samples", "dense, test accuracy %"]


def test_a_run_without_generations_has_neither_table_nor_figure(fake, tmp_path):
    study = read(fake.run(tmp_path)).study
    assert generations(study) == []
    assert generations_figure(study) is None


@pytest.mark.parametrize("baseline", [True, False])
def test_the_figure_has_both_networks_and_a_line_for_the_single_training(fake, baseline):
    shown = [row for row in rows(fake) if baseline or row["method"] != "scratch"]
    picture = generations_figure(Study(fake.results(shown)), "2-")
    words = set(re.findall(r"<text[^>]*>([^<]*)</text>", picture.svg))
    assert {"dense", "slim", "generation", "1", "2", "3"} <= words
    assert ("scratch" in words) == ("single training" in picture.caption) == baseline
    assert picture.name == "2-generations"


def test_a_generation_that_failed_is_left_out(fake):
    found = rows(fake, seeds=1)
    found[-1] = {"method": "evolve slim", "seed": 0, "error": "a loss became NaN", "generation": 3, "slim": True}
    told = generations(Study(fake.results(found)))
    assert told[2]["slim, test accuracy %"] == MISSING
    assert generations_figure(Study(fake.results(found))) is not None


def test_page_summary_and_table_of_all_rows_have_them(fake, tmp_path):
    folder = fake.run(tmp_path)
    fake.edit(folder, lambda results: results.update(rows=rows(fake)))
    write(folder)
    assert (folder / "figures/generations.png").read_bytes().startswith(b"\x89PNG")
    assert "## Generations" in (folder / "summary.md").read_text()
    lines = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert [(line["generation"], line["slim"]) for line in lines[2::2]][:3] == [
        ("1", "False"),
        ("1", "True"),
        ("2", "False"),
    ]
    assert lines[0]["generation"] == ""
    assert "Generations</h2>" in page([(read(folder), [])])
