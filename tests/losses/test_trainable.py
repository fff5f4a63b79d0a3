import pytest
import torch
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError
from mentorch.losses._trainable import TrainableLoss


class Linear(TrainableLoss):
    """Squared distance of two vectors after a linear layer on the first."""

    def _make(self, student: Tensor, teacher: Tensor) -> None:
        self.layer = nn.Linear(student.shape[1], teacher.shape[1])

    def _compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (self.layer(student) - teacher).square().mean(1)


class Several(TrainableLoss):
    """Reads two tensors of the student."""

    def _make(self, student: tuple[Tensor, Tensor], teacher: Tensor) -> None:
        self.count = nn.Parameter(torch.tensor(float(len(student))))

    def _compare(self, student: tuple[Tensor, Tensor], teacher: Tensor) -> Tensor:
        return self.count * (student[0] + student[1] - teacher).mean(1)


def test_needs_to_be_built_once_for_one_set_of_shapes():
    student, teacher = torch.randn(4, 3), torch.randn(4, 5)
    loss = Linear()
    with pytest.raises(RunError, match=r"this Linear has no layers yet: call build"):
        loss(student, teacher)
    weight = loss.build(student, teacher).layer.weight
    assert loss.build(torch.randn(7, 3), torch.randn(7, 5)).layer.weight is weight
    with pytest.raises(UsageError, match=r"this Linear was built for \[3\], \[5\], not \[5\], \[5\]: make another"):
        loss.build(teacher, teacher)


def test_a_failed_build_leaves_the_loss_unbuilt():
    loss = Linear()
    with pytest.raises(IndexError):
        loss.build(torch.randn(4), torch.randn(4, 5))
    with pytest.raises(RunError):
        loss(torch.randn(4, 3), torch.randn(4, 5))


@pytest.mark.parametrize(
    ("given", "weights"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_weights_follow_the_student_but_never_into_half_precision(given: torch.dtype, weights: torch.dtype):
    student, teacher = torch.randn(4, 3, dtype=given), torch.randn(4, 5, dtype=given)
    loss = Linear().eval().build(student, teacher)
    assert loss.layer.weight.dtype is weights
    assert loss.layer.weight.requires_grad
    assert not loss.layer.training
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(student, teacher), loss(student.to(weights), teacher.to(weights)))


def test_several_tensors_of_the_student_arrive_as_a_tuple_and_teachers_without_gradient():
    first, second, teacher = (torch.randn(4, 3, requires_grad=True) for _ in range(3))
    loss = Several().build((first, second), teacher)
    loss((first, second), teacher).sum().backward()
    assert loss.count.tolist() == 2
    assert first.grad is not None
    assert second.grad is not None
    assert teacher.grad is None
    with pytest.raises(UsageError, match="built for"):
        loss.build(first, teacher)
