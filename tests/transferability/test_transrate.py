import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability import Uninformative, transrate


def rate(z: Tensor, distortion: float) -> Tensor:
    return torch.logdet(torch.eye(z.shape[1]) + z.mT @ z / (len(z) * distortion)) / 2


def slow(x: Tensor, labels: Tensor, distortion: float = 1e-4) -> float:
    x = x - x.mean(0)
    parts = [rate(x[labels == c], distortion) for c in labels.unique()]
    return float(rate(x, distortion) - sum(parts) / len(parts))


def test_reference_values(reference):
    assert float(transrate(*reference("A")[:2])) == pytest.approx(15.425186072191025, rel=1e-10)
    with pytest.warns(Uninformative, match="smallest class has 10 samples for 256 dimensions"):
        assert float(transrate(*reference("B")[:2])) == pytest.approx(285.212796064983, rel=1e-10)


@given(seed=st.integers(0, 99), distortion=st.sampled_from([1e-4, 0.1, 10.0]))
@settings(max_examples=15)
def test_equals_the_determinants_written_out(planted, seed: int, distortion: float):
    x, labels = planted(seed, count=61)
    assert float(transrate(x, labels, distortion=distortion)) == pytest.approx(slow(x, labels, distortion), rel=1e-8)


def test_classes_of_one_size_save_length(planted):
    x, labels = planted(0)
    assert float(transrate(x, labels)) >= 0


def test_noise_grows_with_dimensions_when_classes_are_small():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 5
    values = []
    for size in (16, 256):
        x = torch.randn(400, size, generator=generator)
        if size > 80:
            with pytest.warns(Uninformative, match="grows with the dimensions"):
                values.append(float(transrate(x, labels)))
        else:
            values.append(float(transrate(x, labels)))
    assert values[1] > 100 * values[0]


def test_the_distortion_is_checked(planted):
    with pytest.raises(UsageError, match="distortion must be positive, not 0"):
        transrate(*planted(0), distortion=0.0)
