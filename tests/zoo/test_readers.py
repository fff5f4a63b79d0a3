"""Readers of hubs without the packages that know these; with them: `tests/vision/test_zoo_readers.py`."""

import sys

import pytest

from mentorch import zoo
from mentorch._errors import UsageError


@pytest.mark.parametrize(
    ("read", "package", "extra"), [(zoo.from_timm, "timm", "vision"), (zoo.from_hf, "transformers", "hf")]
)
def test_a_package_that_is_missing_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch, read, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"{package} is not installed: pip install 'mentorch\[{extra}\]'"):
        read("resnet18")


def test_weights_have_the_classes_that_they_have():
    with pytest.raises(UsageError, match="as many classes as its weights"):
        zoo.from_timm("resnet10t", num_classes=5)
