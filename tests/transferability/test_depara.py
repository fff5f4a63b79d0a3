import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError
from mentorch.transferability import LAYER_SELECTION, Reading, compare, depara, explain, layer_similarities


def reading(seed: int, count: int = 12, size: int = 6, *, centred: bool = True) -> Reading:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(count, 4, 4, generator=generator)
    return Reading(maps, torch.randn(count, size, generator=generator), "lens", "probes", centred)


def slow(a: Reading, b: Reading, weight: float) -> float:
    """Probe by probe and pair by pair."""
    cosine = torch.nn.functional.cosine_similarity
    nodes = [cosine(x.flatten().double(), y.flatten().double(), dim=0) for x, y in zip(a.maps, b.maps, strict=True)]
    edges = []
    for r in (a, b):
        features = r.features.double() - (r.features.double().mean(0) if r.centred else 0)
        edges.append([float(cosine(x, y, dim=0)) for x, y in itertools.combinations(features, 2)])
    return float(torch.stack(nodes).mean()) + weight * float(spearmanr(*edges).statistic)


@given(seed=st.integers(0, 99), weight=st.floats(0, 10), centred=st.booleans())
@settings(max_examples=20)
def test_equals_the_graph_pair_by_pair(seed: int, weight: float, centred: bool):
    a, b = reading(seed, centred=centred), reading(seed + 1, size=9, centred=centred)
    assert float(depara(a, b, weight=weight)) == pytest.approx(slow(a, b, weight), abs=1e-9)
    assert depara(a, b, weight=weight) == depara(b, a, weight=weight)
    assert compare(a, b).at(weight) == float(depara(a, b, weight=weight))


@given(seed=st.integers(0, 99))
@settings(max_examples=10)
def test_a_network_is_most_like_itself_scaled_rotated_and_reordered(seed: int):
    a = reading(seed)
    assert float(depara(a, a, weight=0.25)) == pytest.approx(1.25)
    matrix = torch.randn(6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    turned = replace(a, maps=1e-8 * a.maps, features=100 * a.features.double() @ torch.linalg.qr(matrix).Q + 3)
    assert float(depara(turned, a, weight=0.25)) == pytest.approx(1.25)
    b, order = reading(seed + 1), torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    mixed = [replace(r, maps=r.maps[order], features=r.features[order]) for r in (a, b)]
    assert float(depara(*mixed)) == pytest.approx(float(depara(a, b)))


def test_unrelated_networks_have_no_edge_similarity():
    """Also with few probes, where a diagonal inside the correlation would give 0.45."""
    found = torch.tensor([compare(reading(seed, 10, 64), reading(seed + 500, 10, 64)).edges for seed in range(60)])
    assert abs(float(found.mean())) < 0.06
    assert float(found.abs().max()) < 4.5 / 45**0.5


def test_linear_networks_have_the_cosine_of_their_weights():
    probes = 2 * torch.randint(2, (40, 1, 4, 4), generator=torch.Generator().manual_seed(0)).float() - 1
    networks = []
    for seed in range(2):
        torch.manual_seed(seed)
        networks.append(nn.Sequential(nn.Flatten(), nn.Linear(16, 1)))
    a, b = (explain(network, probes) for network in networks)
    weights = [network[1].weight.detach().flatten() for network in networks]
    assert compare(a, b).nodes == pytest.approx(float(torch.nn.functional.cosine_similarity(*weights, dim=0)), abs=1e-6)


def test_maps_of_zeros_count_as_unlike():
    a = reading(0)
    blank = replace(a, maps=a.maps * (torch.arange(12) > 2)[:, None, None])
    assert compare(a, blank).nodes == pytest.approx(9 / 12)


def test_other_probes_and_lenses_are_refused():
    a = reading(0)
    with pytest.raises(UsageError, match="readings are of other probes"):
        compare(a, replace(a, probes="others"))
    with pytest.raises(UsageError, match="two lenses: 'lens' and 'glasses'"):
        compare(a, replace(a, lens="glasses"))


def test_features_without_relations_are_an_error():
    a = reading(0, 5)
    with pytest.raises(RunError, match="all 10 pairs of probes are equally similar"):
        compare(a, replace(a, features=torch.eye(5)))


def test_layers_are_explained_one_by_one():
    torch.manual_seed(0)
    probes = torch.rand(9, 3, 8, 8)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(80, 4)
    )
    reference = explain(network, probes, LAYER_SELECTION, at="2")
    found = layer_similarities(network, reference, probes, ["0", "2", "5"])
    assert found["2"].at(1.0) == pytest.approx(2)
    assert found["0"].at(1.0) < 2
    assert layer_similarities(network, reference, probes, ["5"])["5"] == found["5"]  # whatever else is asked for
    assert compare(_of(network, probes, "0"), reference) == found["0"]


def _of(network: nn.Module, probes: Tensor, at: str) -> Reading:
    return explain(network, probes, LAYER_SELECTION, at=at)
