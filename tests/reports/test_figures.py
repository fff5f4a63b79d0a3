import re

from mentorch.reports._figures import pictures, sizes
from mentorch.reports._read import read


def test_ticks_are_the_sizes_of_the_networks(fake, tmp_path):
    picture = sizes(read(fake.run(tmp_path)))
    words = re.findall(r"<text[^>]*>([^<]*)</text>", picture.svg)
    assert words[:2] == ["78 k", "856 k"]
    assert {"scratch", "kd", "dkd", "teacher"} <= set(words)


def test_nothing_measured_draws_nothing(fake, tmp_path):
    folder = fake.run(tmp_path, ("kd",), seeds=1, teacher=None)
    fake.edit(folder, lambda results: results["rows"][0].update(test=None, validation=None))
    assert sizes(read(folder)) is None


def test_names_of_files_are_distinct_and_safe(fake, tmp_path):
    names = [picture.name for picture in pictures(read(fake.run(tmp_path, ("a/b", "a b", "../x"), seeds=1)), "1-")]
    assert len(set(names)) == len(names) == 2 + 3 + 1 + 3
    assert all(re.fullmatch(r"1-[a-z0-9-]+", name) for name in names)
