from pathlib import Path

import matplotlib.image
import pytest

from mentorch.reports import write_atlas_picture


@pytest.mark.parametrize("count", [1, 2, 40])
def test_the_picture_shows_the_map_and_the_tree(fake, tmp_path: Path, count: int):
    pixels = matplotlib.image.imread(write_atlas_picture(fake.atlas(tmp_path, count)))[..., :3]
    assert pixels.shape[1] == 1625
    coloured = pixels.max(-1) - pixels.min(-1) > 0.3
    assert coloured[:, :800].any()  # networks
    assert coloured[:, 800:].any()  # the strips under the tree
    dark = pixels.max(-1) < 0.4
    assert dark[60:500, 1000:1600].any() == (count > 1)  # branches


def test_facts_that_nobody_knows_are_no_error(fake, tmp_path: Path):
    folder = fake.atlas(tmp_path)
    text = (folder / "atlas.json").read_text()
    (folder / "atlas.json").write_text(text.replace('"dataset"', '"other"'))
    assert write_atlas_picture(folder).stat().st_size > 10_000
