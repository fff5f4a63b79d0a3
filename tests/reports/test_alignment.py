import pytest
import torch

from mentorch.losses import mmd
from mentorch.reports._alignment import aligned, project, shared_neighbours, unit_rows


def space(n: int = 60, d: int = 6, seed: int = 0, labels: torch.Tensor | None = None) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=draw)
    return x if labels is None else x + 5 * torch.eye(d)[labels % d]


def test_numbers_equal_their_definitions():
    a, b = space(seed=1), space(d=4, seed=2)
    found = aligned({"student": a, "same": a.clone(), "other": b, "turned": a @ torch.linalg.qr(space(6))[0]})
    assert found["same"]["neighbours"] == 1.0
    assert found["turned"]["neighbours"] == 1.0  # angles between images are what counts
    shares = []
    for i in range(60):
        near = []
        for x in (a, b):
            cosines = torch.nn.functional.cosine_similarity(x[i : i + 1], x)
            near.append(set(sorted((j for j in range(60) if j != i), key=lambda j: -cosines[j])[:10]))
        shares.append(len(near[0] & near[1]) / 10)
    assert found["other"] == {"neighbours": pytest.approx(sum(shares) / 60), "chance": 10 / 59}
    assert found["turned"]["mmd"] == pytest.approx(float(mmd(a, a @ torch.linalg.qr(space(6))[0])))
    assert found["turned"]["mmd"] > found["same"]["mmd"]


def test_unrelated_spaces_share_neighbours_by_chance():
    found = [shared_neighbours(space(200, seed=i), space(200, seed=100 + i), 10) for i in range(5)]
    assert sum(found) / 5 == pytest.approx(10 / 199, abs=0.01)


def test_principal_components_keep_the_most_variance():
    x = space(40, 5) * torch.tensor([5.0, 3.0, 1.0, 0.5, 0.1])
    plane = project(x, "pca")
    eigenvalues = torch.linalg.eigvalsh(x.double().mT.cov()).flip(0)
    torch.testing.assert_close(plane.var(0), eigenvalues[:2])
    torch.testing.assert_close(plane.mean(0), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)
    assert project(space(40, 1), "pca").shape == (40, 2)


def test_tsne_keeps_classes_together_and_is_the_same_each_time():
    labels = torch.arange(60) % 3
    x = unit_rows(space(labels=labels))
    plane = project(x, "tsne")
    assert plane.equal(project(x, "tsne"))
    nearest = torch.cdist(plane, plane).fill_diagonal_(torch.inf).argmin(1)
    assert (labels[nearest] == labels).float().mean() > 0.9
    assert project(space(6), "tsne").shape == (6, 2)  # too few for it
