import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import ViT, cost, vit_nano, vit_tiny
from mentorch.networks._vit import _Block, _positions


@pytest.mark.parametrize(
    ("build", "parameters"),
    # blocks of 12 C^2 + 13 C, patch embedding of 49 C, final norm of 2 C, classifier of 10 C + 10
    [(vit_tiny, 12 * (12 * 192**2 + 13 * 192) + 61 * 192 + 10), (vit_nano, 6 * (12 * 64**2 + 13 * 64) + 61 * 64 + 10)],
)
def test_number_of_parameters(build, parameters):
    assert sum(p.numel() for p in build(10).parameters()) == parameters


def test_the_work_is_that_of_the_formula():
    # per token and block 12 C^2 + 2 T C, with T = 64 tokens; 48 C for each patch
    assert cost(vit_nano(10), torch.zeros(1, 3, 32, 32)).macs == 64 * (6 * (12 * 64**2 + 2 * 64 * 64) + 48 * 64) + 640


def test_a_block_is_torchs_pre_norm_encoder_layer():
    torch.manual_seed(0)
    block = _Block(16, 4).double().eval()
    layer = nn.TransformerEncoderLayer(16, 4, 64, 0.0, F.gelu, 1e-6, batch_first=True, norm_first=True).double().eval()
    with torch.no_grad():
        for own, theirs in [
            (block.qkv, (layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias)),
            (block.proj, layer.self_attn.out_proj.parameters()),
            (block.mlp[0], layer.linear1.parameters()),
            (block.mlp[2], layer.linear2.parameters()),
        ]:
            for a, b in zip(own.parameters(), theirs, strict=True):
                b.copy_(a.normal_())
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    torch.testing.assert_close(block(x), layer(x))


@pytest.mark.parametrize("class_token", [False, True])
def test_taps_show_tokens_and_the_embedding(class_token):
    torch.manual_seed(0)
    network = vit_nano(7, class_token=class_token).eval()
    assert network.taps.stages == ("blocks.1", "blocks.3", "norm")
    seen = {}
    for path in (network.taps.stem, *network.taps.stages, "fc"):
        network.get_submodule(path).register_forward_hook(lambda m, i, o, p=path: seen.update({p: (i[0], o)}))
    network(torch.rand(2, 3, 32, 24))
    tokens = 8 * 6 + class_token
    assert all(seen[path][1].shape == (2, tokens, 64) for path in (network.taps.stem, *network.taps.stages))
    last = seen["norm"][1]
    torch.testing.assert_close(seen["fc"][0], last[:, 0] if class_token else last.mean(1))


def test_positions_tell_all_cells_apart_at_every_size():
    for size in ((8, 8), (3, 5), (1, 1), (2, 64)):
        table = _positions(torch.zeros(1, 16, *size))
        assert table.shape == (size[0] * size[1], 16)
        apart = torch.cdist(table.double(), table.double()) + torch.eye(len(table)) * 9
        assert apart.min() > 1e-3
    first = _positions(torch.zeros(1, 16, 2, 3))
    torch.testing.assert_close(first[0], torch.tensor([0.0] * 4 + [1.0] * 4).repeat(2))
    torch.testing.assert_close(first[:3, :8], first[:1, :8].expand(3, -1))  # one row, one code


def test_order_of_patches_matters_and_its_absence_does_not_without_positions():
    torch.manual_seed(0)
    network = vit_nano(5).eval()
    images = torch.rand(2, 3, 16, 16)
    assert not torch.allclose(network(images), network(images.roll(4, dims=3)), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"width": 66, "depth": 6, "heads": 2}, "a multiple of 4 and of its 2 heads, not 66"),
        ({"width": 64, "depth": 6, "heads": 3}, "of its 3 heads, not 64"),
        ({"width": 64, "depth": 2, "heads": 2}, "at least three blocks, not 2"),
    ],
)
def test_impossible_sizes(options, complaint):
    with pytest.raises(UsageError, match=complaint):
        ViT(10, **options)
