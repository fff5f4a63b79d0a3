from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mentorch._errors import RunError, UsageError
from mentorch.transferability import Embeddings, Frame, Lens, Reading, compare, nearest, norm, similarities


def probes(count: int = 14) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(9))


def reading(seed: int, frame: Frame, *, like: float = 0.0) -> Reading:
    """Of a network that shares a part with all others."""
    common, own = torch.Generator().manual_seed(1000), torch.Generator().manual_seed(seed)
    maps, features = (
        like * torch.randn(shape, generator=common) + torch.randn(shape, generator=own)
        for shape in ((frame.count, 8, 8), (frame.count, 6))
    )
    return Reading(maps, features, frame.lens, frame.probes)


def embeddings(frame: Frame, readings: list[Reading]) -> Embeddings:
    nodes, edges = zip(*(frame.embed(r) for r in readings), strict=True)
    return Embeddings(tuple(frame.key(str(i)) for i in range(len(readings))), torch.stack(nodes), torch.stack(edges))


@given(seed=st.integers(0, 99), weight=st.floats(0, 3))
@settings(max_examples=15)
def test_inner_products_are_the_similarities_of_graphs(seed: int, weight: float):
    frame = Frame.of(probes(), grid=8, width=None, pairs=None)
    readings = [reading(seed + i, frame, like=i / 3) for i in range(5)]
    table = embeddings(frame, readings)
    found = similarities(table, table, weight=weight)
    for i, a in enumerate(readings):
        for j, b in enumerate(readings):
            assert float(found[i, j]) == pytest.approx(compare(a, b).at(weight), abs=1e-5)


def test_a_sketch_errs_as_little_as_it_says():
    frame = Frame.of(probes(60), grid=8, width=32, pairs=None)
    exact = replace(frame, width=None)
    readings = [reading(i, frame, like=i / 12) for i in range(24)]
    tables = [embeddings(f, readings) for f in (frame, exact)]
    sketched, true = (similarities(table, table, weight=0.0) for table in tables)
    error = (sketched - true)[~torch.eye(24, dtype=torch.bool)].square().mean().sqrt()
    assert float(error) < 1.5 * (2 / (60 * 32)) ** 0.5
    torch.testing.assert_close(sketched.diag(), torch.ones(24))


def test_a_part_of_the_pairs_errs_as_little_as_it_says():
    frame = Frame.of(probes(60), grid=8, pairs=600)
    readings = [reading(i, frame, like=i / 12) for i in range(24)]
    part = embeddings(frame, readings).edges
    whole = embeddings(replace(frame, pairs=None), readings).edges
    assert part.shape == (24, 600)
    error = (part @ part.mT / 600 - whole @ whole.mT / whole.shape[1]).square().mean().sqrt()
    assert 0.001 < float(error) < 1.5 * 600**-0.5


def test_maps_of_other_sizes_meet_on_the_grid():
    frame = Frame.of(torch.rand(5, 3, 16, 16), grid=4, width=None)
    maps = torch.rand(5, 4, 4, generator=torch.Generator().manual_seed(0))
    features = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    coarse, fine = (
        frame.embed(Reading(m, features, frame.lens, frame.probes))[0]
        for m in (maps, maps.repeat_interleave(4, 1).repeat_interleave(4, 2))
    )
    torch.testing.assert_close(coarse, fine)


def test_the_hash_is_the_same_on_every_machine():
    from mentorch.transferability._embedding import _mix

    # SplitMix64 of seed 0, its first outputs without the sign bit
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert _mix(torch.arange(3)).tolist() == [value & (2**63 - 1) for value in expected]


def test_nearest_keeps_exactly_k_and_the_first_of_equals():
    frame = Frame.of(probes())
    readings = [reading(i, frame) for i in (0, 1, 0, 0, 2, 0)]
    values, places = nearest(embeddings(frame, readings), k=2)
    assert places.shape == values.shape == (6, 2)
    assert places[0].tolist() == [2, 3]
    assert places[5].tolist() == [0, 2]
    assert places[3].tolist() == [0, 2]
    assert values[0].tolist() == [2, 2]
    assert not (places == torch.arange(6)[:, None]).any()


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    frame = Frame.of(probes())
    table = embeddings(frame, [reading(i, frame, like=1.0) for i in range(7)])
    whole, near = similarities(table, table), nearest(table, k=3)[1]
    monkeypatch.setattr("mentorch.transferability._embedding._BLOCK", 2)
    torch.testing.assert_close(similarities(table, table), whole)
    assert torch.equal(nearest(table, k=3)[1], near)


def test_keys_tell_everything_apart():
    frame = Frame.of(probes())
    frames = [frame, Frame.of(probes(15)), Frame.of(probes(), Lens(scalar=norm)), replace(frame, width=32)]
    frames += [replace(frame, grid=4), replace(frame, pairs=50)]
    keys = {f.key(name) for f in frames for name in ("a", "b")}
    assert len(keys) == 12
    assert frame.key("a") == Frame.of(probes()).key("a")


def test_wrong_use_is_named():
    frame = Frame.of(probes())
    with pytest.raises(UsageError, match="3 probes or more, got 2"):
        Frame.of(probes(2))
    with pytest.raises(UsageError, match="width must be at least 1, not 0"):
        Frame.of(probes(), width=0)
    with pytest.raises(UsageError, match=r"needs probes \[P, C, H, W\], got \[4, 5\]"):
        Frame.of(torch.rand(4, 5))
    with pytest.raises(UsageError, match="a reading of its own probes through 'gradient_x_input of total"):
        frame.embed(replace(reading(0, frame), probes="others"))
    with pytest.raises(RunError, match="equally similar"):
        frame.embed(replace(reading(0, frame), features=torch.eye(14)))
    table = embeddings(frame, [reading(i, frame) for i in range(3)])
    with pytest.raises(UsageError, match="k must be between 1 and 2, not 3"):
        nearest(table, k=3)
    with pytest.raises(UsageError, match="of two frames"):
        similarities(table, replace(table, edges=table.edges[:, :5]))
