"""Networks by name, for the command line, recipes and cards. In Python, pass the builder."""

import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn

from mentorch._errors import UsageError, unknown
from mentorch.networks import _cnn, _mobilenet, _resnet, _shufflenet_v1, _shufflenet_v2, _vgg, _vit, _wrn
from mentorch.networks._build_dense import DENSE, find_dense
from mentorch.networks._exported import exported
from mentorch.networks._external import hf_network, imported_network, timm_network

_BUILDERS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "cnn_tiny": _cnn.cnn_tiny,
        "cnn_small": _cnn.cnn_small,
        "cnn_medium": _cnn.cnn_medium,
        "resnet8": _resnet.resnet8,
        "resnet14": _resnet.resnet14,
        "resnet20": _resnet.resnet20,
        "resnet32": _resnet.resnet32,
        "resnet44": _resnet.resnet44,
        "resnet56": _resnet.resnet56,
        "resnet110": _resnet.resnet110,
        "resnet8x4": _resnet.resnet8x4,
        "resnet32x4": _resnet.resnet32x4,
        "resnet18": _resnet.resnet18,
        "resnet34": _resnet.resnet34,
        "resnet50": _resnet.resnet50,
        **{f"resnet{d}_karanchahal": partial(_resnet.resnet_karanchahal, d) for d in (8, 14, 20, 26, 32)},
        "wrn_10_1": _wrn.wrn_10_1,
        "wrn_16_1": _wrn.wrn_16_1,
        "wrn_16_2": _wrn.wrn_16_2,
        "wrn_28_1": _wrn.wrn_28_1,
        "wrn_28_2": _wrn.wrn_28_2,
        "wrn_40_1": _wrn.wrn_40_1,
        "wrn_40_2": _wrn.wrn_40_2,
        "vgg8": _vgg.vgg8,
        "vgg13": _vgg.vgg13,
        "vgg16": _vgg.vgg16,
        "vgg19": _vgg.vgg19,
        "vit_nano": _vit.vit_nano,
        "vit_tiny": _vit.vit_tiny,
        "mobilenet_v2": _mobilenet.mobilenet_v2,
        "shufflenet_v1": _shufflenet_v1.shufflenet_v1,
        "shufflenet_v2": _shufflenet_v2.shufflenet_v2,
    }
)
# whole families: the numbers in the name are the first arguments
_FAMILIES: tuple[tuple[re.Pattern[str], Callable[..., nn.Module]], ...] = (
    (re.compile(r"resnet(\d+)"), _resnet.resnet),
    (re.compile(r"resnet(\d+)x4"), partial(_resnet.resnet, **_resnet.resnet8x4.keywords)),
    (re.compile(r"resnet(\d+)_karanchahal"), _resnet.resnet_karanchahal),
    (re.compile(r"wrn_(\d+)_(\d+)"), _wrn.wrn),
)
_SMALLEST = 8


def names() -> list[str]:
    """The names `build` knows; any valid `resnetD`, `resnetDx4`, `resnetD_karanchahal` or `wrn_D_K` works too."""
    return sorted(_BUILDERS)


def dense_names() -> list[str]:
    """The networks that answer at every pixel which `build` knows; `deeplab_NAME` over a backbone works too."""
    return sorted(DENSE)


def build(
    name: str,
    *,
    num_classes: int,
    in_channels: int = 3,
    image_size: int | tuple[int, int] | None = None,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """The network called ``name``, with random weights.

    Args:
        name: one of `names()` or of their families, or of `dense_names()`; `timm:NAME`, `hf:NAME`, or
            `package.module:callable`; or `exported`, with a program among its options.
        num_classes: logits.
        in_channels: channels of the images.
        image_size: side, or height and width, of the images; needed by networks that are built for one size.
        options: further keyword arguments of the builder, such as `{"shortcut": "conv"}`.

    Raises:
        UsageError: for a name or option that does not exist, or an impossible number.

    >>> type(build("wrn_22_3", num_classes=5)).__name__
    'WideResNet'
    """
    options = options or {}
    sides = (image_size,) if isinstance(image_size, int) else image_size or (_SMALLEST,)
    for number in (num_classes, in_channels, *sides):
        if not isinstance(number, int):
            raise UsageError(f"{name}: classes, channels and sides are whole numbers, got {number!r}")
    if num_classes < 1 or in_channels < 1:
        raise UsageError(f"{name} needs at least one class and one channel, not {num_classes} and {in_channels}")
    kind, _, rest = name.partition(":")
    if kind == "timm":
        return timm_network(rest, num_classes, in_channels, image_size, options)
    if kind == "hf":
        return hf_network(rest, num_classes, in_channels, image_size, options)
    if rest:
        return imported_network(name, num_classes, in_channels, options)
    if min(sides) < _SMALLEST:
        raise UsageError(f"{name} reads images of at least {_SMALLEST}x{_SMALLEST}, not {image_size}")
    builder = _find(name)
    accepted = [p.name for p in inspect.signature(builder).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in accepted:
            raise unknown(f"option of {name}", option, accepted)
    try:
        return builder(num_classes=num_classes, in_channels=in_channels, **options)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        given = {"num_classes": num_classes, "in_channels": in_channels, **options}
        raise UsageError(f"{name} cannot be built with {given}: {' '.join(str(error).split())[:200]}") from error


def _find(name: str) -> Callable[..., nn.Module]:
    if name == "exported":
        return exported
    if name in _BUILDERS:
        return _BUILDERS[name]
    for pattern, builder in _FAMILIES:
        if match := pattern.fullmatch(name):
            return partial(builder, *map(int, match.groups()))
    if (dense := find_dense(name, _find)) is not None:
        return dense
    raise unknown(
        "network", name, [*DENSE, "deeplab_NAME", *_BUILDERS, "timm:NAME", "hf:NAME", "package.module:callable"]
    )
