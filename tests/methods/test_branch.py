"""Task branching: amalgamation.md, section 13, point 5."""

import copy
import functools
import json

import pytest
import torch
from torch import Tensor

from mentorch import RunError, UsageError, fit, freeze, zoo
from mentorch.losses import depth_l1, normal_cosine, pixel_kd
from mentorch.methods import branch
from mentorch.methods._branch._paths import Paths
from mentorch.networks import Branched, cost, segnet, segnet_tiny, state_hash, unet

OUTPUTS = {"segmentation": 4, "depth": 1, "normals": 3}
LOSSES = {"segmentation": functools.partial(pixel_kd, hard=True), "depth": depth_l1, "normals": normal_cosine}
IMAGES = torch.rand(12, 3, 10, 14, generator=torch.Generator().manual_seed(0))  # neither square nor of even blocks
TRAIN, HELD_OUT = [IMAGES[:4], IMAGES[4:8]], [IMAGES[8:11], IMAGES[11:]]
adam = functools.partial(torch.optim.Adam, lr=0.01)
train = functools.partial(fit, train=TRAIN, optimizer=adam, epochs=1, progress=False, tensorboard=False)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def small(outputs: int):
    return segnet(outputs, widths=(4, 6, 8), depths=(1, 1, 1))


def teachers(*tasks: str):
    return {task: small(OUTPUTS[task]) for task in tasks}


def stages(own, **options):
    losses = {task: LOSSES[task] for task in options.pop("tasks", own)}
    start = options.pop("student", None) or next(iter(own.values()))
    return list(branch(own, start, options.pop("fit", train), losses, validation=HELD_OUT, **options))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("tasks", [("depth",), ("segmentation", "normals"), tuple(OUTPUTS)])
@pytest.mark.parametrize("variant", ["paper", "random_path"])
def test_any_number_of_tasks_becomes_one_student_and_no_teacher_changes(tasks, variant):
    own = teachers(*tasks)
    before = {task: copy.deepcopy(net.state_dict()) for task, net in own.items()}
    found = stages(own, variant=variant)
    names = ["paths"] if variant == "random_path" else ["depth-0", "depth-1", "depth-2", "depth-3"]
    assert [stage.name for stage in found] == [*names, "together"]
    for task, net in own.items():
        assert same(net.state_dict(), before[task])
        assert not any(p.requires_grad for p in net.parameters())
    last = found[-1]
    student = last.network
    assert isinstance(student, Branched)
    assert student.tasks == tasks
    for task, scores in last.scores.items():
        assert list(scores) == [0, 1, 2, 3]
        assert last.depths[task] == min(scores, key=lambda depth: scores[depth])
        assert student.tree.branches[task].start == last.depths[task]
    assert {t: tuple(x.shape) for t, x in student(IMAGES[:2]).items()} == {t: (2, OUTPUTS[t], 10, 14) for t in tasks}
    assert all(p.requires_grad for p in student.parameters())


@pytest.mark.parametrize("variant", ["paper", "random_path"])
def test_it_works_in_double_precision(variant):
    own = {task: net.double() for task, net in teachers("depth", "normals").items()}
    short = functools.partial(train, train=[images.double() for images in TRAIN])
    start, losses = own["depth"], {task: LOSSES[task] for task in own}
    held = [images.double() for images in HELD_OUT]
    *_, last = branch(own, start, short, losses, validation=held, variant=variant)
    assert all(p.dtype == torch.float64 for p in last.network.parameters())
    assert all(shown.isfinite().all() for shown in last.network(IMAGES.double()).values())


def test_the_blocks_of_teachers_are_passed_but_neither_trained_nor_kept():
    own = teachers("segmentation", "depth")
    hashes = {task: state_hash(net) for task, net in own.items()}
    search = branch(own, own["depth"], train, {t: LOSSES[t] for t in own}, validation=HELD_OUT)
    for depth in range(3):
        paths = next(search).network
        assert isinstance(paths, Paths)
        learned = {name for name, p in paths.named_parameters() if p.requires_grad}
        assert {name.split(".")[0] for name in learned} == {"encoder", "adaptors", "decoder"} - (
            {"decoder"} if depth == 0 else set()
        )
        assert {name.split(".")[2] for name in learned if name.startswith("adaptors")} == {str(depth)}
        # what is saved of the student is the trunk and the adaptors: nothing of a teacher
        assert {name.split(".")[0] for name in paths.state_dict()} == {
            "encoder",
            "decoder",
            "adaptors",
            "depths",
            "steps",
        }
        assert {task: state_hash(net) for task, net in own.items()} == hashes


def test_only_the_last_block_of_the_trunk_learns_where_that_is_wanted():
    own = teachers("segmentation", "depth")
    search = branch(own, own["depth"], train, {t: LOSSES[t] for t in own}, validation=HELD_OUT, train_trunk="last")
    _, second = next(search), next(search)
    before = copy.deepcopy(second.network.state_dict())
    after = next(search).network.state_dict()
    moved = {name for name, x in after.items() if not torch.equal(x, before[name])}
    blocks = {name.split(".")[1] for name in moved if name.startswith("decoder")}
    assert blocks == {"up2"}  # neither weights nor running statistics of what was done before
    assert not any(name.startswith("encoder") for name in moved)


@pytest.mark.parametrize("variant", ["paper", "random_path"])
def test_the_student_starts_as_what_was_searched_with_the_chosen_depths(variant):
    own = teachers("segmentation", "normals")
    still = functools.partial(train, optimizer=functools.partial(torch.optim.SGD, lr=0.0))
    found = stages(own, variant=variant, fit={"search": train, "together": still})
    paths, student = found[-2].network, found[-1].network
    assert paths.chosen == found[-1].depths
    paths.eval()
    # statistics of the batches moved while the student "learned" with a rate of 0: compare with an export of the same
    exported = paths.export().eval()
    wanted, shown = paths(IMAGES), exported(IMAGES)
    assert all(torch.equal(shown[task], wanted[task]) for task in own)
    for (name, one), other in zip(student.named_parameters(), exported.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert cost(exported, IMAGES[:1]).parameters < sum(cost(net, IMAGES[:1]).parameters for net in own.values())


def test_the_trunk_is_as_it_was_when_the_deepest_branch_point_was_measured(monkeypatch):
    best, own, states = {"segmentation": 2, "depth": 1}, teachers("segmentation", "depth"), []

    def judged(graph, data, depths):
        states.append(graph.nodes["student"].trunk_state())
        return {name: {depth: float(depth != best[name]) for depth in depths} for name in best}

    monkeypatch.setattr("mentorch.methods._branch._branch.held_out", judged)
    found = stages(own)
    assert found[-1].depths == best
    assert same(found[-2].network.trunk_state(), states[2])
    assert not same(states[2], states[3])


def test_searching_learns_and_so_does_the_end():
    own = teachers("segmentation", "depth")
    for net in own.values():
        for _ in range(3):  # outputs away from chance: running statistics of these images
            net(IMAGES)
    found = stages(own, student=small(1), fit=functools.partial(train, epochs=8))
    for stage in found:
        losses = [record["train"]["loss"] for record in stage.history.records]
        assert losses[-1] < losses[0], stage.name


@pytest.mark.parametrize(("variant", "rounds"), [("paper", 4), ("random_path", 1)])
def test_each_teacher_runs_once_per_batch_in_training_and_in_the_search(variant, rounds):
    own = teachers("segmentation", "depth")
    calls = dict.fromkeys(own, 0)
    for task, net in own.items():
        net.register_forward_hook(lambda *_, task=task: calls.__setitem__(task, calls[task] + 1))
    search = branch(own, own["depth"], train, {t: LOSSES[t] for t in own}, validation=HELD_OUT, variant=variant)
    for _ in range(rounds):
        next(search)
    # per stage: one trial, one pass over the training batches, one over those held out, whatever the number of depths
    assert calls == dict.fromkeys(own, rounds * (1 + len(TRAIN) + len(HELD_OUT)))


def test_a_stage_that_was_killed_goes_on_and_ends_with_the_same_bits(tmp_path):
    own = teachers("segmentation", "depth")

    def go(place, kill_at=None, resume=False):
        torch.manual_seed(1)
        count = 0

        def fitting(graph, **place):
            nonlocal count
            count += 1
            if count == kill_at:
                raise KeyboardInterrupt
            return train(graph, epochs=2, **place)

        return list(
            branch(
                own, own["depth"], fitting, {t: LOSSES[t] for t in own}, validation=HELD_OUT, run=place, resume=resume
            )
        )

    whole = go(tmp_path / "whole")
    for kill_at in (3, 5):
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "killed", kill_at, resume=kill_at > 3)
    again = go(tmp_path / "killed", resume=True)
    assert again[-1].depths == whole[-1].depths
    assert same(again[-1].network.state_dict(), whole[-1].network.state_dict())
    told = json.loads((tmp_path / "killed" / "branching.json").read_text())
    assert told["best"] == whole[-1].depths
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == [
        "branching.json", "depth-0", "depth-1", "depth-2", "depth-3", "together",
    ]  # fmt: skip


def test_a_lost_stage_is_no_fresh_start(tmp_path):
    own = teachers("depth")
    list(branch(own, own["depth"], train, {"depth": depth_l1}, validation=HELD_OUT, run=tmp_path))
    (tmp_path / "depth-1" / "checkpoints").rename(tmp_path / "lost")
    with pytest.raises(RunError, match="depth-1 has no checkpoint, but a later stage has"):
        branch(own, own["depth"], train, {"depth": depth_l1}, validation=HELD_OUT, run=tmp_path, resume=True)
    with pytest.raises(UsageError, match="resume needs a run folder"):
        branch(own, own["depth"], train, {"depth": depth_l1}, validation=HELD_OUT, resume=True)


def test_the_student_comes_back_from_its_card(tmp_path):
    own = {task: segnet_tiny(OUTPUTS[task]) for task in ("segmentation", "depth")}
    student = stages(own)[-1].network
    plan = student.tree.plan()
    card = zoo.Card(
        "student", "branched", {"num_classes": 5, "trunk": "segnet_tiny", "branches": plan}, task="segmentation + depth"
    )
    zoo.save(student, tmp_path, card)
    loaded, _ = zoo.load(tmp_path)
    student.eval()
    assert all(torch.equal(x, student(IMAGES)[task]) for task, x in loaded(IMAGES).items())


def test_later_tasks_join_a_student_that_teaches():
    first = teachers("segmentation", "depth")
    joint = stages(first)[-1].network
    limit = joint.tree.first_exit
    own = {"both": freeze(joint), "normals": small(3)}
    before = state_hash(joint)
    found = stages(own, student=own["normals"], tasks=OUTPUTS)
    last = found[-1]
    assert list(last.scores["both"]) == list(range(limit + 1))  # up to where its own branches leave
    assert list(last.scores["normals"]) == [0, 1, 2, 3]
    assert last.network.tasks == ("segmentation", "depth", "normals")
    assert state_hash(joint) == before
    assert last.graph.edges[0].source == ("both:segmentation",)
    assert set(last.network(IMAGES)) == set(OUTPUTS)


def test_what_cannot_be_branched_is_refused_at_once():
    own = teachers("segmentation", "depth")
    losses = {task: LOSSES[task] for task in own}
    go = functools.partial(branch, fit=train, validation=HELD_OUT)
    for wrong, message in (
        (lambda: go({}, own["depth"], losses=losses), "at least one teacher"),
        (lambda: go(own, torch.nn.Linear(1, 1), losses=losses), "EncoderDecoder such as segnet, not a Linear"),
        (lambda: go(own, own["depth"], losses={"depth": depth_l1}), "task 'segmentation' has no loss"),
        (lambda: go(own, own["depth"], losses={**losses, "norms": depth_l1}), "unknown task with a loss 'norms'"),
        (lambda: go({"student": small(1)}, own["depth"], losses=losses), "cannot be called 'student'"),
        (lambda: go({"depth": unet(1, widths=(4, 6, 8))}, own["depth"], losses=losses), "'depth' cannot go on"),
        (lambda: go(own, own["depth"], losses=losses, variant="papers"), "unknown variant 'papers'"),
        (lambda: go(own, own["depth"], losses=losses, train_trunk="some"), "unknown train_trunk 'some'"),
        (lambda: branch(own, own["depth"], {"search": train}, losses, validation=HELD_OUT), "nothing about .*together"),
    ):
        with pytest.raises(UsageError, match=message):
            wrong()
