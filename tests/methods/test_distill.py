import dataclasses
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import Edge, Graph, UsageError, losses, networks
from mentorch.gates import Linear
from mentorch.losses import LossInfo
from mentorch.methods import distill
from mentorch.methods._distill import _made
from mentorch.methods._distill._places import Places
from mentorch.networks import Taps


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def pair() -> tuple[nn.Module, nn.Module]:
    return networks.cnn_tiny(10, 1), networks.cnn_small(10, 1)


def batch(n: int = 8) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 1, 8, 8), torch.randint(0, 10, (n,))


def test_the_losses_are_those_of_the_formula_under_their_published_weights() -> None:
    student, teacher = pair()
    images, labels = batch()
    graph = distill(student, teacher, partial(losses.kd, temperature=3.0), (losses.dkd, 0.5))
    found = graph(images, labels=labels)
    student.eval()
    with torch.no_grad():
        graph.train()
        z, v = student.train()(images), teacher(images)
    kd = F.kl_div((z / 3).log_softmax(1), (v / 3).softmax(1), reduction="batchmean") * 9
    assert found["teacher -> student: kd"].item() == pytest.approx(0.9 * kd.item(), rel=1e-5)
    assert found["labels -> student: cross_entropy"].item() == pytest.approx(
        0.1 * F.cross_entropy(z, labels).item(), rel=1e-5
    )
    assert found["teacher, labels -> student: dkd"].item() == pytest.approx(
        0.5 * losses.dkd(z, v, labels).mean().item(), rel=1e-5
    )


@pytest.mark.parametrize(("labels", "weight"), [(None, 0.1), (0.0, None), (2.0, 2.0), (Linear(1.0, 0.0), 1.0)])
def test_labels_have_the_smallest_published_weight_unless_told(labels, weight) -> None:
    graph = distill(*pair(), losses.kd, losses.pkt, labels=labels)
    images, truth = batch()
    name = "labels -> student: cross_entropy"
    found = graph(images, labels=truth, progress=0.0)
    if weight is None:
        assert name not in found
    else:
        plain = distill(graph.nodes["student"], graph.nodes["teacher"], losses.kd, labels=1.0)
        assert found[name].item() == pytest.approx(weight * plain(images, labels=truth)[name].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "labels", "weight"),
    [
        (losses.standardized(partial(losses.kd, temperature=2.0)), 0.1, 9.0),
        (losses.standardized(losses.dkd), 1.0, 9.0),
        (losses.where_correct(losses.standardized(losses.kd)), 0.1, 9.0),
        (losses.where_correct(losses.kd), 0.1, 0.9),
        (losses.standardized(losses.dist), 1.0, 2.0),  # nothing was published of it
    ],
)
def test_a_wrapped_loss_has_the_weight_that_was_published_of_it(loss, labels: float, weight: float) -> None:
    assert [edge.gate for edge in distill(*pair(), loss).edges] == [labels, weight]
    assert distill(*pair(), (loss, 0.5)).edges[1].gate == 0.5


def test_no_gradient_reaches_the_teacher_and_it_stays_in_evaluation_mode() -> None:
    student, teacher = pair()
    graph = distill(student, teacher, losses.kd, losses.pkt).train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    images, labels = batch()
    sum(graph(images, labels=labels).values()).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None for p in student.parameters())
    assert not any(m.training for m in teacher.modules())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


STAGES = (("student.layer1",), ("student.layer2",))
TARGETS = {
    "logits": [("student",)],
    "embedding": [("student.fc:in",)],
    "stage": [STAGES[1]],
    "first_stage": [STAGES[0]],
    "last_stage": [STAGES[1]],
    "stages": [*STAGES],
    "all_stages": [STAGES[0] + STAGES[1]],
    "stages_embedding": [(*STAGES[0], *STAGES[1], "student.fc:in")],
    "stages_logits": [(*STAGES[0], *STAGES[1], "student")],
}


def drawn(graph: Graph) -> list[Edge]:
    return [edge for edge in graph.edges if edge.sources != ("labels",)]


@pytest.mark.parametrize("name", sorted(name for name, info in losses.catalogue().items() if info.teacher))
def test_every_transfer_loss_is_read_where_its_paper_reads_it(name: str) -> None:
    images, labels = batch()
    index = torch.arange(8)
    info = losses.catalogue()[name]
    student, teacher = pair()
    if name in ("fsp", "svd"):  # they compare channel by channel
        teacher = networks.cnn_tiny(10, 1)
    graph = distill(student, teacher, info.function, samples=8, example=(images, labels, index))
    expected = TARGETS[info.reads]
    if info.preact:
        before = {"student.layer1": "student.layer1.2:in", "student.layer2": "student.layer2.3:in"}
        expected = [tuple(before.get(target, target) for target in targets) for targets in expected]
    assert [edge.targets for edge in drawn(graph)] == expected
    for edge in drawn(graph):
        own = tuple(source for source in edge.sources if source not in ("labels", "index"))
        mirrored = tuple(target.replace("student", "teacher") for target in edge.targets)
        assert own == (("teacher",) if info.reads == "stages_logits" else mirrored)
        assert edge.sources[len(own) :] == ("labels",) * info.labels + ("index",) * info.index
    found = graph(images, labels=labels, index=index)
    assert all(value.isfinite() for value in found.values())
    sum(found.values()).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())


def test_a_class_is_asked_once_per_edge_and_an_instance_is_taken_as_it_is() -> None:
    loss = losses.OFA(exponent=1.5)
    graph = distill(*pair(), loss, (partial(losses.VID, variance=3.0), 2.0), example=batch())
    ofa, *vids = [edge.loss for edge in drawn(graph)]
    assert ofa is loss
    assert len(vids) == 2
    assert vids[0] is not vids[1]
    with pytest.raises(UsageError, match="VID has weights for one pair of stages, and there are 2: pass the class VID"):
        distill(*pair(), losses.VID())


def test_surroundings_are_supplied_unless_bound() -> None:
    @dataclasses.dataclass
    class Asking:
        samples: int
        classes: int
        teacher_head: object
        student_head: object

        def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
            return (student - teacher).square().mean(1)

    context = ("samples", "classes", "teacher_head", "student_head")
    info = LossInfo(Asking, reads="logits", kind="sample", weight=1.0, summary="", paper="", context=context)
    student, teacher = pair()
    where = Places({"student": student, "teacher": teacher}, {}, {}, None, "auto")
    made = _made(Asking, info, where, 50)
    assert (made.samples, made.classes) == (50, 10)
    assert made.teacher_head is teacher.fc
    assert made.student_head is student.fc
    assert _made(partial(Asking, samples=7, classes=3), info, where, None).samples == 7
    assert _made(made, info, where, None) is made
    with pytest.raises(UsageError, match="asking remembers every sample: pass samples="):
        _made(Asking, info, where, None)
    elsewhere = dataclasses.replace(where, named={"student": Taps("", (), "fc")})
    with pytest.raises(UsageError, match="the student's embedding 'fc' is not the input of its classifier"):
        _made(Asking, info, elsewhere, 50)


def test_functions_are_given_their_surroundings_as_options() -> None:
    student, teacher = pair()
    (edge,) = drawn(distill(student, teacher, losses.cat))
    assert edge.loss.keywords == {"student_head": student.fc, "teacher_head": teacher.fc}
    (edge,) = drawn(distill(student, teacher, partial(losses.cat, student_head=None, teacher_head=None)))
    assert edge.loss.keywords == {"student_head": None, "teacher_head": None}


def test_gates_per_sample_get_the_labels() -> None:
    images, labels = batch()
    student, teacher = pair()
    graph = distill(student, teacher, losses.where_correct(losses.kd), (losses.where_correct(losses.dkd), 1.0))
    assert [edge.sources for edge in drawn(graph)] == [("teacher", "labels"), ("teacher", "labels", "labels")]
    found = graph(images, labels=labels)
    z, v = student(images), teacher(images)
    expected = 0.9 * torch.where(v.argmax(1) == labels, losses.kd(z, v), 0.0).mean()
    torch.testing.assert_close(found["teacher, labels -> student: where_correct(kd)"], expected)


def test_networks_of_unequal_depth_are_paired_by_the_size_of_their_maps() -> None:
    images, labels = batch()
    student, teacher = networks.cnn_tiny(10, 1).train(), networks.cnn_medium(10, 1)
    state = {key: value.clone() for key, value in student.state_dict().items()}
    graph = distill(student, teacher, losses.attention, example=(images, labels))
    assert [(edge.targets, edge.sources) for edge in drawn(graph)] == [
        (STAGES[0], ("teacher.layer1",)),
        (STAGES[1], ("teacher.layer2",)),
    ]
    views = {"student": lambda x: x[..., ::2, ::2]}
    small = distill(student, teacher, losses.attention, example=(images, labels), views=views)
    assert [edge.sources for edge in drawn(small)] == [("teacher.layer2",), ("teacher.layer3",)]
    assert student.training
    assert all(torch.equal(value, state[key]) for key, value in student.state_dict().items())
    assert all(value.isfinite() for value in graph(images, labels=labels).values())


LAST = [losses.SimKD, losses.similarity, losses.Factor, losses.cat]


@pytest.mark.parametrize(("small", "large"), [(networks.cnn_tiny, networks.resnet8), (networks.resnet8, networks.vgg8)])
def test_the_last_stage_meets_the_last_however_many_there_are(small, large) -> None:
    example = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    for student, teacher in ((small(10), large(10)), (large(10), small(10))):
        ends = (f"student.{student.taps.stages[-1]}",), (f"teacher.{teacher.taps.stages[-1]}",)
        graph = distill(student, teacher, *LAST, labels=0.0, example=example)
        assert [(edge.targets, edge.sources) for edge in graph.edges] == [ends] * len(LAST)
        assert all(value.isfinite() for value in graph(*example).values())
        maps = torch.rand(4, *graph.edges[0].loss._shapes[0])
        assert graph.edges[0].loss.predict(maps).shape == (4, 10)
        assert distill(student, teacher, losses.similarity).edges[1].sources == ends[1]  # without an example too


def test_a_classifier_that_reads_another_map_is_named_with_pair() -> None:
    example = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    student, teacher = networks.resnet8(10), networks.mobilenet_v2(10)
    for loss in (losses.cat, losses.SimKD):
        with pytest.raises(UsageError, match=r"teacher's classifier reads 1280 numbers, its map has 160 .* pair="):
            distill(student, teacher, loss, example=example)
        distill(student, teacher, loss, example=example, pair=[("layer3", "head")])


FAMILIES = [networks.resnet8, networks.mobilenet_v2, networks.vgg8, networks.shufflenet_v1, networks.wrn_10_1]


@pytest.mark.parametrize("build", FAMILIES, ids=lambda build: getattr(build, "func", build).__name__)
def test_families_mix(build) -> None:
    example = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
    for student, teacher in ((build(10), networks.cnn_medium(10)), (networks.cnn_medium(10), build(10))):
        graph = distill(student, teacher, losses.attention, losses.OFA, losses.similarity, example=example)
        assert len([edge for edge in drawn(graph) if edge.loss is losses.attention]) == 3


def test_one_loss_with_other_options_is_an_edge_of_its_own() -> None:
    images, _ = batch()
    chosen = [partial(losses.kd, temperature=t) for t in (1.0, 4.0, 8.0)]
    student, teacher = (network.eval() for network in pair())
    found = distill(student, teacher, *chosen, (losses.attention, 1.0), (partial(losses.attention), 2.0), labels=0.0)(
        images
    )
    first, second = "teacher -> student: kd", "teacher.layer1 -> student.layer1: attention"
    assert {first, f"{first} (2)", f"{first} (3)", second, f"{second} (2)"} < found.keys()
    assert len(found) == 7
    for loss, name in zip(chosen, (first, f"{first} (2)", f"{first} (3)"), strict=True):
        torch.testing.assert_close(found[name], 0.9 * loss(student(images), teacher(images)).mean())
    assert found[f"{second} (2)"].item() == pytest.approx(2 * found[second].item())


def test_pairs_of_stages_can_be_named() -> None:
    graph = distill(*pair(), losses.attention, losses.similarity, pair=[("layer2", "layer1")])
    assert [(edge.targets, edge.sources) for edge in drawn(graph)] == [(STAGES[1], ("teacher.layer1",))] * 2


def test_foreign_networks_need_places_and_take_them() -> None:
    def plain(width: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    images, labels = batch()
    with pytest.raises(UsageError, match="Sequential has no taps"):
        distill(plain(6), plain(12), losses.pkt)
    places = {name: Taps("", (), "3:in") for name in ("student", "teacher")}
    graph = distill(plain(6), plain(12), losses.pkt, places=places)
    assert graph(images, labels=labels).keys() >= {"teacher.3:in -> student.3:in: pkt"}
    assert len(distill(plain(6), plain(12), losses.kd).edges) == 2  # logits need none


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda s, t: distill(s, t), "at least one loss"),
        (lambda s, t: distill(s, t, F.mse_loss), "mse_loss is not in mentorch.losses: draw its Edge yourself"),
        (lambda s, t: distill(s, t, losses.kd, losses.kd), "kd is given twice: give it once, or bind options to each"),
        (
            lambda s, t: distill(s, networks.cnn_medium(10, 1), losses.attention),
            "layer1, layer2, layer3.*; pass example=",
        ),
        (
            lambda s, t: distill(s, t, losses.hint, places={"teacher": Taps("", (), "fc:in")}),
            "name those of the teacher",
        ),
        (
            lambda s, t: distill(s, t, losses.kd, losses.cross_entropy, labels=1.0),
            "two edges are called 'labels -> student",
        ),
        (lambda s, t: distill(s, t, losses.CRD), "crd remembers every sample: pass samples="),
    ],
)
def test_what_cannot_be_drawn_is_said(call, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        call(*pair())


def test_views_are_per_node() -> None:
    student, teacher = pair()
    seen: dict[str, Tensor] = {}

    def view(name: str, factor: float):
        def look(images: Tensor) -> Tensor:
            seen[name] = images * factor
            return seen[name]

        return look

    images, labels = batch()
    distill(student, teacher, losses.kd, views={"student": view("s", 2.0), "teacher": view("t", 3.0)})(
        images, labels=labels
    )
    assert torch.equal(seen["s"], images * 2)
    assert torch.equal(seen["t"], images * 3)
