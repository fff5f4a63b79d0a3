import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mentorch.structure import _tensor_rules as rules
from mentorch.structure._operations import LAYERS, TENSORS

CALLED = {
    getattr(getattr(owner, name), "__name__", "").strip("_")
    for owner in (torch, torch.linalg, torch.Tensor, F)
    for name in dir(owner)
    if name not in ("torch", "T", "mT", "H", "mH")
}


def operation(name):
    """What runs under this name: a function of torch, of its linear algebra or of its tensors."""
    owned = [(torch, name), (F, name), (torch.Tensor, name), (torch.Tensor, f"__{name}__")]
    owned += [(torch.linalg, name.removeprefix("linalg_"))]
    return next(getattr(owner, text) for owner, text in owned if hasattr(owner, text))


def names(*wanted):
    return [name for name, rule in TENSORS.items() if rule in wanted]


def test_every_name_is_one_under_which_torch_calls_something():
    assert [name for name in (*LAYERS, *TENSORS) if name not in CALLED | {"get"}] == []


def test_an_operation_is_a_layer_or_not():
    assert not set(LAYERS) & set(TENSORS)


ARGUMENTS = {
    "threshold": (0.1, 0.0),
    "clamp": (-0.5, 0.5),
    "clip": (-0.5, 0.5),
    "pow": (2,),
    "rrelu": (0.1, 0.3, False),
    "dropout": (0.5, False),
    "alpha_dropout": (0.5, False),
    "feature_alpha_dropout": (0.5, False),
    "to": (torch.float64,),
}
PRECISIONS = {"type", "type_as", "float", "double", "half", "bfloat16", "requires_grad"}
DROPOUTS = {"dropout1d", "dropout2d", "dropout3d"}  # of whole channels: by their modules, below


@pytest.mark.parametrize("name", sorted({*names(rules.same)} - PRECISIONS - DROPOUTS))
def test_what_is_said_to_leave_each_element_where_it_is_does(name):
    x = torch.rand(2, 6, 3, dtype=torch.float64) + 0.1
    function = F.logsigmoid if name == "log_sigmoid" else operation(name)
    given = ARGUMENTS.get(name, ())
    whole = function(x.clone(), *given)
    elements = torch.stack([function(e.clone()[None], *given)[0] for e in x.flatten()]).view_as(x)
    torch.testing.assert_close(whole, elements)


MODULES = (
    "ReLU ReLU6 LeakyReLU RReLU ELU SELU CELU GELU SiLU Mish Sigmoid LogSigmoid Tanh Tanhshrink Hardtanh Hardswish "
    "Hardsigmoid Hardshrink Softshrink Softsign Softplus Dropout Dropout2d AlphaDropout FeatureAlphaDropout Identity "
    "PReLU"
)


@pytest.mark.parametrize("name", MODULES.split())
def test_modules_of_torch_that_change_elements_have_a_rule(name, call, follows):
    network = call(getattr(nn, name)()).double().eval()
    _, _, small = follows(network, torch.randn(1, 3, 2, 3, dtype=torch.float64), 0.5)
    assert small.layer.out_channels == 3


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", sorted({name[:-2] for name in names(rules.pool) if name[-1] == "d"}))
def test_pooling_keeps_channels_apart(name, dims):
    x = torch.rand(1, 4, *[4] * dims, dtype=torch.float64)
    function = getattr(F, f"{name}{dims}d")
    given = (2.0, 2) if name == "lp_pool" else (2,)
    whole = function(x, *given)
    torch.testing.assert_close(whole, torch.cat([function(x[:, [i]], *given) for i in range(4)], 1))
    assert TENSORS[f"{name}{dims}d"] is rules.pool


@pytest.mark.parametrize(
    ("name", "given"),
    [(name, (2,) if name in ("logsumexp", "prod") else ([2, 3],)) for name in names(rules.reduce)]
    + [(name, ([2, 3],)) for name in names(rules.spread)]
    + [(name, (3, [2, 3])) for name in names(rules.norm)]
    + [(name, (2,)) for name in names(rules.softmax)],
)
def test_what_reduces_positions_keeps_channels_apart(name, given):
    x = torch.rand(1, 4, 3, 2, dtype=torch.float64)
    function = F.softmin if name == "softmin" else operation(name)
    whole = function(x, *given)
    torch.testing.assert_close(whole, torch.cat([function(x[:, [i]], *given) for i in range(4)], 1))


@pytest.mark.parametrize("name", names(rules.pair))
def test_what_pairs_elements_does_so_in_one_place(name):
    x, y, z = torch.rand(3, 5, dtype=torch.float64) + 0.5
    given = {"where": (x > 1, y, z), "lerp": (x, y, z), "masked_fill": (x, y > 1, 2.0)}
    given |= dict.fromkeys(("addcmul", "addcdiv"), (x, y, z))
    args = given.get(name, (x, y))
    function = {"rdiv": torch.Tensor.__rtruediv__, "idiv": torch.Tensor.__itruediv__}.get(name) or operation(
        f"__{name}__" if name in ("rpow", "radd", "iadd", "isub", "rmul", "imul") else name
    )
    whole = function(*(a.clone() if isinstance(a, torch.Tensor) else a for a in args))
    each = [function(*(a[i].clone() if isinstance(a, torch.Tensor) else a for a in args)) for i in range(5)]
    torch.testing.assert_close(whole, torch.stack(each))
