import pytest
import torch

from mentorch._errors import RunError, UsageError
from mentorch.metrics import accuracy, cross_entropy
from mentorch.metrics._checks import check_batch, check_features, check_pair


def test_what_fits_passes():
    logits, labels = torch.full((2, 3), torch.nan), torch.tensor([0, 1])
    check_batch("m", logits, labels)
    check_pair("m", logits, logits)
    check_features("m", torch.zeros(2, 3), labels, "train")


@pytest.mark.parametrize("n", [0, 1])
def test_one_sample_is_enough_and_none_is_not(n: int):
    logits, labels = torch.zeros(n, 3), torch.zeros(n, dtype=torch.int64)
    checks = [
        lambda: check_batch("m", logits, labels),
        lambda: check_pair("m", logits, logits),
        lambda: check_features("m", logits, labels, "test"),
    ]
    for check in checks:
        if n:
            check()
        else:
            with pytest.raises(UsageError, match=r"m.*: nothing to measure, got 0 samples"):
                check()


def test_only_features_must_be_finite():
    with pytest.raises(RunError, match="m: features of train are not finite: the network has diverged"):
        check_features("m", torch.tensor([[torch.inf]]), torch.tensor([0]), "train")


def test_what_is_no_tensor_is_named_with_the_way_out() -> None:
    logits, labels = torch.zeros(2, 3), torch.zeros(2).long()
    with pytest.raises(
        UsageError, match=r"^accuracy: needs logits as a tensor, got tuple: pass metrics= that pick one$"
    ):
        accuracy((logits, logits), labels)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^cross_entropy: needs labels as a tensor, got dict: pass metrics="):
        cross_entropy(logits, {"depth": labels})  # type: ignore[arg-type]
