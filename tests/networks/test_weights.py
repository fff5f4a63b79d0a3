import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from mentorch._errors import RunError, UsageError
from mentorch.networks import cnn_tiny, load_weights, resnet8, resnet_karanchahal, state_hash, wrn_16_1


def network(seed, builder=resnet8, **options):
    torch.manual_seed(seed)
    return builder(**options)


def stored(path, state):
    tensors = {name: tensor.clone() for name, tensor in state.items()}
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt"])
def test_round_trip(tmp_path, suffix):
    source, target = network(0), network(1)
    path = stored(tmp_path / f"w{suffix}", source.state_dict())
    assert load_weights(target, str(path)) is target
    assert state_hash(target) == state_hash(source)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_and_prefixes(tmp_path, key, prefix):
    source, target = network(0), network(1)
    state = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    torch.save({key: state, "epoch": 3, "accuracy": 0.5}, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert state_hash(target) == state_hash(source)


def test_a_prefix_is_dropped_only_where_all_share_it(tmp_path):
    state = {("module." if "layer1" in name else "") + name: t for name, t in network(0).state_dict().items()}
    with pytest.raises(UsageError, match=r"has unknown 'module\.layer1"):
        load_weights(network(1), stored(tmp_path / "w.pt", state))


@pytest.mark.parametrize(
    ("builder", "renames"),
    [
        (resnet_karanchahal, {"fc.": "linear.", ".shortcut.": ".downsample."}),
        (wrn_16_1, {"fc.": "classifier.", ".shortcut.": ".convShortcut.", "layer2.": "layer2.layer."}),
        (wrn_16_1, {"layer1.": "block1.layer.", "layer2.": "block2.layer.", "layer3.": "block3.layer."}),
    ],
)
def test_names_of_other_projects(tmp_path, builder, renames):
    options = {"depth": 8} if builder is resnet_karanchahal else {}
    source, target = network(0, builder, **options), network(1, builder, **options)
    state = {}
    for name, tensor in source.state_dict().items():
        for ours, theirs in renames.items():
            name = name.replace(ours, theirs)
        state[name] = tensor
    load_weights(target, stored(tmp_path / "w.safetensors", state))
    assert state_hash(target) == state_hash(source)


def test_a_name_that_the_network_has_is_never_renamed(tmp_path):
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.linear = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

    source, target = network(0, Own), network(1, Own)
    load_weights(target, stored(tmp_path / "w.pt", source.state_dict()))
    assert state_hash(target) == state_hash(source)


def test_missing_batch_counts_keep_their_value(tmp_path):
    source, target = network(0), network(1)
    target.bn1.num_batches_tracked += 7
    state = {name: t for name, t in source.state_dict().items() if not name.endswith("num_batches_tracked")}
    load_weights(target, stored(tmp_path / "w.pt", state))
    assert torch.equal(target.fc.weight, source.fc.weight)
    assert target.bn1.num_batches_tracked == 7


def test_every_misfit_is_named_and_changes_nothing(tmp_path):
    target = network(1)
    before, good = state_hash(target), network(0).state_dict()
    cases = {
        r"lacks 'bn1\.bias' and has unknown 'bn9\.bias'": {
            k.replace("bn1.b", "bn9.b") if k[0] == "b" else k: t for k, t in good.items()
        },
        r"lacks 'layer1\.0.*, 'layer1.* and \d+ more$": {k: t for k, t in good.items() if "layer1" not in k},
        r"'conv1\.weight' is \[16, 1, 3, 3\] instead of \[16, 3, 3, 3\]$": good
        | {"conv1.weight": torch.zeros(16, 1, 3, 3)},
        "knows 100 classes, the network 10: use num_classes=100": network(0, num_classes=100).state_dict(),
        r"'fc\.weight' is \[10, 63\]": good | {"fc.weight": torch.zeros(10, 63)},
        r"'fc\.bias' twice": good | {"linear.bias": torch.zeros(10)},
        r"is \[32, 3, 3, 3\] instead of \[16, 3, 3, 3\] \(and \d+ more\)": network(
            0, stem=32, widths=(32, 64, 128)
        ).state_dict(),
    }
    for number, (message, state) in enumerate(cases.items()):
        path = stored(tmp_path / f"{number}.pt", state)
        with pytest.raises(UsageError, match=message) as caught:
            load_weights(target, path)
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)
        assert state_hash(target) == before


def test_a_network_of_other_classes_begins_with_all_but_the_last_layer(tmp_path):
    source, target = network(0, num_classes=100), network(1)
    own = target.fc.weight.detach().clone()
    load_weights(target, stored(tmp_path / "w.pt", source.state_dict()), new_head=True)
    assert torch.equal(target.fc.weight, own)
    body = {name: tensor for name, tensor in source.state_dict().items() if not name.startswith("fc")}
    assert all(torch.equal(tensor, target.state_dict()[name]) for name, tensor in body.items())
    load_weights(target, stored(tmp_path / "same.pt", network(2).state_dict()), new_head=True)
    assert torch.equal(target.fc.weight, network(2).fc.weight)
    narrow = stored(tmp_path / "narrow.pt", source.state_dict() | {"fc.weight": torch.zeros(100, 63)})
    with pytest.raises(UsageError, match=r"'fc.weight' is \[100, 63\]"):
        load_weights(target, narrow, new_head=True)


class Code:
    """A pickle of it runs a command when it is loaded."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


def test_a_pickle_that_needs_code_is_refused_and_not_run(tmp_path):
    witness = tmp_path / "ran"
    torch.save({"state_dict": Code(witness)}, tmp_path / "a.pt")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Code(witness)))
    torch.save(network(0), tmp_path / "c.pt")  # a whole module
    for name in ("a.pt", "b.pth", "c.pt"):
        with pytest.raises(RunError, match=f"{name} needs code to load; convert it to safetensors$"):
            load_weights(network(1), tmp_path / name)
    assert not witness.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("keep", [0, 5, 200, 2000, -1])
def test_truncated(tmp_path, suffix, keep):
    target = network(1, cnn_tiny)
    before = state_hash(target)
    path = stored(tmp_path / f"w{suffix}", network(0, cnn_tiny).state_dict())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match="damaged or truncated") as caught:
        load_weights(target, path)
    assert "\n" not in str(caught.value)
    assert state_hash(target) == before


@pytest.mark.parametrize(
    "content", [{}, {"state_dict": {}}, [1, 2], {"a": 1.0}, torch.zeros(2), {"weights": {"a": torch.zeros(1)}}]
)
def test_files_without_weights(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(RunError, match="holds no weights"):
        load_weights(network(0), tmp_path / "w.pt")


def test_files_that_are_not_there_or_of_another_kind(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.pt do not exist"):
        load_weights(network(0), tmp_path / "gone.pt")
    (tmp_path / "w.onnx").touch()
    with pytest.raises(UsageError, match=r"neither \.safetensors nor"):
        load_weights(network(0), tmp_path / "w.onnx")
