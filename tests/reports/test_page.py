import re
from html.parser import HTMLParser

import pytest

from mentorch import reports

VOID = {"meta", "br", "link", "img", "hr"}


class Outline(HTMLParser):
    """Collects what a page shows, what it would load, and whether its tags match."""

    def __init__(self, page):
        super().__init__()
        self.open, self.loads, self.headings, self.title, self.broken = [], [], [], "", []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        attributes = dict(attrs)
        addresses = [
            attributes.get(name) for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset")
        ]
        self.loads += [found for found in addresses if found and not found.startswith("#")]
        self.loads += [tag] * (tag in {"script", "link", "iframe", "object", "embed", "base"})

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.broken.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] in {"h1", "h2", "h3"}:
            self.headings.append(data)
        if self.open and self.open[-1] == "title" and "svg" not in self.open:
            self.title += data


def test_sections_in_their_order(fake, tmp_path):
    page = Outline(reports.write(fake.run(tmp_path)).read_text())
    assert page.title == "digits-demo · mentorch"
    assert page.headings == [
        "digits-demo",
        "Results",
        "Other measures, test split, best-validation epoch",
        "Training curves",
        "Loss terms",
        "Accuracy and size",
        "Knowledge transfer graphs",
        "Cost",
        "Data",
        "Configuration",
        "Environment",
        "How to reproduce",
    ]
    assert (page.open, page.broken) == ([], [])


def test_the_diagnosis_has_its_parts(fake, tmp_path):
    drawn = {"mutual": fake.mutual(3)}
    folder = fake.run(tmp_path, ("scratch", "kd", "mutual"), seeds=1, epochs=2, looks=True, drawn=drawn)
    fake.edit(folder, lambda results: results.update(warnings=["the teacher is <lost>"]))
    text = reports.write(folder).read_text()
    page = Outline(text)
    start = page.headings.index("Diagnosis")
    assert page.headings[start - 1 : start + 8] == [
        "Loss terms",
        "Diagnosis",
        "Edges",
        "Shares of the gradient",
        "Agreement",
        "Who is right",
        "Who tells whom",
        "What a step is spent on",
        "Accuracy and size",
    ]
    assert (page.open, page.broken, page.loads) == ([], [], [])
    assert "Warning: the teacher is &lt;lost&gt;" in text
    assert "learns \\ from" in text
    summary = (folder / "summary.md").read_text()
    assert "## Diagnosis" in summary
    assert "* Warning: the teacher is &lt;lost&gt;" in summary


def test_the_page_says_what_is_in_the_files(fake, tmp_path):
    page = reports.write(fake.run(tmp_path)).read_text()
    for words in (
        "not the full set: 1200 of 1437 records",
        "methods: [scratch, kd]  # &lt;b&gt;verbatim &amp; escaped&lt;/b&gt;",
        "mentorch run recipe.yaml",
        "2.13.0",
        "9.92x",
        "points above scratch",
    ):
        assert words in page


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_page_loads_nothing(fake, tmp_path, seeds):
    text = reports.write(fake.run(tmp_path, seeds=seeds)).read_text()
    assert Outline(text).loads == []
    assert not re.search(r"url\((?!#)|@import|://", text)
    assert "default-src 'none'" in text


def test_hostile_names_are_shown_not_run(fake, tmp_path):
    evil = '<script>alert("1")</script>\'&\x00'
    folder = fake.run(tmp_path, ("scratch", "kd"), seeds=2, name=evil, data={"name": evil, evil: evil, "note": evil})

    def spoil(results):
        for row in results["rows"][2:]:
            row["method"] = evil
            row["graph"]["edges"][0]["loss"] = row["graph"]["nodes"][0]["network"] = evil
        results["rows"].append({"method": evil, "node": evil, "seed": evil, "error": evil})
        results["teacher"]["network"] = results["kind"] = results["created"] = evil

    fake.edit(folder, spoil)
    (folder / "recipe.yaml").write_text(evil)
    page = reports.write(folder).read_text()
    outline = Outline(page)
    assert (outline.loads, outline.open, outline.broken) == ([], [], [])
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_failures_and_missing_files_are_shown(fake, tmp_path):
    folder = fake.run(tmp_path, ("scratch", "kd"), seeds=1)
    fake.edit(folder, lambda r: r["rows"].append({"method": "dkd", "seed": 0, "error": "NaN loss on edge 'x'"}))
    (folder / "recipe.yaml").unlink()
    page = reports.write(folder).read_text()
    assert "dkd, seed 0: NaN loss on edge &#x27;x&#x27;" in page
    assert "Missing from this run" in page
    assert "Configuration" not in Outline(page).headings
