import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mentorch._errors import UsageError
from mentorch.transferability import linear_probe
from mentorch.transferability._linear_probe import _deal, _fit


def test_the_classifier_is_the_regularized_optimum(planted):
    x, labels = planted(0)
    weight, bias = _fit(x, labels, 4, 0.01)
    reference = LogisticRegression(C=1 / (0.01 * len(x)), tol=1e-8, max_iter=2000).fit(x.numpy(), labels.numpy())
    torch.testing.assert_close(weight.mT, torch.from_numpy(reference.coef_), atol=5e-3, rtol=1e-2)
    assert bias.shape == (4,)


def test_folds_have_their_share_of_every_class():
    labels = torch.tensor([0] * 11 + [5] * 9 + [7] * 10)
    fold = _deal(labels, 5)
    table = torch.stack([torch.bincount(fold[labels == c], minlength=5) for c in (0, 5, 7)])
    assert (table.amax(1) - table.amin(1) <= 1).all()
    assert (torch.bincount(fold) == 6).all()


def test_noise_is_at_chance_and_clear_classes_are_right(planted):
    assert float(linear_probe(*planted(0, 10.0))) == 1
    assert float(linear_probe(*planted(0, 0.0, count=200, size=40))) < 0.45


def test_it_says_the_same_every_time_and_under_no_grad(planted):
    x, labels = planted(0, 0.5)
    first = linear_probe(x, labels)
    with torch.no_grad():
        assert linear_probe(x, labels) == first
    torch.manual_seed(5)
    assert linear_probe(x, labels) == first


def test_wrong_use_is_named(planted):
    with pytest.raises(UsageError, match="between 2 and the 60 samples, not 1"):
        linear_probe(*planted(0), folds=1)
    with pytest.raises(UsageError, match="weight_decay must be positive, not 0"):
        linear_probe(*planted(0), weight_decay=0.0)
