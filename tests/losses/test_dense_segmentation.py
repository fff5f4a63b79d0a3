import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import UsageError
from mentorch.losses import cross_entropy, kd, pixel_kd

K, SIZE = 4, (3, 5)


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(3, K, *SIZE, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.randint(0, K, (3, *SIZE), generator=generator)
    labels[torch.rand(3, *SIZE, generator=generator) < 0.3] = 255
    labels[2] = 255
    return student, teacher, labels


def slow(student, teacher, labels, temperature, hard):
    """One pixel after the other, as vectors of classes."""
    values = []
    for s, t, y in zip(student, teacher, labels, strict=True):
        own = []
        for row in range(SIZE[0]):
            for column in range(SIZE[1]):
                if y[row, column] == 255:
                    continue
                log_q, log_t = (x[:, row, column].div(temperature).log_softmax(0) for x in (s, t))
                full = temperature**2 * (log_t.exp() * (log_t - log_q)).sum()
                own.append(-log_q[t[:, row, column].argmax()] if hard else full)
        values.append(torch.stack(own).mean() if own else torch.zeros((), dtype=torch.float64))
    return torch.stack(values)


@given(st.integers(0, 10_000), st.sampled_from([(1.0, False), (3.0, False), (1.0, True)]))
def test_against_loops(seed, options):
    student, teacher, labels = batch(seed)
    temperature, hard = options
    found = pixel_kd(student, teacher, labels, temperature=temperature, hard=hard)
    torch.testing.assert_close(found, slow(student, teacher, labels, temperature, hard))


def test_without_labels_it_is_kd_and_hard_is_the_cross_entropy_of_the_teachers_classes():
    student, teacher, _ = batch()
    torch.testing.assert_close(pixel_kd(student, teacher, temperature=2.0), kd(student, teacher, temperature=2.0))
    torch.testing.assert_close(pixel_kd(student, teacher, hard=True), cross_entropy(student, teacher.argmax(1)))


def test_with_sure_teachers_it_is_the_cross_entropy_of_the_labels():
    """The two ways to leave pixels out agree: of our divergence, and of the labels' own loss."""
    student, _, labels = batch()
    sure = 1e3 * torch.nn.functional.one_hot(labels.where(labels != 255, 0), K).movedim(-1, 1).double()
    expected = cross_entropy(student, labels, ignore_index=255)
    torch.testing.assert_close(pixel_kd(student, sure, labels), expected)
    torch.testing.assert_close(pixel_kd(student, sure, labels, hard=True), expected)
    assert expected[2] == 0


def test_pixels_that_do_not_count_get_no_gradient():
    student, teacher, labels = batch()
    for hard in (False, True):
        own = student.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(pixel_kd(own, teacher, labels, hard=hard).sum(), own)
        counts = (labels != 255)[:, None].expand_as(gradient)
        assert (gradient[~counts] == 0).all()
        assert (gradient[counts] != 0).all()


def test_another_label_may_be_the_one_to_ignore():
    student, teacher, labels = batch()
    other = labels.where(labels != 255, -7)
    assert torch.equal(pixel_kd(student, teacher, other, ignore=-7), pixel_kd(student, teacher, labels))


def test_equality_gradients_precision_and_compilation():
    student, teacher, labels = batch()
    assert pixel_kd(teacher, teacher, labels).abs().max() < 1e-12
    assert torch.autograd.gradcheck(lambda s: pixel_kd(s, teacher, labels, temperature=2.0), student.requires_grad_())
    half = pixel_kd(600 * student.detach().half(), 600 * teacher.half(), labels)
    assert half.dtype == torch.float32
    assert half.isfinite().all()
    compiled = torch.compile(pixel_kd, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(student, teacher, labels), pixel_kd(student, teacher, labels))


def test_wrong_requests_are_refused():
    student, teacher, labels = batch()
    with pytest.raises(UsageError, match="must be positive, not 0"):
        pixel_kd(student, teacher, temperature=0)
    with pytest.raises(UsageError, match="must be 1 with hard classes, not 2"):
        pixel_kd(student, teacher, temperature=2, hard=True)
    with pytest.raises(UsageError, match="same classes"):
        pixel_kd(student, teacher[:, :2])
    with pytest.raises(UsageError, match=r"labels must be \[N, H, W\]"):
        pixel_kd(student, teacher, labels[:, :2])
