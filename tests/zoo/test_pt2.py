"""Files of `torch.export`, good and hostile."""

import dataclasses
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mentorch import transferability, zoo
from mentorch._errors import RunError, UsageError
from mentorch.networks import build, embedding, taps

SIZE = 12


class Net(nn.Module):
    """In place, a block that calls twice, a constant that is no parameter, a size of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.linear = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(x)))
        x = x + torch.tensor([0.5])
        x = nn.functional.max_pool2d(x, 2).reshape(x.shape[0], 6, -1)
        return self.linear(x.masked_fill(x < 0.1, float("-inf")).softmax(2).amax(2))


def export(network: nn.Module, path: Path, *, dynamic: bool = True) -> Path:
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    torch.export.save(torch.export.export(network, (torch.rand(2, 3, SIZE, SIZE),), dynamic_shapes=shapes), path)
    return path


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    made = Net()
    made.norm.running_mean.normal_()
    return made.eval()


@pytest.fixture(scope="module")
def file(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(network, tmp_path_factory.mktemp("pt2") / "net.pt2")


@pytest.fixture
def changed(file: Path, tmp_path: Path) -> Callable[..., Path]:
    """``changed(ending, change)``: the file with one part of it other."""

    def make(ending: str, change: Callable[[bytes], bytes | None]) -> Path:
        target = tmp_path / "changed.pt2"
        with zipfile.ZipFile(file) as source, zipfile.ZipFile(target, "w") as archive:
            for name in source.namelist():
                content = source.read(name)
                content = change(content) if name.endswith(ending) else content
                if content is not None:
                    archive.writestr(name, content)
        return target

    return make


def in_json(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    def apply(content: bytes) -> bytes:
        parsed = json.loads(content)
        change(parsed)
        return json.dumps(parsed).encode()

    return apply


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


def test_a_program_makes_what_its_network_made_and_its_card_holds_it(network: nn.Module, file: Path, tmp_path: Path):
    found, card = zoo.from_pt2(file)
    images = torch.randn(5, 3, SIZE, SIZE)
    torch.testing.assert_close(found(images), network(images))
    assert (card.name, card.network) == ("net", "exported")
    assert {name: card.arguments[name] for name in ("num_classes", "in_channels", "image_size")} == {
        "num_classes": 4,
        "in_channels": 3,
        "image_size": [SIZE, SIZE],
    }
    state, kept = found.state_dict(), network.state_dict()
    assert len(state) == 9  # the batch norm's counter is not needed, and there is a constant
    assert all(torch.equal(state[name], kept[name]) for name in state.keys() & kept.keys())
    assert embedding(found) == "linear:in"
    paths = dict(found.named_modules()).keys()
    assert {"conv", "norm", "act", "add", "amax"} <= paths
    zoo.save(found, tmp_path / "zoo" / "net", card)
    again, read = zoo.load(tmp_path / "zoo" / "net")
    assert torch.equal(again(images), found(images))
    assert read.arguments == json.loads(json.dumps(card.arguments))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of torch, about itself
def test_a_program_that_was_decomposed_too(network: nn.Module, tmp_path: Path):
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(network, (torch.rand(2, 3, SIZE, SIZE),), dynamic_shapes=shapes)
    torch.export.save(program.run_decompositions(), tmp_path / "net.pt2")
    found, _ = zoo.from_pt2(tmp_path / "net.pt2")
    images = torch.randn(5, 3, SIZE, SIZE)
    torch.testing.assert_close(found(images), network(images))
    assert embedding(found) == "amax"


def test_it_is_ranked_as_the_network_it_was(tmp_path: Path):
    torch.manual_seed(1)
    arguments = {"num_classes": 5, "in_channels": 3}
    ours, fed = build("cnn_tiny", **arguments).eval(), zoo.Input(3, (SIZE, SIZE), (0.4,) * 3, (0.3,) * 3)
    zoo.save(ours, tmp_path / "zoo" / "ours", zoo.Card("ours", "cnn_tiny", arguments, input=fed))
    found, card = zoo.from_pt2(export(ours, tmp_path / "theirs.pt2"))
    zoo.save(found, tmp_path / "zoo" / "theirs", dataclasses.replace(card, input=fed))
    images, labels = torch.rand(30, 3, SIZE, SIZE), torch.arange(30) % 3
    first, second = transferability.rank(tmp_path / "zoo", images, labels).rows
    assert first.failure == second.failure == ""
    assert dict(first.scores) == pytest.approx(dict(second.scores), abs=1e-6)
    assert (first.parameters, first.macs) == (second.parameters, second.macs)
    atlas = transferability.atlas(tmp_path / "zoo", images, store=tmp_path / "store")
    assert atlas.failures == ()
    assert atlas.nearest("ours", k=1, weight=1.0) == pytest.approx({"theirs": 2}, abs=1e-3)


def test_example_inputs_are_not_unpickled(changed: Callable[..., Path], tmp_path: Path):
    buffer = io.BytesIO()
    torch.save(Trap(tmp_path / "sprung"), buffer)
    path = changed("sample_inputs/model.pt", lambda _: buffer.getvalue())
    zoo.from_pt2(path)
    assert not (tmp_path / "sprung").exists()
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    assert (tmp_path / "sprung").exists()  # so it would have been seen


@pytest.mark.parametrize("part", ["weights", "constants"])
def test_what_is_pickled_is_refused_and_not_unpickled(changed: Callable[..., Path], tmp_path: Path, part: str):
    def pickled(config: dict) -> None:
        entry = next(iter(config["config"].values()))
        entry |= {"use_pickle": True, "path_name": "../sample_inputs/model.pt"}

    path = changed(f"model_{part}_config.json", in_json(pickled))
    with pytest.raises(UsageError, match="is pickled, and nothing is unpickled here"):
        zoo.from_pt2(path)
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    first = {"weights": "weight_0", "constants": "tensor_0"}[part]
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "trap.pt2", "w") as target:
        for name in archive.namelist():
            target.writestr(name, trap if name.endswith(first) else archive.read(name))
    with pytest.raises(UsageError, match="is pickled"):
        zoo.from_pt2(tmp_path / "trap.pt2")
    assert not (tmp_path / "sprung").exists()


def test_a_graph_cannot_call_what_is_no_operator(changed: Callable[..., Path], tmp_path: Path):
    marker = tmp_path / "sprung"

    def call(target: str) -> Callable[[dict], None]:
        def change(content: dict) -> None:
            node = content["graph_module"]["graph"]["nodes"][-1]
            node["target"] = target
            node["inputs"] = [{"name": "command", "arg": {"as_string": f"touch {marker}"}, "kind": 1}]

        return change

    for target in ("torch.os.system", "_operator.call", "torch.ops.aten.from_file.default", "math.os.system"):
        with pytest.raises(UsageError, match="may not call"):
            zoo.from_pt2(changed("models/model.json", in_json(call(target))))
    assert not marker.exists()


def test_no_text_of_a_graph_is_evaluated(changed: Callable[..., Path], tmp_path: Path):
    marker, trap = tmp_path / "sprung", f"__import__('pathlib').Path({str(tmp_path / 'sprung')!r}).touch()"

    def poison(content: dict) -> None:
        content["range_constraints"] = {trap: {"min_val": 0, "max_val": None}}
        content["guards_code"] = [trap]
        for values in content["graph_module"]["graph"]["tensor_values"].values():
            for size in values["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = trap
        for node in content["graph_module"]["graph"]["nodes"]:
            node["metadata"]["nn_module_stack"] += f";L__self__,{trap},builtins.eval"

    found, _ = zoo.from_pt2(changed("models/model.json", in_json(poison)))
    found(torch.rand(2, 3, SIZE, SIZE))
    assert not marker.exists()


def test_a_forged_program_on_a_card_is_a_failure_of_that_entry(file: Path, tmp_path: Path):
    network, card = zoo.from_pt2(file)
    folder = tmp_path / "zoo" / "net"
    zoo.save(network, folder, card)
    forged = json.loads((folder / "card.json").read_text())
    call = forged["arguments"]["program"]["calls"][-1]
    call |= {"operator": "torch.os.system", "arguments": [f"touch {tmp_path / 'sprung'}"]}
    (folder / "card.json").write_text(json.dumps(forged))
    (entry,) = zoo.entries(tmp_path / "zoo")
    assert "may not call 'torch.os.system'" in zoo.check(entry).failure
    assert not (tmp_path / "sprung").exists()


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("ending", "change", "error", "message"),
    [
        ("models/model.json", lambda _: None, UsageError, "holds 0 programs"),
        ("models/model.json", lambda _: b"{", RunError, "or a damaged one: JSONDecodeError"),
        ("models/model.json", lambda _: b"{}", RunError, "or a damaged one: KeyError 'schema_version'"),
        ("weights_config.json", lambda _: None, UsageError, "its weights are pickled"),
        ("weights/weight_0", cut, RunError, "out of bounds|storage"),
        ("weights/weight_0", lambda _: None, RunError, "KeyError"),
    ],
)
def test_a_damaged_or_older_file_is_one_line(changed, ending, change, error, message):
    with pytest.raises(error, match=message) as told:
        zoo.from_pt2(changed(ending, change))
    assert "\n" not in str(told.value)
    assert "changed.pt2" in str(told.value)


def test_a_card_that_is_none_is_one_line(network: nn.Module, tmp_path: Path):
    program = torch.export.export(
        network, (torch.rand(2, 3, SIZE, SIZE),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(program, tmp_path / "net.pt2", extra_files={"card.json": '{"schema": "mentorch.card/1"}'})
    with pytest.raises(RunError, match=r"net.pt2 .*ValueError name: "):
        zoo.from_pt2(tmp_path / "net.pt2")


def test_what_is_no_archive_is_an_error(tmp_path: Path):
    (tmp_path / "a.pt2").write_bytes(b"nothing")
    for name in ("a.pt2", "gone.pt2"):
        with pytest.raises(RunError, match=f"{name} is no file of torch.export"):
            zoo.from_pt2(tmp_path / name)


def test_a_network_for_one_size_of_batch_or_in_training_mode_is_refused(network: nn.Module, tmp_path: Path):
    with pytest.raises(UsageError, match="for batches of one size: name dynamic_shapes"):
        zoo.from_pt2(export(network, tmp_path / "static.pt2", dynamic=False))
    with pytest.raises(UsageError, match=r"network\.eval\(\)"):
        zoo.from_pt2(export(Net().train(), tmp_path / "training.pt2"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_of_another_precision_is_refused_as_that(dtype: torch.dtype, tmp_path: Path):
    images, shapes = torch.rand(2, 3, SIZE, SIZE, dtype=dtype), ({0: torch.export.Dim("batch")},)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).to(dtype).eval()
    torch.export.save(torch.export.export(network, (images,), dynamic_shapes=shapes), tmp_path / "net.pt2")
    with pytest.raises(UsageError, match=rf"reads images in {str(dtype)[6:]}, .*: export network\.float\(\)"):
        zoo.from_pt2(tmp_path / "net.pt2")


def test_the_stem_is_a_tensor_where_a_size_is_asked_first(tmp_path: Path):
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            count = x.shape[0] * 1
            return self.fc(self.conv(x).mean((2, 3)).reshape(count, 4))

    network, _ = zoo.from_pt2(export(Asks().eval(), tmp_path / "asks.pt2"))
    assert taps(network).stem == "conv"
