"""Large networks of torchvision and timm: the counts of the knowledge-evolution code, and slim networks to the bit."""

import copy
import functools
import math

import pytest
import torch

from mentorch._errors import UsageError
from mentorch.networks import build
from mentorch.structure import merge, plan, reset, resize, slim, split, zero

models = pytest.importorskip("torchvision.models")
googlenet = functools.partial(models.googlenet, aux_logits=False, init_weights=False)
vit = functools.partial(
    models.VisionTransformer, image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=50
)
IMAGE = torch.zeros(1, 3, 32, 32)

# weights of convolutions and the classifier: all and kept; parameters of the slim network (evolution.md, 2.1 and 3.3)
PUBLISHED = [
    (models.resnet18, 0.5, 11_218_112, 2_819_680, 2_824_580),
    (models.resnet18, 0.8, 11_218_112, 7_211_016, None),
    (googlenet, 0.5, 5_687_744, 1_449_888, 1_457_268),
    (models.densenet121, 0.5, 6_972_608, 1_771_104, 1_813_028),
]


@functools.cache
def planned(make):
    network = make(num_classes=100)
    return network, plan(network, IMAGE)


@pytest.mark.parametrize(("make", "rate", "weights", "kept", "parameters"), PUBLISHED)
def test_counts_are_the_published_ones(make, rate, weights, kept, parameters):
    network, p = planned(make)
    s = split(p, rate)
    assert sum(math.prod(p.shapes[name]) for name in p.layers) == weights
    assert sum(int(s.mask(name).sum()) for name in p.layers) == kept
    if parameters is not None:
        assert sum(x.numel() for x in slim(network, s).parameters()) == parameters


def test_masks_and_slim_networks_round_alike_where_the_published_code_did_not():
    _, p = planned(models.densenet121)
    s = split(p, 0.8)
    assert s.shapes["features.denseblock1.denselayer1.conv1.weight"][0] == 103
    assert s.shapes["features.denseblock1.denselayer1.conv2.weight"][:2] == (26, 103)


@pytest.mark.parametrize("rate", [0.5, 0.8])
@pytest.mark.parametrize(
    "make",
    [
        models.resnet18,
        models.resnet50,
        models.densenet121,
        googlenet,
        models.mobilenet_v2,
        models.shufflenet_v2_x0_5,
        vit,
    ],
)
def test_zeroed_reset_part_computes_what_the_slim_network_does_to_the_bit(make, rate, lively, exact):
    torch.manual_seed(0)
    network = lively(make(num_classes=10))
    s = split(plan(network, IMAGE), rate)
    dense = copy.deepcopy(network)
    reset(dense, s, law=zero)
    small = slim(dense, s)
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    expected = exact(dense, x)
    assert torch.equal(expected, exact(small, x))
    torch.testing.assert_close(small(x), expected, rtol=1e-10, atol=1e-10)
    assert sum(q.numel() for q in small.parameters()) < sum(q.numel() for q in network.parameters())


@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "convnext_atto", "seresnet18", "regnetx_002", "mobilenetv3_small_050"],
)
def test_networks_of_timm(name, lively):
    pytest.importorskip("timm")
    options = {"depth": 2} if name.startswith("vit") else {}
    network = lively(build(f"timm:{name}", num_classes=4, image_size=32, options=options))
    s = split(plan(network, IMAGE), 0.5)
    dense = copy.deepcopy(network)
    reset(dense, s, law=zero)
    small = slim(dense, s)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(small(x), dense(x), rtol=1e-10, atol=1e-10)
    rebuilt = resize(build(f"timm:{name}", num_classes=4, image_size=32, options=options).double(), s.recipe()).eval()
    rebuilt.load_state_dict(small.state_dict())
    assert torch.equal(rebuilt(x), small(x))


def test_attention_of_timm_has_fewer_heads_and_that_of_torch_keeps_them():
    pytest.importorskip("timm")
    network = build("timm:vit_tiny_patch16_224", num_classes=4, image_size=32, options={"depth": 1})
    small = slim(network, split(plan(network, IMAGE)))
    assert (small.blocks[0].attn.num_heads, small.blocks[0].attn.attn_dim) == (2, 128)
    p = plan(vit(num_classes=4), IMAGE)
    assert {s.name for s in p.spaces if not s.pinned} == {f"encoder.layers.encoder_layer_{i}.mlp.0" for i in range(2)}


def test_auxiliary_heads_that_only_training_uses_are_an_error():
    with pytest.raises(UsageError, match=r"parameter 'aux1.conv.conv.weight' is not used in evaluation mode"):
        plan(models.googlenet(init_weights=False), IMAGE)


def test_teachers_with_concatenations_merge(lively):
    torch.manual_seed(0)
    networks = [lively(googlenet(num_classes=k)) for k in (3, 5)]
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    expected = torch.cat([network(x) for network in networks], 1)
    torch.testing.assert_close(merge(networks, x)(x), expected, rtol=1e-10, atol=1e-10)
