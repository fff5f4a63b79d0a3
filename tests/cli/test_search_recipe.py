from typing import Any

import pytest

from mentorch import UsageError
from mentorch.cli._recipe import check
from mentorch.cli._search_recipe import SearchRecipe
from mentorch.search import FORK, PAPER


def test_sets_of_gates_stand_for_their_gates_each_once() -> None:
    assert check(SearchRecipe, {}).gates == PAPER
    found = check(SearchRecipe, {"gates": "through,fork,cosine,through", "label_gates": "paper"})
    assert found.gates == tuple(dict.fromkeys(("through", *FORK, "cosine")))
    assert found.label_gates == PAPER
    assert check(SearchRecipe, {}).label_gates is None  # then those of the others without correct
    assert check(SearchRecipe, found.to_plain()) == found


def test_without_finals_their_seeds_exclude_none_of_the_search() -> None:
    assert check(SearchRecipe, {"finals": 0, "trial_seeds": "1,2"}).trial_seeds == (1, 2)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"seeds": "0,1"}, "seeds [0] are used by the search already: finals need new ones"),
        ({"trial_seeds": "2"}, "seeds [2] are used by the search already: finals need new ones"),
        ({"trial_seeds": "4,4"}, "trial_seeds: name at least one, and none twice, got [4, 4]"),
        ({"sampler_seed": 2**32}, "sampler_seed: Input should be less than 4294967296"),
        ({"trial_seeds": ","}, "trial_seeds: name at least one, and none twice, got []"),
        ({"evidence": "accuracy", "scores": "cnn_tiny=1"}, "evidence and scores exclude each other"),
        ({"scores": "cnn_tiny"}, "scores: 'cnn_tiny' is not written KEY=VALUE"),
        ({"temperature": "4,0"}, "temperature.1: Input should be greater than 0"),
        ({"nodes": 1}, "nodes: Input should be greater than or equal to 2"),
        ({"pruner": "halving"}, "pruner: Input should be 'none', 'asha' or 'hyperband'"),
        ({"select": "best"}, "select: Input should be 'last'"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_in_one_line(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        check(SearchRecipe, values)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)
