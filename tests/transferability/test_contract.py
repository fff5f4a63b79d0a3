"""What every score in the catalogue must hold; a new one joins by being exported."""

import inspect
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mentorch import transferability
from mentorch._errors import RunError, UsageError
from mentorch.transferability import Features, ScoreInfo, Uninformative, catalogue

LABELLED = [info for info in catalogue().values() if info.needs == ("features", "labels")]
PAIRED = [info for info in catalogue().values() if info.needs == ("features", "reference")]
H_SCORES = {"h_score", "regularized_h_score"}
COUNTS = {"knn", "ridge", "linear_probe"}  # shares of samples: rounding may turn a single one
Make = Callable[..., tuple[Tensor, Tensor]]


def second(info: ScoreInfo, labels: Tensor) -> Tensor:
    """What the score needs beside features."""
    generator = torch.Generator().manual_seed(5)
    wide = torch.randn(len(labels), 5, generator=generator, dtype=torch.float64)
    return labels if "labels" in info.needs else wide + torch.nn.functional.one_hot(labels, 5)


def value(info: ScoreInfo, features: Tensor | Features, labels: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Uninformative)
        return info.function(features, second(info, labels))


def agree(info: ScoreInfo, a: Tensor, b: Tensor, count: int) -> None:
    slack = 1.01 / count if info.name in COUNTS else 1e-6
    assert abs(float(a - b)) <= slack * max(1.0, abs(float(a)))


@pytest.fixture(params=[*LABELLED, *PAIRED], ids=lambda info: info.name)
def info(request: pytest.FixtureRequest) -> Iterator[ScoreInfo]:
    return request.param


def test_the_catalogue_is_complete():
    files = {path.stem for path in Path(inspect.getfile(transferability)).parent.glob("_*.py")}
    scores = {
        file for file in files if "INFO = (" in (Path(transferability.__file__).parent / f"{file}.py").read_text()
    }
    assert {info.function.__module__.rsplit(".", 1)[1] for info in catalogue().values()} == scores
    assert {info.name for info in LABELLED} == COUNTS | {
        "logme",
        "nleep",
        "parc",
        "gbc",
        "sfda",
        "transrate",
    } | H_SCORES
    assert set(catalogue()) - {info.name for info in LABELLED} == {"leep", "nce", "depara", "cka", "rsa"}
    for info in catalogue().values():
        assert getattr(transferability, info.name) is info.function
        assert info.paper
        assert info.range
        assert inspect.getdoc(info.function)


def moves(size: int, seed: int) -> dict[str, Callable[[Tensor], Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(matrix).Q
    units = torch.rand(size, generator=generator, dtype=torch.float64) + 0.5
    offset = torch.randn(size, generator=generator, dtype=torch.float64)
    return {
        "scale": lambda x: 1000 * x,
        "shift": lambda x: x + 3 * offset,
        "rotation": lambda x: x @ rotation,
        "units": lambda x: x * units,
        "affine": lambda x: x @ (rotation * units) @ rotation.T + offset,
    }


@pytest.mark.parametrize("info", [*LABELLED, *PAIRED], ids=lambda info: info.name)
@given(seed=st.integers(0, 50))
@settings(max_examples=5)
def test_what_it_claims_to_ignore_it_ignores(info: ScoreInfo, planted: Make, seed: int):
    x, labels = planted(seed)
    before, changes = value(info, x, labels), moves(x.shape[1], seed)
    for name in info.invariances:
        if name == "names":
            agree(info, before, value(info, x, 7 * (3 - labels) - 4), len(x))
        else:
            agree(info, before, value(info, changes[name](x), labels), len(x))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *(("logme", "shift"), ("transrate", "scale"), ("sfda", "scale"), ("parc", "rotation")),
        *(("gbc", "units"), ("regularized_h_score", "units"), ("cka", "units"), ("rsa", "rotation")),
    ],
)
def test_what_it_does_not_claim_matters(name: str, change: str, planted: Make):
    x, labels = planted(3)
    info = catalogue()[name]
    assert change not in info.invariances
    assert abs(value(info, x, labels) - value(info, moves(8, 3)[change](x), labels)) > 1e-4


def test_the_order_of_samples_does_not_matter(info: ScoreInfo, planted: Make):
    if info.name in ("nleep", "linear_probe"):
        pytest.skip("starts or folds depend on the order, as documented")
    x, labels = planted(1)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    extra = second(info, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Uninformative)
        torch.testing.assert_close(info.function(x, extra), info.function(x[order], extra[order]))


def test_shared_factorizations_change_nothing(info: ScoreInfo, planted: Make):
    x, labels = planted(2)
    shared = Features(x)
    for each in LABELLED:  # whichever comes first computes what the others use
        value(each, shared, labels)
    assert value(info, shared, labels) == value(info, x, labels)


def test_the_input_is_not_changed_and_the_result_is_one_float64(info: ScoreInfo, planted: Make):
    x, labels = planted(2)
    kept, names = x.clone(), labels.clone()
    result = value(info, x.requires_grad_(), labels)
    assert result.shape == ()
    assert result.dtype == torch.float64
    assert not result.requires_grad
    assert torch.equal(x.detach(), kept)
    assert torch.equal(labels, names)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_full(info: ScoreInfo, planted: Make, dtype: torch.dtype):
    x, labels = planted(4)
    x = x.to(dtype)
    assert value(info, x, labels) == value(info, x.double(), labels)


def test_separated_classes_score_higher_than_noise(planted: Make):
    for info in LABELLED:
        good, bad = (value(info, *planted(6, separation, count=200)) for separation in (3.0, 0.0))
        assert good > bad + 0.01, info.name


@pytest.mark.parametrize("shape", [(12, 40), (40, 12)])
def test_few_samples_give_a_number_or_a_warning(info: ScoreInfo, planted: Make, shape: tuple[int, int]):
    x, labels = planted(0, count=shape[0], size=shape[1], classes=2)
    assert value(info, x, labels).isfinite()


def test_a_rank_deficient_matrix_is_no_problem(info: ScoreInfo, planted: Make):
    x, labels = planted(0)
    x = torch.cat([x, x[:, :3], torch.zeros(len(x), 2, dtype=x.dtype)], dim=1)
    assert value(info, x, labels).isfinite()


def test_unusable_features_are_errors(info: ScoreInfo, planted: Make):
    x, labels = planted(0)
    broken = x.clone()
    broken[3, 2] = torch.nan
    with pytest.raises(RunError, match="not finite for 1 of 60 samples"):
        value(info, broken, labels)
    with pytest.raises(RunError, match="the same for all samples"):
        value(info, torch.ones(60, 8), labels)
    with pytest.raises(UsageError, match=r"needs \[N, D\], got \[60, 8, 1, 1\]"):
        value(info, x[:, :, None, None], labels)
    with pytest.raises(UsageError, match=r"got torch\.int64"):
        value(info, x.long(), labels)


@pytest.mark.parametrize("info", LABELLED, ids=lambda info: info.name)
def test_unusable_labels_are_errors(info: ScoreInfo, planted: Make):
    x, labels = planted(0)
    with pytest.raises(UsageError, match=f"{info.name}: all samples are of class \\[3\\]: nothing to tell apart"):
        info.function(x, torch.full_like(labels, 3))
    with pytest.raises(UsageError, match="60"):
        info.function(x, labels[:-1])


def test_every_condition_without_information_warns(planted: Make):
    wide, labels = planted(0, count=24, size=40)
    for name in ("h_score", "sfda", "transrate"):
        with pytest.warns(Uninformative, match=f"{name}: "):
            catalogue()[name].function(wide, labels)
    lonely = labels.clone()
    lonely[0] = 99
    for name in COUNTS:
        with pytest.warns(Uninformative, match="1 of 5 classes have a single sample"):
            catalogue()[name].function(wide, lonely)
