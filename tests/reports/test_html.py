from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mentorch.reports._format import MISSING, text
from mentorch.reports._html import POLICY, document, facts_table, html_table, listed, section, words_of

anything = st.text().map(text)  # one line, as whatever is shown

TAGS = ("section", "h2", "div", "table", "thead", "tbody", "tr", "th", "td", "ul", "li")


class Tree(HTMLParser):
    """Tags in their order, each with its words, and whether they match."""

    def __init__(self, page):
        super().__init__()
        self.open, self.found = [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append([tag, dict(attrs), ""])
        if tag not in ("br", "meta"):
            self.open.append(self.found[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1][2] += data

    def words(self, *tags):
        return [words for tag, _, words in self.found if tag in tags]


def shown(value):
    return value.replace(" %", "\u00a0%")


@settings(max_examples=30)
@given(anything, st.lists(anything, min_size=1, max_size=3), st.lists(anything, min_size=1, max_size=3))
def test_words_are_shown_and_never_become_tags(title, names, cells):
    rows = [dict(zip(names, cells, strict=False))] * 2
    tree = Tree(section(title, html_table(rows) + listed(cells) + facts_table(rows[0]), 2))
    assert tree.words("h2") == [shown(title)]
    keys, values = map(list, (rows[0], rows[0].values()))
    table = [*keys, *values, *values]
    assert tree.words("th", "td")[: len(table)] == [shown(word) for word in table]
    assert tree.words("li") == [shown(word) for word in cells]
    assert tree.words("th", "td")[len(table) :] == [shown(word) for pair in rows[0].items() for word in pair]
    assert {tag for tag, _, _ in tree.found} <= {*TAGS}


@settings(max_examples=30)
@given(anything)
def test_a_page_refuses_scripts_and_names_itself(title):
    page = document(title, "<p>body</p>")
    tree = Tree(page.removeprefix("<!doctype html>"))
    assert tree.words("title") == [shown(f"{title} · mentorch")]
    metas = [attributes for tag, attributes, _ in tree.found if tag == "meta"]
    assert {"http-equiv": "Content-Security-Policy", "content": POLICY} in metas
    assert "default-src 'none'" in POLICY
    assert "script" not in POLICY
    assert [tag for tag, _, _ in tree.found if tag in ("script", "link", "img")] == []
    assert "://" not in page.replace(words_of(title), "")


def test_what_is_empty_is_nothing():
    assert section("Cost", "", 2) == html_table([]) == facts_table({}) == listed([]) == ""


def test_the_first_column_heads_its_row_and_gives_way_when_long():
    tree = Tree(html_table([{"method": "kd", "a": "1"}, {"method": "k" * 21, "a": "2"}], "wide"))
    heads = [attributes for tag, attributes, _ in tree.found if tag == "th"]
    assert heads == [{"scope": "col"}, {"scope": "col"}, {"scope": "row"}, {"scope": "row", "class": "long"}]
    assert ("table", {"class": "wide"}) in [(tag, attributes) for tag, attributes, _ in tree.found]
    assert tree.found[0][1]["tabindex"] == "0"  # a table that is wider than the page scrolls, also by keyboard


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, MISSING),
        (3, "3"),
        ("a < b", "a &lt; b"),
        ([1, None, "<"], "[1, null, &quot;&lt;&quot;]"),
        ({"a": 1, "<b>": {"c": None}}, f"a: 1<br>&lt;b&gt;: c: {MISSING}"),
        ("5 %", "5\u00a0%"),
        ("one\ntwo\x00", "one two\ufffd"),
    ],
)
def test_values_of_any_kind_are_a_cell(value, cell):
    assert f"<td>{cell}</td>" in facts_table({"name": value})
