import xml.etree.ElementTree as ElementTree

import pytest

from mentorch.reports._plot import INK, line_style, plot


def draw(name):
    def inside(axes):
        (line,) = axes.plot([1, 2], [1, 2], **line_style(0))
        return {name: line}

    return plot("curves", "x", "label <&", "caption", inside)


def test_the_same_data_give_the_same_bytes():
    one, two = draw("kd"), draw("kd")
    assert (one.svg, one.png) == (two.svg, two.png)
    assert "<dc:date>" not in one.svg


@pytest.mark.parametrize("name", ["$x_1$", "_hidden", "<b>&", "网络 🎓", "x" * 300])
def test_any_name_may_stand_in_a_legend(name):
    picture = draw(name)  # warnings are errors here: no missing glyph, no ignored label
    ElementTree.fromstring(picture.svg)
    words = "".join(ElementTree.fromstring(picture.svg).itertext())
    assert (name if len(name) < 40 else name[:10]) in words


def test_inline_takes_the_colours_of_the_page_and_no_ids_of_its_own():
    inline = draw("kd").inline()
    assert inline.startswith("<svg viewBox=")
    assert INK not in inline
    assert "var(--ink)" in inline
    assert "://" not in inline
    assert 'aria-label="label &lt;&amp;"' in inline
    assert 'id="figure_1"' not in inline


def test_settings_of_matplotlib_are_left_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw("kd")
    assert dict(matplotlib.rcParams) == before


def test_line_styles_differ_without_colour():
    looks = {(str(line_style(i)["linestyle"]), line_style(i)["marker"]) for i in range(12)}
    assert len(looks) == 12
