"""Two processes as ``torchrun`` starts them, with gloo on the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mentorch.training import _checkpoint
from mentorch.training._everybody import derived

Together = Callable[..., list[dict[str, Any]]]


def near(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert "error" not in found, found
    assert found["samples"] == expected["samples"]
    assert found["weights"].keys() == expected["weights"].keys()
    for name, value in expected["weights"].items():
        torch.testing.assert_close(torch.tensor(found["weights"][name]), torch.tensor(value), rtol=1e-4, atol=1e-5)
    for mine, one in zip(found["records"], expected["records"], strict=True):
        assert mine["train"]["edges"] == pytest.approx(one["train"]["edges"], rel=1e-4, abs=1e-6)
        for node, metrics in one["validation"].items():
            assert mine["validation"][node] == pytest.approx(metrics, rel=1e-4)


@pytest.mark.parametrize("kind", ["plain", "mutual", "alternating", "everything", "clipped"])
def test_two_train_what_one_does_with_the_same_batches(kind: str, together: Together) -> None:
    """Moving gates, a node that nobody teaches at times, relations over all samples, adapters drawn differently."""
    (first, second), (alone,) = together("trained", kind=kind), together("trained", world=1, kind=kind)
    near(first, alone)
    assert first == second
    assert first["after"] == alone["after"]  # what is drawn afterwards does not depend on the number of processes


def test_processes_fill_one_cache_and_learn_from_it_what_a_live_teacher_says(
    together: Together, tmp_path: Path
) -> None:
    (alone,) = together("trained", world=1, kind="plain")
    for _ in range(2):  # empty, then full
        first, second = together("trained", kind="cached", cache=tmp_path)
        near(first, alone)
        assert first == second


def test_sharded_networks_learn_what_whole_ones_do(together: Together) -> None:
    (first, second), (alone,) = together("trained", kind="sharded"), together("trained", world=1, kind="clipped")
    near(first, alone)
    assert first == second


@pytest.mark.parametrize("kind", ["dropout", "everything", "sharded"])
def test_killed_and_resumed_by_as_many_processes_it_ends_with_the_same_bits(
    kind: str, together: Together, tmp_path: Path
) -> None:
    whole = together("trained", kind=kind)
    for at in (2, 5):
        killed = together("trained", kind=kind, run=tmp_path, resume=True, checkpoint_every=1, at=at)
        assert [one["status"] for one in killed] == [-9, -9]
    assert together("trained", kind=kind, run=tmp_path, resume=True, checkpoint_every=1) == whole


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_another_number_of_processes_goes_on_with_the_same_batches(
    before: int, after: int, together: Together, tmp_path: Path
) -> None:
    (alone,) = together("trained", world=1, kind="plain")
    killed = together("trained", before, kind="plain", run=tmp_path, resume=True, checkpoint_every=1, at=5)
    assert {one["status"] for one in killed} == {-9}
    near(together("trained", after, kind="plain", run=tmp_path, resume=True)[0], alone)


def test_a_run_whose_batches_would_be_others_is_refused(together: Together, tmp_path: Path) -> None:
    together("trained", kind="plain", run=tmp_path)
    for size, difference in ((22, "steps_per_epoch is 3 there and 2 here"), (18, "batch_size is 16 there and 18 here")):
        for one in together("trained", kind="plain", run=tmp_path, size=size, resume=True):
            assert difference in one["message"]


def test_processes_draw_different_numbers_and_each_the_same_again() -> None:
    state = _checkpoint.random_state()
    one, same, other = derived(state, 1), derived(state, 1), derived(state, 2)
    assert torch.equal(one["torch"], same["torch"])
    assert not torch.equal(one["torch"], other["torch"])
    assert not torch.equal(one["torch"], state["torch"])
    assert torch.equal(state["torch"], torch.get_rng_state())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"kind": "plain", "size": 15}, "a batch of 15 cannot be shared by 2 processes in equal parts"),
        ({"kind": "sharded", "ema": 0.9}, "ema needs whole networks, and one is sharded"),
        ({"kind": "sharded", "diagnose": 1}, "diagnose needs whole networks, and one is sharded"),
    ],
)
def test_what_cannot_be_done_is_refused_by_all(options: dict[str, Any], complaint: str, together: Together) -> None:
    assert all(complaint in one["message"] for one in together("trained", **options))
