import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch.structure._ties import Ties, distinct


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(-1, 29), st.integers(-1, 29)), max_size=40))
def test_ties_are_the_components_of_a_graph(count, pairs):
    pairs = [(a, b) for a, b in pairs if max(a, b) < count]
    ties = Ties()
    ties.fresh(count)
    if pairs:
        ties.tie(*torch.tensor(pairs, dtype=torch.float64).T)
    component = {i: {i} for i in range(count)}
    for a, b in pairs:
        if min(a, b) >= 0 and component[a] is not component[b]:
            component[a] |= component[b]
            for i in component[b]:
                component[i] = component[a]
    assert ties.roots(torch.arange(count)).tolist() == [min(component[i]) for i in range(count)]
    assert ties.roots(torch.tensor([[-1.0], [0.0]])).tolist() == [[-1], [0]]


@given(st.lists(st.integers(-3, 5)))
def test_distinct(values):
    assert distinct(torch.tensor(values, dtype=torch.float64)) == sorted(set(values))
