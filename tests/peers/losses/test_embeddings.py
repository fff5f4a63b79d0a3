"""Losses on embeddings, against torchdistill; with the same weights and memory where a loss owns some."""

import pytest
import torch
import torch.nn.functional as F

from mentorch.losses import CRD, Correlation, pkt, rkd, similarity

mid_level = pytest.importorskip(
    "torchdistill.losses.mid_level", reason="torchdistill is not installed: see constraints-peers.txt"
)

N = 6


@pytest.fixture
def embeddings(draw):
    return draw((N, 5), (N, 8))


def test_pkt_as_released_is_its_cosine_loss(embeddings, shown, agree):
    student, teacher = embeddings
    theirs = mid_level.PKTLoss("a", "output", "a", "output", eps=1e-7)(shown(a=student), shown(a=teacher))
    agree(pkt(student, teacher, variant="released").mean(), theirs, student)


def test_the_paper_form_of_pkt_is_n_times_as_large(embeddings, shown, agree):
    student, teacher = embeddings
    theirs = mid_level.PKTLoss("a", "output", "a", "output", eps=1e-14)(shown(a=student), shown(a=teacher))
    agree(pkt(student, teacher).mean(), N * theirs, student)


@pytest.mark.parametrize(("distance", "angle"), [(25.0, 50.0), (1.0, 0.0), (0.0, 2.0)])
def test_rkd_is_the_sum_of_both_terms(embeddings, shown, agree, distance: float, angle: float):
    student, teacher = embeddings
    theirs = mid_level.RKDLoss("a", "a", distance, angle, "mean")(shown(a=student), shown(a=teacher))
    agree(sum(term.mean() for term in rkd(student, teacher, distance=distance, angle=angle).values()), theirs, student)


@pytest.mark.parametrize(
    ("kernel", "options"),
    [({"type": "gaussian", "gamma": 0.4, "max_p": 2}, {}), ({"type": "bilinear"}, {"variant": "bilinear"})],
    ids=["gaussian", "bilinear"],
)
def test_correlation_of_unit_vectors_without_the_root(embeddings, shown, agree, kernel: dict, options: dict):
    student, teacher = embeddings
    torch.manual_seed(0)
    loss = Correlation(dim=4, **options).build(student, teacher)
    unit = [F.normalize(layer(x)) for layer, x in ((loss.student, student), (loss.teacher, teacher))]
    theirs = mid_level.CCKDLoss("a", "a", kernel, "batchmean")(shown(a=unit[0]), shown(a=unit[1]))
    agree(loss(student, teacher).mean().sqrt() / N, theirs, student)


def test_similarity_normalises_rows_by_length_where_torchdistill_does_by_sum(draw, shown, agree, monkeypatch):
    student, teacher = draw((N, 3, 2, 2), (N, 4, 2, 2))
    read = shown(a=student), shown(a=teacher)
    peer = mid_level.SPKDLoss("a", "a", "batchmean")
    by_sum = [F.normalize(x.flatten(1) @ x.flatten(1).mT, p=1, dim=1) for x in (student, teacher)]
    agree((by_sum[0] - by_sum[1]).square().mean(), peer(*read), student)
    assert not torch.isclose(similarity(student, teacher).mean(), peer(*read), rtol=0.1)
    monkeypatch.setattr(mid_level, "normalize", lambda x, _: F.normalize(x))
    agree(similarity(student, teacher).mean(), peer(*read), student)


def test_crd_is_its_loss_over_the_same_negatives_from_the_same_memory(embeddings, shown, agree):
    student, teacher = embeddings
    samples, negatives, labels, index = 60, 20, torch.arange(N) % 3, torch.tensor([3, 40, 11, 1, 59, 2])
    torch.manual_seed(0)
    loss = CRD(samples=samples, negatives=negatives, dim=4).build(student, teacher, labels, index).train()
    peer = mid_level.CRDLoss("norm", "empty", "norm", 4, samples, negatives, samples)
    peer.params = torch.tensor([negatives, 0.07, -1, -1, 0.5], dtype=torch.float64)
    peer.memory_v1, peer.memory_v2 = loss.student_memory.clone(), loss.teacher_memory.clone()
    for step in range(2):  # at the first, theirs fixes the constants that ours has fixed when it was built
        positives, drawn = loss._draw(loss.classes.index_copy(0, index, labels), labels, index)
        told = {"pos_idx": positives, "contrast_idx": torch.cat([positives[:, None], drawn], 1)}
        embed = [F.normalize(layer(x)) for layer, x in ((loss.student, student), (loss.teacher, teacher))]
        theirs = peer(shown(norm=embed[0], empty=told), shown(norm=embed[1]))
        ours = loss(student, teacher, labels, index)
        torch.testing.assert_close(ours.mean(), theirs.squeeze(), rtol=1e-6, atol=0)
        agree(ours.mean(), theirs, (student, *loss.parameters()))
        for mine, other in ((loss.student_memory, peer.memory_v1), (loss.teacher_memory, peer.memory_v2)):
            torch.testing.assert_close(mine, other)
        assert loss.step == step + 1
    torch.testing.assert_close(loss.log_z.exp(), peer.params[2:4])
