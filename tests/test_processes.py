from collections.abc import Callable

import pytest

from mentorch import UsageError, _processes

Together = Callable[..., list[dict]]


def test_gradients_are_means_and_what_nobody_has_stays_away(together: Together) -> None:
    first, second = together("averaged")
    expected = [[5.0] * 5, [6.0] * 6, [7.0] * 4, [6.5] * 3, None]  # the fourth is 13 in one process, missing in one
    assert first["grads"] == second["grads"] == expected


def test_the_first_process_tells_the_others_and_hears_them(together: Together) -> None:
    first, second = together("averaged")
    assert first["own"] == second["own"] == [[0.0, 2.0], [1.0, 3.0]]  # also what is not contiguous
    assert first["told"] == second["told"] == ["0", "11"]


def test_a_process_by_itself_is_the_first_of_one() -> None:
    assert (_processes.rank(), _processes.world(), _processes.per_machine()) == (0, 1, (0, 1))
    assert not _processes.started_together()
    assert _processes.share(7) == 7
    _processes.join()
    _processes.wait()
    assert not _processes.grouped()


def test_what_torchrun_says_is_believed_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "6", "RANK": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)  # other programs say this too
    assert not _processes.started_together()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert (_processes.rank(), _processes.world(), _processes.per_machine()) == (4, 6, (1, 3))
    assert _processes.share(12) == 2
    with pytest.raises(UsageError, match="a batch of 10 cannot be shared by 6 processes in equal parts"):
        _processes.share(10)
