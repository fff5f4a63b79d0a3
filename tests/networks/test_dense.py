"""What every network of dense outputs promises."""

import copy

import pytest
import torch
from torch import nn

from mentorch import Edge, Graph, UsageError, freeze
from mentorch.networks import EncoderDecoder, Taps, cost, deeplab, resnet8, segnet_tiny, state_hash, unet_tiny

MAKE = {
    "segnet": lambda outputs=5, channels=3: segnet_tiny(outputs, channels),
    "unet": lambda outputs=5, channels=3: unet_tiny(outputs, channels),
    "deeplab": lambda outputs=5, channels=3: deeplab(resnet8(10, channels), outputs, rates=(1, 2), width=24),
}


@pytest.fixture(params=MAKE)
def make(request):
    torch.manual_seed(0)
    return MAKE[request.param]


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (8, 8)])
def test_an_output_at_every_pixel(make, size):
    network = make(7, 2)
    assert network(torch.randn(2, 2, *size)).shape == (2, 7, *size)


def test_the_decoder_may_be_cut_anywhere(make):
    """Trunk of one network, rest of another copy: the same output, whatever the cut, and widths as promised."""
    network = make().eval()
    other = copy.deepcopy(network)
    images = torch.randn(2, 3, 24, 40)
    whole = network(images)
    x, left = network.encode(images)
    assert len(left) == len(network.decoder) == len(network.widths)
    for cut in range(len(network.decoder) + 1):
        trunk = network.decode(x, left, stop=cut)
        assert torch.equal(other.decode(trunk, left, start=cut), whole)
        if cut < len(network.widths):
            assert trunk.shape[1] == network.widths[cut]


def test_a_branch_shares_the_trunk_and_learns_alone(make):
    trunk, branch = make(5), make(1)
    x, left = trunk.encode(torch.randn(2, 3, 16, 16))
    output = branch.decode(trunk.decode(x, left, stop=1), left, start=1)
    assert output.shape == (2, 1, 16, 16)
    output.sum().backward()
    grads = {name: p.grad is not None for name, p in branch.named_parameters()}
    first = next(iter(dict(branch.decoder.named_children())))
    assert not any(has for name, has in grads.items() if name.startswith(("encoder", f"decoder.{first}")))
    assert all(has for name, has in grads.items() if name.startswith("decoder.head"))


def test_taps_are_maps_read_once(make):
    network = make().eval()
    seen = {}
    for path in (network.taps.stem, *network.taps.stages):
        network.get_submodule(path).register_forward_hook(
            lambda module, inputs, output, path=path: seen.setdefault(path, []).append((output, output._version))
        )
    head = []
    assert network.taps.embedding == "decoder.head:in"
    network.decoder.head.register_forward_hook(lambda module, inputs, output: head.append(inputs[0]))
    network(torch.randn(2, 3, 32, 32))
    assert set(seen) == {network.taps.stem, *network.taps.stages}
    assert all(len(calls) == 1 for calls in seen.values())
    maps = [calls[0] for calls in seen.values()]
    assert all(x.ndim == 4 and x._version == version and (x >= 0).all() for x, version in maps)
    sides = [seen[path][0][0].shape[-1] for path in network.taps.stages]
    assert sides == sorted(sides, reverse=True)
    assert len(head) == 1
    assert head[0].shape[1] == network.widths[-1]


def test_a_graph_reads_stages_blocks_and_the_map_before_the_head(make):
    teacher, student = make(), make()
    stage = student.taps.stages[-1]
    block = next(iter(dict(student.decoder.named_children())))
    places = (f".{stage}", f".decoder.{block}", ".decoder.head:in", "")
    edges = [
        Edge(f"teacher{place}", f"student{place}", nn.functional.mse_loss, name=f"edge{i}")
        for i, place in enumerate(places)
    ]
    graph = Graph({"teacher": freeze(teacher), "student": student}, edges)
    values = graph(torch.randn(2, 3, 16, 16))
    assert len(values) == 4
    assert all(value.isfinite() for value in values.values())


def test_every_parameter_learns_and_the_graph_is_whole(make):
    network = make()
    images, labels = torch.randn(4, 3, 32, 32), torch.randint(0, 5, (4, 32, 32))
    outputs = torch.compile(network, backend="eager", fullgraph=True)(images)
    torch.testing.assert_close(outputs, network(images), atol=1e-4, rtol=1e-4)
    nn.functional.cross_entropy(outputs, labels).backward()
    for path, parameter in network.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.abs().sum() > 0, path
    assert not any(getattr(m, "inplace", False) for m in network.modules())


def test_state_survives_and_cost_is_counted(make):
    network, other = make(), make()
    other.load_state_dict(network.state_dict())
    assert state_hash(other) == state_hash(network)
    assert cost(network, torch.zeros(1, 3, 32, 32)).macs > 0


def test_a_small_network_learns_a_small_task(make):
    """Where the image is bright: a few steps get most pixels right."""
    network = make(2)
    generator = torch.Generator().manual_seed(0)
    images = nn.functional.interpolate(torch.rand(8, 3, 4, 4, generator=generator), 32, mode="nearest")
    labels = (images.mean(1) > 0.5).long()
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(12):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (network(images).argmax(1) == labels).float().mean() > 0.85


def test_blocks_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="do not fit 1 encoder and 2 decoder blocks"):
        EncoderDecoder(
            {"a": nn.Identity()},
            {"b": nn.Identity(), "head": nn.Identity()},
            levels=(0,),
            widths=(3, 3),
            taps=Taps("encoder.a", ("encoder.a",), "decoder.head:in"),
        )
