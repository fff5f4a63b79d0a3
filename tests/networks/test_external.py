"""Networks by import path, and packages that are not there. What needs timm or transformers is in tests/vision."""

import importlib.util
import sys

import pytest
import torch

from mentorch._errors import UsageError
from mentorch.networks import build


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "somebodys.py").write_text(
        "from torch import nn\n"
        "SIZE = 3\n"
        "def flat(num_classes, in_channels=3, *, side=8):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * side * side, num_classes))\n"
        "def colour_only(**options):\n"
        "    return flat(options.pop('num_classes'), **options)\n"
        "def rgb(num_classes):\n"
        "    return flat(num_classes)\n"
        "def nothing(num_classes, in_channels):\n"
        "    return None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("somebodys", None)


@pytest.mark.usefixtures("package")
class TestImported:
    def test_called_with_classes_channels_and_options(self):
        network = build("somebodys:flat", num_classes=5, in_channels=2, options={"side": 4})
        assert network(torch.zeros(1, 2, 4, 4)).shape == (1, 5)

    def test_channels_are_left_out_where_nobody_asks(self):
        assert build("somebodys:rgb", num_classes=5)(torch.zeros(1, 3, 8, 8)).shape == (1, 5)
        assert build("somebodys:colour_only", num_classes=5)(torch.zeros(1, 3, 8, 8)).shape == (1, 5)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("somebodys:gone", "cannot be imported.*gone"),
            ("nobodys:flat", "cannot be imported.*nobodys"),
            (":flat", "cannot be imported"),
            ("somebodys:SIZE", "is int, not a callable"),
            ("somebodys:nothing", "returned NoneType"),
        ],
    )
    def test_what_cannot_be_used(self, name, message):
        with pytest.raises(UsageError, match=message):
            build(name, num_classes=5)

    def test_arguments_it_does_not_know(self):
        with pytest.raises(UsageError, match=r'must accept .*"in_channels"'):
            build("somebodys:rgb", num_classes=5, in_channels=1)
        with pytest.raises(UsageError, match="depth"):
            build("somebodys:flat", num_classes=5, options={"depth": 3})


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("timm:resnet18", "timm", "vision"), ("hf:resnet", "transformers", "hf")]
)
def test_a_package_that_is_not_installed(name, package, extra, monkeypatch):
    if importlib.util.find_spec(package):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"^{package} is not installed: pip install 'mentorch\[{extra}\]'$"):
        build(name, num_classes=2)
