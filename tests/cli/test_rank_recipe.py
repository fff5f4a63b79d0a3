import pytest

from mentorch import UsageError
from mentorch.cli._rank_recipe import RankRecipe
from mentorch.cli._recipe import check


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 3}, "epochs has no effect with a ranking alone"),
        ({"k": 2}, "k has no effect with a ranking alone"),
        ({"scores": "logme,logme"}, "none twice"),
        ({"scores": []}, "name at least one"),
        ({"workers": 2, "device": "cuda"}, "workers look at networks on processors, not on cuda"),
        ({"engine": "ray", "device": "mps"}, "not on mps"),
        ({"engine": "threads"}, "engine: "),
        ({"probes": 2}, "probes: "),
    ],
)
def test_what_makes_no_sense_is_said(values: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check(RankRecipe, {"command": "rank", **values})


def test_a_student_makes_use_of_the_training() -> None:
    recipe = RankRecipe(distill="cnn_tiny", epochs=3, k=2)
    assert RankRecipe(**recipe.to_plain()) == recipe
    assert {"epochs", "lr", "k"} <= recipe.to_plain().keys()
    assert not {"epochs", "lr", "k"} & RankRecipe().to_plain().keys()


def test_one_worker_of_this_machine_works_alone() -> None:
    assert RankRecipe().alone
    assert not RankRecipe(workers=2).alone
    assert not RankRecipe(engine="ray").alone
