import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import UsageError, metrics
from mentorch.data import LabelSpace

BIRDS, DOGS = [f"bird {i}" for i in range(200)], [f"dog {i}" for i in range(120)]
NAMES = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=5, unique=True)


def test_disjoint_classes_are_offset_and_no_number_wraps_around():
    joint = LabelSpace.union({"birds": BIRDS, "dogs": DOGS})
    assert len(joint) == 320
    assert joint.block("dogs").equal(torch.arange(200, 320))
    own = torch.arange(120, dtype=torch.uint8)
    assert joint.to_joint("dogs", own).equal(200 + torch.arange(120))
    assert joint.to_joint("dogs", own).dtype is torch.int64
    assert joint.to_own("dogs", joint.to_joint("dogs", own)).equal(own.long())
    assert joint.to_own("birds", torch.tensor([256, 0])).tolist() == [-1, 0]
    wrapped = torch.nn.functional.one_hot(torch.tensor([4]), 320).float()  # 260 in 8 bits
    assert metrics.accuracy(wrapped, torch.tensor([260])).item() == 0


@given(st.dictionaries(st.sampled_from("xyz"), NAMES, min_size=1))
def test_the_union_is_that_of_sets_and_conversions_are_inverse(parts: dict[str, list[str]]):
    joint = LabelSpace.union(parts)
    assert set(joint.names) == set().union(*parts.values())
    for part, names in parts.items():
        own = torch.arange(len(names))
        there = joint.to_joint(part, own)
        assert [joint.names[k] for k in there] == names
        assert joint.to_own(part, there).equal(own)
        assert there.equal(joint.block(part))
    for k, name in enumerate(joint.names):
        assert set(joint.owners(name)) == {part for part, names in parts.items() if name in names}
        assert {p for p in parts if joint.to_own(p, torch.tensor(k)) >= 0} == set(joint.owners(name))


@given(st.dictionaries(st.sampled_from("xyz"), NAMES, min_size=1))
def test_kept_apart_every_class_has_one_owner(parts: dict[str, list[str]]):
    joint = LabelSpace.union(parts, overlap="keep")
    assert len(joint) == sum(map(len, parts.values()))
    assert all(len(joint.owners(name)) == 1 for name in joint.names)
    start = 0
    for part, names in parts.items():
        assert joint.block(part).tolist() == list(range(start, start + len(names)))
        assert all(joint.names[start + i] in (name, f"{part}/{name}") for i, name in enumerate(names))
        start += len(names)


def test_other_names_of_the_same_class():
    joint = LabelSpace.union({"a": ["automobile", "cat"], "b": ["car", "dog"]}, same={"automobile": "car"})
    assert joint.names == ("car", "cat", "dog")
    assert joint.owners("car") == ("a", "b")
    with pytest.raises(UsageError, match="unknown class in same 'lorry'"):
        LabelSpace.union({"a": ["cat"]}, same={"lorry": "truck"})
    with pytest.raises(UsageError, match="'cat' is there twice"):
        LabelSpace.union({"a": ["cat", "tomcat"]}, same={"tomcat": "cat"})


@given(st.dictionaries(st.sampled_from("xyz"), NAMES, min_size=1), st.data())
def test_a_subset_is_as_if_the_rest_had_never_been_there(parts: dict[str, list[str]], drawn: st.DataObject):
    joint = LabelSpace.union(parts)
    names = drawn.draw(st.lists(st.sampled_from(joint.names), min_size=1, unique=True))
    chosen = joint.only(names)
    assert chosen.names == tuple(names)
    for part, own in parts.items():
        found = chosen.to_joint(part, torch.arange(len(own))).tolist()
        assert found == [names.index(name) if name in names else -1 for name in own]
        assert chosen.block(part).tolist() == [k for k in found if k >= 0]


@given(seed=st.integers(0, 99))
def test_who_knows_the_task_is_right_at_least_as_often(seed: int):
    joint = LabelSpace.union({"a": "uvw", "b": "wxyz"})
    draw = torch.Generator().manual_seed(seed)
    outputs = torch.randn(50, len(joint), generator=draw)
    for part in joint.parts:
        block = joint.block(part)
        labels = block[torch.randint(0, len(block), (50,), generator=draw)]
        known = metrics.accuracy(joint.within(part, outputs), labels)
        assert (known >= metrics.accuracy(outputs, labels)).all()
        assert known.equal((outputs[:, block].argmax(1) == joint.to_own(part, labels)).float())


def test_it_is_a_value():
    one, other = (LabelSpace.union({"a": ["x", "y"], "b": ["y"]}) for _ in range(2))
    assert one == other == copy.deepcopy(one)
    assert hash(one) == hash(other)
    assert one != LabelSpace.union({"a": ["x", "y"], "b": ["x"]})
    mine = {"a": (0,)}
    space = LabelSpace(("x",), mine)
    mine["a"] = (5,)
    assert space.parts == {"a": (0,)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelSpace(()), "at least one class: nobody knows"),
        (lambda: LabelSpace(("x", "x")), "'x' is there twice"),
        (lambda: LabelSpace(("x",), {"a": (1,)}), r"part 'a' of a label space of 1 classes cannot be \(1,\)"),
        (lambda: LabelSpace(("x", "y"), {"a": (0, 0)}), "part 'a'"),
        (lambda: LabelSpace.union({"a": ()}), "'a' does not say what its classes are"),
        (lambda: LabelSpace.union({"a": "x"}, overlap="mix"), "unknown overlap of label spaces 'mix'"),
        (lambda: LabelSpace(("cat",)).only(["cta"]), "did you mean 'cat'"),
        (lambda: LabelSpace(("cat",)).owners("dog"), "unknown class 'dog'"),
        (lambda: LabelSpace(("x",)).block("a"), "unknown part of the label space 'a'"),
        (lambda: LabelSpace.union({"a": "xy"}).to_joint("a", torch.tensor([2])), "label of 'a' 2 lies outside 0..1"),
        (lambda: LabelSpace.union({"a": "xy"}).to_own("a", torch.tensor([-1])), "joint label -1 lies outside 0..1"),
    ],
)
def test_wrong_use_is_named(make, message: str):
    with pytest.raises(UsageError, match=message):
        make()


@given(seed=st.integers(0, 99))
def test_what_a_part_says_is_placed_where_it_belongs(seed: int):
    joint = LabelSpace.union({"a": "uvw", "b": "wxyz"}).only("xwu")
    outputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
    placed = joint.placed("b", outputs)
    assert placed[:, 0].equal(outputs[:, 1])
    assert placed[:, 1].equal(outputs[:, 0])
    assert placed[:, 2].isinf().all()
    assert joint.within("b", placed).equal(placed)
    with pytest.raises(UsageError, match="'a' has 3 classes, not the 4 outputs given"):
        joint.placed("a", outputs)
