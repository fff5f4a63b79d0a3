"""A small data set and a fit that takes no time."""

from functools import partial

import pytest
import torch
from torch import nn

from mentorch import fit
from mentorch.data import Dataset, load


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """A hundred training images of digits."""
    return load("digits", train_size=100)


@pytest.fixture
def quick():
    """:func:`mentorch.fit` for two epochs."""
    return partial(fit, optimizer=partial(torch.optim.Adam, lr=0.01), epochs=2, tensorboard=False, device="cpu")


@pytest.fixture
def hooks():
    """``hooks(network)``: how many hooks are installed anywhere in it."""
    return lambda network: sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules() if isinstance(m, nn.Module)
    )
