import copy
import pickle
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import Edge, Graph, UsageError, freeze
from mentorch.losses import OFA, dist, dkd, kd, where_confident, where_correct


def logits(seed: int, *shape: int) -> torch.Tensor:
    return 3 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_golden_values(golden, near):
    loss = partial(kd, temperature=1.0)
    batch = golden.student, golden.teacher, golden.labels
    near(where_correct(loss)(*batch), [0, 0, 0, 1.139572])
    near(where_correct(loss)(*batch).mean(), 0.284893)
    near(where_correct(loss, divide_by="passed")(*batch).mean(), 0.569786)


@given(seed=st.integers(0, 99), divide_by=st.sampled_from(["batch", "passed"]))
def test_equals_a_loop_over_samples(seed: int, divide_by):
    z, v, y = logits(seed, 7, 3), logits(seed + 100, 7, 3), torch.arange(7) % 3
    passed = [b for b in range(7) if max(range(3), key=lambda c: v[b, c].item()) == y[b]]
    kept = sum(kd(z[b : b + 1], v[b : b + 1]).item() for b in passed)
    expected = kept / (7 if divide_by == "batch" else max(len(passed), 1))
    assert where_correct(kd, divide_by=divide_by)(z, v, y).mean().item() == pytest.approx(expected, abs=1e-12)


def test_all_right_changes_nothing_and_all_wrong_teaches_nothing():
    z, v = logits(0, 5, 4).requires_grad_(), logits(1, 5, 4)
    right, wrong = v.argmax(1), (v.argmax(1) + 1) % 4
    assert torch.equal(where_correct(kd)(z, v, right), kd(z, v))
    for divide_by in ("batch", "passed"):
        value = where_correct(kd, divide_by=divide_by)(z, v, wrong)
        assert (value == 0).all()
        assert (torch.autograd.grad(value.sum(), z)[0] == 0).all()


def test_a_tie_goes_to_the_lowest_class():
    z, v = logits(0, 2, 3), torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    value = where_correct(kd)(z, v, torch.tensor([0, 1]))
    assert value[0] > 0
    assert value[1] == 0


def test_the_student_does_not_decide(golden):
    right = golden.teacher.argmax(1) == golden.labels
    value = where_correct(dkd)(golden.student, golden.teacher, golden.labels, golden.labels)
    expected = dkd(golden.student, golden.teacher, golden.labels)
    torch.testing.assert_close(value, torch.where(right, expected, 0.0))


def test_named_terms_are_gated_one_by_one():
    def two(student, teacher):
        return {"a": kd(student, teacher), "b": 2 * kd(student, teacher)}

    z, v, y = logits(0, 5, 4), logits(1, 5, 4), torch.arange(5) % 4
    found, expected = where_correct(two)(z, v, y), where_correct(kd)(z, v, y)
    assert torch.equal(found["a"], expected)
    assert torch.equal(found["b"], 2 * expected)


@pytest.mark.parametrize("divide_by", ["batch", "passed"])
def test_pixels_pass_one_by_one_and_ignored_ones_are_in_no_mean(divide_by):
    z, v = logits(0, 2, 3, 4, 5), logits(1, 2, 3, 4, 5)
    y = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(2))
    y[:, 0] = -100
    found = where_correct(kd, divide_by=divide_by)(z, v, y)
    for image in range(2):
        values = []
        for i in range(4):
            for j in range(5):
                a, b, label = z[image, :, i, j], v[image, :, i, j], y[image, i, j]
                if label != -100 and (divide_by == "batch" or b.argmax() == label):
                    values.append(kd(a[None], b[None]) * (b.argmax() == label))
        torch.testing.assert_close(found[image], torch.cat(values).mean())


def test_what_is_left_out_may_be_infinite():
    def wild(student, teacher):
        return torch.tensor([torch.inf, 1.0])

    v = torch.eye(2)
    assert where_correct(wild)(v, v, torch.tensor([1, 1])).tolist() == [0.0, 1.0]


@given(seed=st.integers(0, 99), threshold=st.floats(0, 1))
def test_confidence_is_the_largest_probability(seed: int, threshold: float):
    z, v = logits(seed, 6, 3), logits(seed + 100, 6, 3)
    sure = (v.exp() / v.exp().sum(1, keepdim=True)).max(1).values >= threshold
    torch.testing.assert_close(where_confident(kd, threshold)(z, v), torch.where(sure, kd(z, v), 0.0))
    mean = where_confident(kd, threshold, divide_by="passed")(z, v).mean()
    torch.testing.assert_close(mean, kd(z, v)[sure].mean() if sure.any() else torch.zeros_like(mean))


def test_confidence_works_in_half_precision_and_for_pixels():
    z, v = logits(0, 2, 3, 4, 5), logits(1, 2, 3, 4, 5)
    rows = [x.permute(0, 2, 3, 1).reshape(-1, 3) for x in (z, v)]
    expected = where_confident(kd, 0.7)(*rows).view(2, -1).mean(1)
    torch.testing.assert_close(where_confident(kd, 0.7)(z, v), expected)
    assert where_confident(kd, 0.7)(z.half(), v.half()).dtype is torch.float32


def test_on_an_edge_the_labels_are_the_last_source():
    torch.manual_seed(0)
    teacher, student = freeze(torch.nn.Linear(4, 3)), torch.nn.Linear(4, 3)
    edge = Edge(("teacher", "labels"), "student", where_correct(kd))
    graph = Graph({"teacher": teacher, "student": student}, [edge])
    x, y = torch.randn(8, 4), torch.arange(8) % 3
    expected = (kd(student(x), teacher(x)) * (teacher(x).argmax(1) == y)).sum() / 8
    name = "teacher, labels -> student: where_correct(kd)"
    torch.testing.assert_close(graph(x, labels=y)[name], expected)
    graph.compile(backend="aot_eager")
    torch.testing.assert_close(graph(x, labels=y)[name], expected)


def test_prints_compares_and_travels():
    loss = where_correct(partial(kd, temperature=2.0))
    assert repr(loss) == "where_correct(partial(kd, temperature=2.0))"
    assert repr(where_confident(kd, 0.9)) == "where_confident(kd, 0.9)"
    assert where_correct(kd) == where_correct(kd) != where_correct(kd, divide_by="passed")
    z, v, y = logits(0, 3, 4), logits(1, 3, 4), torch.arange(3)
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(other(z, v, y), loss(z, v, y))


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda z, y: where_correct(kd)(z, z, z.softmax(1)), "where_correct: needs integer labels, got torch.float64"),
        (lambda z, y: where_correct(kd)(z, z, y[:2]), r"labels \[2\] do not fit the logits \[4, 3\]"),
        (lambda z, y: where_correct(dist)(z, z, y), r"where_correct\(dist\): the loss gives \[\], not one value per"),
        (lambda z, y: where_confident(lambda s, t: s.mean())(z, z), "not one value per sample"),
        (lambda z, y: where_correct(OFA()), "where_correct: wraps losses on logits without weights, not OFA"),
        (lambda z, y: where_correct(kd, divide_by="passes"), "passed"),
        (lambda z, y: where_confident(kd, 1.5), "the threshold is a probability, not 1.5"),
    ],
)
def test_wrong_use_is_named(call, complaint: str):
    with pytest.raises(UsageError, match=complaint):
        call(logits(0, 4, 3), torch.arange(4) % 3)
