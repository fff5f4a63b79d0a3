import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mentorch._errors import UsageError
from mentorch.losses import cat

DOUBLE = torch.float64


def maps(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def heads(bias: bool = True) -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    return nn.Linear(3, 4, bias=bias).to(DOUBLE), nn.Linear(5, 4).to(DOUBLE)


def test_golden_values(golden, near):
    near(cat(golden.student_map, golden.teacher_map, normalize=False), [0.85, 2.2])
    near(cat(golden.student_map, golden.teacher_map), [0.554324, 0.493812])


def test_the_mean_of_class_maps_is_the_logits():
    # so the loss of 1x1 pooled maps, not normalised, is the squared difference of the logits
    student, teacher, (ours, theirs) = maps(0, 2, 3, 6, 4), maps(1, 2, 5, 4, 4), heads()
    logits = [head(x.mean((2, 3))) for head, x in ((ours, student), (theirs, teacher))]
    value = cat(student, teacher, student_head=ours, teacher_head=theirs, size=1, normalize=False)
    torch.testing.assert_close(value, F.mse_loss(*logits, reduction="none").mean(1))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("keep_bias", [True, False])
def test_equals_classifiers_moved_before_the_pool(normalize: bool, keep_bias: bool):
    student, teacher, (ours, theirs) = maps(0, 2, 3, 8, 8), maps(1, 2, 5, 4, 4), heads()
    found = cat(
        student, teacher, student_head=ours, teacher_head=theirs, size=2, normalize=normalize, keep_bias=keep_bias
    )
    for b in range(2):
        total = 0.0
        for k in range(4):
            each = []
            for x, head, bias in ((student, ours, True), (teacher, theirs, keep_bias)):
                cam = (head.weight[k][:, None, None] * x[b]).sum(0) + (head.bias[k] if bias else 0)
                half = len(cam) // 2
                pooled = torch.stack(
                    [
                        cam[:half, :half].mean(),
                        cam[:half, half:].mean(),
                        cam[half:, :half].mean(),
                        cam[half:, half:].mean(),
                    ]
                )
                each.append(pooled / pooled.norm() if normalize else pooled)
            total = total + (each[0] - each[1]).square().sum()
        torch.testing.assert_close(found[b], total / 16)


@pytest.mark.parametrize("normalize", [True, False])
def test_binarised_maps_are_where_the_teacher_is_above_its_mean_size(normalize: bool):
    student, teacher, (ours, theirs) = maps(0, 2, 3, 4, 4), maps(1, 2, 5, 4, 4), heads()
    cams = torch.einsum("kc,nchw->nkhw", theirs.weight.detach(), teacher) + theirs.bias.detach()[:, None, None]
    for image in cams:
        for cam in image:
            cam.copy_((cam > cam.abs().sum() / 16).to(DOUBLE))
    options = {"student_head": ours, "normalize": normalize}
    found = cat(student, teacher, teacher_head=theirs, binarize=True, **options)
    torch.testing.assert_close(found, cat(student, cams, **options))


@pytest.mark.parametrize("only", [1, 3, -1, -2, 4])
def test_only_the_highest_or_lowest_classes_of_the_teacher_count(only: int):
    student, teacher, (ours, theirs) = maps(0, 2, 3, 4, 4), maps(1, 2, 5, 4, 4), heads()
    order = theirs(teacher.mean((2, 3))).argsort(dim=1, descending=only > 0)[:, : abs(only)]
    found = cat(student, teacher, student_head=ours, teacher_head=theirs, only=only)
    for b, classes in enumerate(order):
        few = [nn.Linear(head.in_features, abs(only)).to(DOUBLE) for head in (ours, theirs)]
        for small, head in zip(few, (ours, theirs), strict=True):
            small.load_state_dict({"weight": head.weight[classes], "bias": head.bias[classes]})
        own = cat(student[b : b + 1], teacher[b : b + 1], student_head=few[0], teacher_head=few[1])
        torch.testing.assert_close(found[b : b + 1], own)


@given(seed=st.integers(0, 99))
def test_the_scale_of_each_class_map_does_not_matter(seed: int):
    student, teacher, scales = maps(seed, 3, 4, 4, 4), maps(seed + 100, 3, 4, 4, 4), maps(seed + 200, 3, 4, 1, 1).exp()
    torch.testing.assert_close(cat(scales * student, teacher), cat(student, teacher))
    assert cat(scales * teacher, teacher).abs().max() < 1e-12
    assert cat(student, student, normalize=False).abs().max() == 0


def test_the_students_classifier_learns_and_the_teachers_does_not():
    student, teacher, (ours, theirs) = maps(0, 2, 3, 4, 4).requires_grad_(), maps(1, 2, 5, 4, 4), heads()
    cat(student, teacher, student_head=ours, teacher_head=theirs).sum().backward()
    assert student.grad.abs().sum() > 0
    assert ours.weight.grad.abs().sum() > 0
    assert theirs.weight.grad is None


def test_a_map_of_zeros_gets_no_gradient():
    student = maps(0, 2, 3, 4, 4)
    student[0, 1] = 0
    student.requires_grad_()
    cat(student, maps(1, 2, 3, 4, 4)).sum().backward()
    assert student.grad.isfinite().all()
    assert (student.grad[0, 1] == 0).all()


def test_wrong_use_is_named():
    x, y = maps(0, 2, 3, 4, 4), maps(1, 2, 5, 4, 4)
    ours, theirs = heads()
    with pytest.raises(UsageError, match=r"both need the same classes: pass student_head= and teacher_head="):
        cat(x, y)
    with pytest.raises(UsageError, match="the student's classifier reads 5 numbers, its map has 3 channels"):
        cat(x, y, student_head=theirs, teacher_head=theirs)
    with pytest.raises(UsageError, match="needs maps"):
        cat(x.mean((2, 3)), y, student_head=ours, teacher_head=theirs)
    with pytest.raises(UsageError, match="size must be at least 1"):
        cat(x, x, size=0)
    with pytest.raises(UsageError, match="only=-4 asks for more than the 3 classes"):
        cat(x, x, only=-4)
