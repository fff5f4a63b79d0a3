"""Losses on logits, against torchdistill; and which of its losses are compared at all."""

from functools import partial
from pathlib import Path

import pytest
import torch

from mentorch.losses import cross_entropy, dist, kd, standardized

mid_level = pytest.importorskip(
    "torchdistill.losses.mid_level", reason="torchdistill is not installed: see constraints-peers.txt"
)

COMPARED = {
    *("KDLoss", "LogitStdKDLoss", "DISTLoss", "ATLoss", "FSPLoss", "AltActTransferLoss", "FTLoss", "VIDLoss"),
    *("HierarchicalContextLoss", "PKTLoss", "RKDLoss", "CCKDLoss", "SPKDLoss", "CRDLoss"),
}
NOT_OURS = {
    *("AuxSSKDLoss", "SSKDLoss", "PADL2Loss", "RegularizationLoss", "KTALoss", "AffinityLoss", "ChSimLoss"),
    *("SRDLoss", "DISTPlusLoss", "SKDInstanceLoss", "SKDDirectionLoss"),
}
LABELS = torch.tensor([3, 0, 6, 1, 1])
WHERE = ("logits", "output") * 2


@pytest.fixture
def logits(draw):
    student, teacher = draw((5, 7), (5, 7))
    return student, 3 * teacher


def test_every_loss_of_torchdistill_is_compared_or_not_ours():
    registry = pytest.importorskip("torchdistill.losses.registry")
    assert set(registry.MIDDLE_LEVEL_LOSS_DICT) == COMPARED | NOT_OURS
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in COMPARED if f"mid_level.{name}(" not in tests] == []


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kd_is_its_soft_term(logits, shown, agree, temperature: float):
    student, teacher = logits
    peer = mid_level.KDLoss(*WHERE, temperature, alpha=0.25, beta=0.75)
    theirs = peer(shown(logits=student), shown(logits=teacher), LABELS)
    ours = 0.25 * cross_entropy(student, LABELS) + 0.75 * kd(student, teacher, temperature=temperature)
    agree(ours.mean(), theirs, student)


def test_kd_without_labels_lacks_t_squared_there(logits, shown, agree):
    student, teacher = logits
    theirs = mid_level.KDLoss(*WHERE, 4.0, alpha=0)(shown(logits=student), shown(logits=teacher), LABELS)
    agree(kd(student, teacher, t_squared=False).mean(), theirs, student)
    agree(kd(student, teacher).mean(), 16 * theirs, student)


def test_standardized_kd_is_its_logit_standardisation(logits, shown, agree):
    student, teacher = logits
    peer = mid_level.LogitStdKDLoss(*WHERE, 2.0, alpha=0.1, beta=9.0)
    theirs = peer(shown(logits=student), shown(logits=teacher), LABELS)
    soft = standardized(partial(kd, temperature=2.0))(student, teacher)
    agree((0.1 * cross_entropy(student, LABELS) + 9 * soft).mean(), theirs, student)


@pytest.mark.parametrize(("temperature", "beta", "gamma"), [(1.0, 1.0, 1.0), (4.0, 0.5, 2.0)])
def test_dist_is_the_sum_of_both_terms(logits, shown, agree, temperature: float, beta: float, gamma: float):
    student, teacher = logits
    peer = mid_level.DISTLoss(*WHERE, beta=beta, gamma=gamma, tau=temperature)
    terms = dist(student, teacher, temperature=temperature, beta=beta, gamma=gamma)
    agree(terms["inter"].mean() + terms["intra"], peer(shown(logits=student), shown(logits=teacher)), student)
