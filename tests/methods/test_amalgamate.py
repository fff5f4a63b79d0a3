import copy
import functools

import pytest
import torch
from torch import Tensor, nn

from mentorch import Edge, Graph, UsageError, data, fit, freeze, losses, networks
from mentorch.data import LabelSpace, Normalize, Resize
from mentorch.methods import amalgamate
from mentorch.networks import Taps

SPACE = LabelSpace.union({"pets": ("cat", "dog"), "farm": ("cow", "dog", "hen")})
IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def specialists() -> dict[str, nn.Module]:
    return {"pets": networks.cnn_small(2), "farm": networks.vit_nano(3)}


def student() -> nn.Module:
    return networks.cnn_tiny(len(SPACE))


def test_without_features_it_is_the_divergence_from_all_logits_together():
    teachers = specialists()
    graph = amalgamate(teachers, student(), space=SPACE, example=(IMAGES,))
    assert graph.frozen == ("pets", "farm")
    ((name, value),) = graph(IMAGES).items()
    assert name == "pets, farm -> student: Concatenated"
    pets, farm = (graph.predict(n, IMAGES) for n in ("pets", "farm"))
    u = torch.stack([pets[:, 0], (pets[:, 1] + farm[:, 1]) / 2, farm[:, 0], farm[:, 2]], 1)  # cat, dog, cow, hen
    q = graph.predict("student", IMAGES)
    expected = nn.functional.kl_div(q.log_softmax(1), u.log_softmax(1), log_target=True, reduction="batchmean")
    torch.testing.assert_close(value, expected)


def test_it_is_the_graph_that_one_would_write():
    teachers, learner = specialists(), student()
    short = amalgamate(teachers, learner, (losses.CommonFeatures, 3.0), space=SPACE, example=(IMAGES,))
    loss = losses.CommonFeatures()
    edges = [
        Edge(("pets", "farm"), "student", losses.Concatenated(blocks=tuple(SPACE.parts.values()))),
        Edge(("pets.layer2", "farm.norm"), "student.layer2", loss, 3.0),
    ]
    long = Graph({"student": learner, **teachers}, edges, example=(IMAGES,))
    long.owned.load_state_dict(short.owned.state_dict())
    for name, value in short.eval()(IMAGES).items():
        torch.testing.assert_close(long.eval()(IMAGES)[name], value)


def test_layers_are_read_where_their_papers_read_them():
    teachers = {"pets": networks.resnet8(2), "farm": networks.cnn_tiny(3)}
    graph = amalgamate(teachers, networks.cnn_medium(4), losses.CommonFeatures, losses.Layerwise, space=SPACE)
    places = [(edge.source, edge.target) for edge in graph.edges[1:]]
    assert places == [
        (("pets.layer3", "farm.layer2"), "student.layer3"),
        (("pets.layer1", "farm.layer1"), "student.layer1"),  # every stage of the student, at the same depth
        (("pets.layer2", "farm.layer2"), "student.layer2"),
        (("pets.layer3", "farm.layer2"), "student.layer3"),
    ]
    assert [edge.gate for edge in graph.edges] == [1.0, 10.0, 1.0, 1.0, 1.0]
    at = [
        {"student": "layer1", "pets": "conv1", "farm": "layer1"},
        {"farm": "layer2", "student": "layer2", "pets": "layer2"},
    ]
    told = amalgamate(teachers, networks.cnn_medium(4), losses.CommonFeatures, space=SPACE, at=at)
    assert [edge.source for edge in told.edges[1:]] == [("pets.conv1", "farm.layer1"), ("pets.layer2", "farm.layer2")]


def test_foreign_networks_say_where_their_stages_are():
    foreign = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    teachers = {"pets": networks.cnn_small(2), "farm": foreign}
    with pytest.raises(UsageError, match="has no taps"):
        amalgamate(teachers, student(), losses.CommonFeatures, space=SPACE)
    silent = {"farm": Taps("0", (), "4:in")}
    with pytest.raises(UsageError, match="name those of 'farm' with places="):
        amalgamate(teachers, student(), losses.CommonFeatures, space=SPACE, places=silent)
    places = {"farm": Taps("0", ("1",), "4:in")}
    graph = amalgamate(teachers, student(), losses.CommonFeatures, space=SPACE, places=places, example=(IMAGES,))
    assert all(value.isfinite() for value in graph(IMAGES).values())


@pytest.mark.parametrize("feature", [losses.CommonFeatures, losses.Layerwise])
@pytest.mark.parametrize("make", [networks.cnn_tiny, networks.vit_nano], ids=["cnn", "vit"])
def test_any_pair_of_architectures_learns_and_the_blocks_are_kept(feature, make):
    graph = amalgamate(specialists(), make(len(SPACE)), feature, space=SPACE, example=(IMAGES,))
    blocks = {key: value.clone() for key, value in graph.owned.state_dict().items()}
    before = {name: copy.deepcopy(graph.nodes[name].state_dict()) for name in graph.frozen}
    history = fit(graph, [(IMAGES,)], optimizer=functools.partial(torch.optim.Adam, lr=0.01), epochs=15, progress=False)
    first, last = (history.records[i]["train"]["loss"] for i in (0, -1))
    assert last < 0.8 * first
    learned = [key for key in blocks if blocks[key].is_floating_point()]
    assert any(not torch.equal(blocks[key], graph.owned.state_dict()[key]) for key in learned)
    for name, state in before.items():
        assert all(torch.equal(value, graph.nodes[name].state_dict()[key]) for key, value in state.items())


def test_each_teacher_sees_the_batch_in_its_own_way():
    class Fixed(nn.Module):
        """Reads images of 6x6 only."""

        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3 * 36, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.flatten(1))

    fixed = Fixed()
    teachers = {"pets": networks.cnn_small(2), "farm": fixed}
    with pytest.raises(UsageError, match=r"'farm' cannot read inputs of shape \[4, 3, 8, 8\].*data.Resize"):
        amalgamate(teachers, student(), space=SPACE, example=(IMAGES,))
    views = {
        "farm": nn.Sequential(Resize(6), Normalize((0.5,) * 3, (0.2,) * 3)),
        "pets": Normalize((0,) * 3, (2.0,) * 3),
    }
    graph = amalgamate(teachers, student(), space=SPACE, views=views, example=(IMAGES,))
    small = nn.functional.interpolate(IMAGES, (6, 6), mode="bilinear", antialias=True)
    torch.testing.assert_close(graph.predict("farm", IMAGES), fixed((small - 0.5) / 0.2))
    torch.testing.assert_close(graph.predict("pets", IMAGES), teachers["pets"](IMAGES / 2))
    with pytest.raises(UsageError, match="'farm' cannot read its view of the inputs: Normalize expects 1 channels"):
        amalgamate(teachers, student(), space=SPACE, views={"farm": Normalize((0.5,), (0.2,))}, example=(IMAGES,))


def test_trying_the_teachers_leaves_all_as_it_was():
    learner = student().train()
    teachers = {name: freeze(network) for name, network in specialists().items()}
    state = {key: value.clone() for key, value in learner.state_dict().items()}
    amalgamate(teachers, learner, space=SPACE, example=(IMAGES,))
    assert all(torch.equal(value, learner.state_dict()[key]) for key, value in state.items())
    assert learner.training


def test_options_of_the_logits_are_bound():
    kd = functools.partial(losses.Concatenated, target="energy", temperature=2.0, calibration=(1.0, 2.0))
    graph = amalgamate(specialists(), student(), space=SPACE, kd=(kd, 0.5), example=(IMAGES,))
    loss = graph.edges[0].loss
    assert (loss.target, loss.temperature, loss.calibration) == ("energy", 2.0, (1.0, 2.0))
    assert graph.edges[0].gate == 0.5


def kept_for_backward(forward) -> int:
    """Bytes of all tensors that a forward pass keeps for the backward pass, each once."""
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward()
    assert loss.requires_grad
    return sum(held.values())


def test_a_step_keeps_no_more_than_one_written_by_hand():
    teachers = {"pets": networks.resnet8(2), "farm": networks.cnn_small(3)}
    learner = networks.resnet8(5)
    space = LabelSpace.union({"pets": "ab", "farm": "cde"})
    images = torch.rand(8, 3, 16, 16)
    graph = amalgamate(teachers, learner, space=space, example=(images,))

    def by_hand() -> Tensor:
        with torch.no_grad():
            target = torch.cat([teacher(images) for teacher in teachers.values()], 1).log_softmax(1)
        return nn.functional.kl_div(learner(images).log_softmax(1), target, log_target=True, reduction="batchmean")

    assert kept_for_backward(lambda: sum(graph(images).values())) <= 1.05 * kept_for_backward(by_hand)


def test_only_the_chosen_classes_are_taught():
    chosen = SPACE.only(["hen", "cat"])
    graph = amalgamate(specialists(), networks.cnn_tiny(2), space=chosen, example=(IMAGES,))
    pets, farm = (graph.predict(n, IMAGES) for n in ("pets", "farm"))
    u = torch.stack([farm[:, 2], pets[:, 0]], 1)
    q = graph.predict("student", IMAGES)
    expected = nn.functional.kl_div(q.log_softmax(1), u.log_softmax(1), log_target=True, reduction="batchmean")
    torch.testing.assert_close(next(iter(graph(IMAGES).values())), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: amalgamate({}, student(), space=SPACE), "at least two teachers"),
        (
            lambda t: amalgamate({"pets": t["pets"]}, student(), space=SPACE),
            "at least two teachers, not 'pets' alone: that is distillation, see methods.distill",
        ),
        (
            lambda t: amalgamate({**t, "zoo": networks.cnn_tiny(9)}, student(), space=SPACE),
            "classes of teacher 'zoo' are unknown: the label space has parts for pets, farm",
        ),
        (
            lambda t: amalgamate(t, student(), space=LabelSpace(("a", "b"))),
            "classes of teacher 'pets' are unknown: the label space has parts for none",
        ),
        (
            lambda t: amalgamate(t, networks.cnn_tiny(5), space=SPACE, example=(IMAGES,)),
            r"'pets, farm -> student: Concatenated': .* built for 4 classes.*\[4, 5\]: give it a head of 4",
        ),
        (
            lambda t: amalgamate({**t, "pets": networks.cnn_tiny(7)}, student(), space=SPACE, example=(IMAGES,)),
            r"teacher 0 shows \[4, 7\], its block has 2 classes",
        ),
        (lambda t: amalgamate(t, student(), losses.pkt, space=SPACE), "pkt is not about any number of teachers"),
        (
            lambda t: amalgamate(t, student(), losses.Layerwise(), space=SPACE),
            "layerwise has weights for one group of layers, and there are 2: pass the class",
        ),
        (
            lambda t: amalgamate(t, student(), losses.CommonFeatures, space=SPACE, at=[{"student": "layer1"}]),
            "where is 'pets' read",
        ),
        (
            lambda t: amalgamate(t, student(), losses.CommonFeatures, space=SPACE, at=[{"birds": "layer1"}]),
            "unknown node in at 'birds'",
        ),
        (
            lambda t: amalgamate(
                {"student": t["pets"], "farm": t["farm"]},
                student(),
                space=LabelSpace(("x",), {"student": (0,), "farm": (0,)}),
            ),
            "a teacher cannot be called 'student'",
        ),
    ],
)
def test_wrong_use_is_named(make, message: str):
    with pytest.raises(UsageError, match=message):
        make(specialists())


def test_an_empty_set_of_images_is_named():
    nothing = data.Split(torch.zeros(0, 3, 8, 8, dtype=torch.uint8), *(torch.zeros(0, dtype=torch.int64),) * 2)
    with pytest.raises(UsageError, match="the split is empty"):
        data.Batches(nothing, 4)


def test_two_processes_amalgamate_what_one_does(together) -> None:
    (first, second), (alone,) = together("amalgamated"), together("amalgamated", world=1)
    assert first == second
    for name, value in alone["weights"].items():
        torch.testing.assert_close(torch.tensor(first["weights"][name]), torch.tensor(value), rtol=1e-3, atol=1e-4)
