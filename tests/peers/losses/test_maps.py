"""Losses on feature maps, against torchdistill; with the same weights where a loss owns some."""

import pytest
import torch
from torch import Tensor, nn

from mentorch.losses import VID, Factor, Review, ab, attention, fsp
from mentorch.losses._fsp import _flow

mid_level = pytest.importorskip(
    "torchdistill.losses.mid_level", reason="torchdistill is not installed: see constraints-peers.txt"
)

MAP = (5, 6, 4, 4)


def end(path: str) -> dict[str, str]:
    return {"io": "output", "path": path}


def pairs(*paths: str) -> dict[str, dict[str, dict[str, str]]]:
    return {path: {"student": end(path), "teacher": end(path)} for path in paths}


def copied(ours: nn.Module, theirs: nn.Module) -> None:
    """The convolutions and batch norms of one into the other, in order; biases that ours does without become 0."""
    layers = [[m for m in net.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)] for net in (ours, theirs)]
    for source, target in zip(*layers, strict=True):
        with torch.no_grad():
            target.weight.copy_(source.weight)
            if target.bias is not None:
                target.bias.zero_() if source.bias is None else target.bias.copy_(source.bias)
    theirs.double()


@pytest.mark.parametrize(("mode", "variant"), [("code", "released"), ("paper", "paper")])
def test_attention_is_the_sum_over_stages(draw, shown, agree, mode: str, variant: str):
    students, teachers = draw(MAP, (5, 8, 2, 2)), draw((5, 3, 4, 4), (5, 9, 2, 2), seed=1)
    teachers = [t.detach() for t in teachers]
    theirs = mid_level.ATLoss(pairs("a", "b"), mode)(
        shown(a=students[0], b=students[1]), shown(a=teachers[0], b=teachers[1])
    )
    ours = sum(attention(s, t, variant=variant) for s, t in zip(students, teachers, strict=True))
    agree(ours.mean(), theirs, students[0])


def flow_of(student: list[Tensor], teacher: list[Tensor], shown) -> Tensor:
    ends = [f"{side}_{place}" for side in ("student", "teacher") for place in ("first", "second")]
    peer = mid_level.FSPLoss({"pair": {name: end(name.split("_")[1]) for name in ends}})
    return peer(*(shown(first=first, second=second) for first, second in (student, teacher)))


@pytest.mark.parametrize("sizes", [(4, 4), (8, 4), (4, 8)])
def test_fsp_with_max_pooling_compares_the_same_matrices(draw, sizes: tuple[int, int]):
    a, b = draw((5, 3, sizes[0], sizes[0]), (5, 2, sizes[1], sizes[1]))
    torch.testing.assert_close(_flow(a, b, "max"), mid_level.FSPLoss.compute_fsp_matrix(a, b))


def test_fsp_is_the_mean_square_where_torchdistill_adds_up_the_lengths_of_columns(draw, shown, agree):
    student, teacher = draw((1, 3, 8, 8), (1, 1, 4, 4)), draw((1, 3, 8, 8), (1, 1, 4, 4), seed=1)
    teacher = [t.detach() for t in teacher]
    ours = fsp(student, *teacher, pooling="max")  # matrices of one column
    agree((3 * ours).sqrt(), flow_of(student, teacher, shown), student[0])
    student, teacher = draw((5, 3, 8, 8), (5, 2, 4, 4)), draw((5, 3, 8, 8), (5, 2, 4, 4), seed=1)
    difference = _flow(*student, "max") - _flow(*teacher, "max")  # [N, C, D]
    agree(difference.norm(dim=1).sum() / 5, flow_of(student, teacher, shown), student[0])
    agree(difference.square().mean(), fsp(student, *teacher, pooling="max").mean(), student[0])


@pytest.mark.parametrize("margin", [1.0, 0.5])
def test_ab_is_the_alternative_loss(draw, shown, agree, margin: float):
    student, teacher = draw(MAP, MAP)
    theirs = mid_level.AltActTransferLoss(pairs("a"), margin, "mean")(shown(a=student), shown(a=teacher))
    agree(ab(student, teacher, margin=margin).mean(), theirs, student)


def factors(student: Tensor, teacher: Tensor, shown, *, power: float) -> tuple[Factor, Tensor, Tensor]:
    """Our loss, its values, and theirs from networks with the same weights."""
    wrapper = pytest.importorskip("torchdistill.models.wrapper")
    torch.manual_seed(0)
    loss = Factor(variant="paper", power=power).build(student, teacher)
    paraphraser = wrapper.Paraphraser4FactorTransfer(0.5, teacher.shape[1], uses_bn=False, uses_decoder=False)
    translator = wrapper.Translator4FactorTransfer(student.shape[1], teacher.shape[1] // 2)
    copied(loss.paraphraser["encoder"], paraphraser.encoder)
    copied(loss.translator, translator)
    read = shown(translator=translator(student)), shown(paraphraser=paraphraser(teacher))
    return loss, loss(student, teacher)["factor"], mid_level.FTLoss(p=power)(*read)


def test_the_paper_form_of_factor_is_its_mean_absolute_difference(draw, shown, agree):
    student, teacher = draw((5, 4, 4, 4), MAP)
    _, ours, theirs = factors(student, teacher, shown, power=1)
    agree(ours.mean(), theirs, student)


def test_other_powers_of_factor_lack_the_root_and_the_sum_of_torchdistill(draw, shown, agree):
    student, teacher = draw((5, 4, 4, 4), MAP)
    _, ours, theirs = factors(student, teacher, shown, power=2)
    agree((3 * 4 * 4 * ours).sqrt().mean(), theirs, student)  # 3 channels in the factor


@pytest.mark.parametrize("variance", [5.0, 0.1])
def test_vid_is_its_likelihood(draw, shown, agree, variance: float):
    wrapper = pytest.importorskip("torchdistill.models.wrapper")
    student, teacher = draw((5, 4, 4, 4), MAP)
    torch.manual_seed(0)
    loss = VID(variance=variance).build(student, teacher)
    regressor = wrapper.Regressor4VID(4, 6, 6, eps=1e-5, init_pred_var=variance).double()
    torch.testing.assert_close(regressor.soft_plus_param, loss.rho, rtol=1e-6, atol=1e-6, check_dtype=False)
    copied(loss.mean, regressor.regressor)
    with torch.no_grad():
        regressor.soft_plus_param.copy_(loss.rho)
    theirs = mid_level.VIDLoss(pairs("a"))(shown(a=regressor(student)), shown(a=teacher))
    agree(loss(student, teacher).mean(), theirs, student)


def test_review_is_fusion_and_hierarchical_loss_at_every_level(draw, shown, agree):
    wrapper = pytest.importorskip("torchdistill.models.wrapper")
    sizes = 8, 4, 1
    students = draw((5, 3, 8, 8), (5, 4, 4, 4), (5, 6))
    teachers = [t.detach() for t in draw((5, 5, 8, 8), (5, 7, 4, 4), (5, 9), seed=1)]
    torch.manual_seed(0)
    loss = Review(width=6).build(tuple(students), *teachers)
    theirs, residual = torch.zeros((), dtype=torch.float64), None
    for i in (2, 1, 0):  # deep to shallow
        student, teacher = (side[i] if i < 2 else side[i][:, :, None, None] for side in (students, teachers))
        fusion = wrapper.AttentionBasedFusion(student.shape[1], 6, teacher.shape[1], uses_attention=i < 2)
        copied(loss.levels[i], _in_our_order(fusion))
        output, residual = fusion(student, residual, sizes[i])
        level = mid_level.HierarchicalContextLoss("fusion", "output", "stage", "output")
        theirs = theirs + level(shown(fusion=(output, residual)), shown(stage=teacher))
    agree(loss(tuple(students), *teachers).mean(), theirs, students[0])


def _in_our_order(fusion: nn.Module) -> nn.Module:
    rest = [] if fusion.attention_conv is None else [fusion.attention_conv]
    return nn.ModuleList([fusion.conv1, fusion.conv2, *rest]).double()
