import numpy as np
import torch
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

from mentorch.transferability._atlas._groups import communities, tree
from mentorch.transferability._atlas._neighbours import neighbours


def test_planted_groups_are_communities_the_largest_first(cloud):
    table = cloud(41, groups=3, noise=0.4)
    near = neighbours(table, torch.arange(41)).nearest(6)
    found = communities(near)
    assert found == [i % 3 for i in range(41)]
    assert found == communities(near)


def test_one_network_is_a_community(cloud):
    assert communities(neighbours(cloud(1), torch.arange(1)).nearest(5)) == [0]


def test_the_tree_is_that_of_the_vectors_themselves(cloud):
    """Average linkage of Euclidean distances, from vectors instead of similarities."""
    table = cloud(30, noise=0.8)
    for weight in (0.0, 0.5, 4.0):
        vectors = (
            torch.cat([table.nodes.double() / 240**0.5, weight**0.5 * table.edges.double() / 300**0.5], dim=1)
            / (1 + weight) ** 0.5
        )
        vectors = vectors / vectors.norm(dim=1, keepdim=True)
        expected = hierarchy.linkage(pdist(vectors.numpy()), "average")
        found = tree(table, torch.arange(30), weight=weight)
        np.testing.assert_allclose(found.merges[:, 2], expected[:, 2], atol=2e-3)
        assert sorted(found.order) == list(range(30))


def test_groups_are_branches_and_equals_join_first(cloud):
    table = cloud(12, groups=3, noise=0.3)
    kinds = [leaf % 3 for leaf in tree(table, torch.arange(12)).order]
    assert kinds == sorted(kinds, key=kinds.index)
    a, b, height, size = tree(table.select(torch.tensor([0, 1, 0])), torch.arange(3)).merges[0].tolist()
    assert (a, b, size) == (0, 2, 2)
    assert height < 0.02  # numbers are stored in float16


def test_trees_of_one_network_and_of_none_of_its_neighbours(cloud):
    found = tree(cloud(1), torch.arange(1))
    assert (found.merges.shape, found.order) == ((0, 4), [0])
