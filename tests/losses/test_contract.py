"""What every loss in the catalogue must hold; a new loss joins by being exported."""

import inspect
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mentorch import losses
from mentorch._errors import RunError, UsageError
from mentorch.losses import LossInfo, catalogue

NAMES = sorted(catalogue())
CLASSES = [name for name in NAMES if catalogue()[name].is_class]
N, K = 6, 7
VECTORS = ((N, 5), (N, 9))
MAPS = ((N, 4, 4, 4), (N, 6, 4, 4))
STAGES = (((N, 2, 8, 8), (N, 4, 4, 4), (N, 6, 2, 2)), ((N, 3, 8, 8), (N, 5, 4, 4), (N, 8, 2, 2)))
# what a loss reads -> shapes of the student's tensors, shapes of the teacher's
SHAPES = {
    "logits": (((N, K),), ((N, K),)),
    "embedding": ((VECTORS[0],), (VECTORS[1],)),
    **dict.fromkeys(("stages", "stage", "first_stage", "last_stage"), ((MAPS[0],), (MAPS[1],))),
    "all_stages": STAGES,
    "stages_embedding": ((*STAGES[0], VECTORS[0]), (*STAGES[1], VECTORS[1])),
    "stages_logits": ((*STAGES[0], (N, K)), ((N, K),)),
}
SPLIT = {"concatenated": (4, 3)}  # losses whose classes are those of several teachers
EQUAL = {"cat", "fsp", "svd"}  # losses without adapter that need the same channels on both sides
UNSEEN = {"gather", "momentum", "keep_bias"}  # act among processes, steps, heads
# options that only act beside others
BESIDE = {("mlkd", "keep"): {"variant": "paper"}, ("concatenated", "target"): {"temperature": 2.0}}
# what makes up the gradient, where the default holds a part of the value fixed
FREE = {"mmd": {"bandwidths": "released"}, "common_features": {"bandwidths": "released"}}
OTHERS = {  # what no type tells
    ("ofd", "margins"): torch.full((6,), -0.5),
    ("review", "width"): 3,
    ("concatenated", "blocks"): ((6, 1, 2, 3), (4, 5, 0)),
    ("concatenated", "calibration"): (2.0, 0.5),
}


@dataclass(frozen=True)
class Case:
    """A loss and one batch for it."""

    loss: Callable[..., typing.Any]
    students: tuple[Tensor, ...]
    sources: tuple[Tensor, ...]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.students, *self.sources)

    def on(self, tensors: typing.Iterable[Tensor]) -> "Case":
        every = tuple(tensors)
        return replace(self, students=every[: len(self.students)], sources=every[len(self.students) :])

    def terms(self) -> dict[str, Tensor]:
        torch.manual_seed(0)  # for those that draw negatives
        value = self.loss(self.students if len(self.students) > 1 else self.students[0], *self.sources)
        return dict(value) if isinstance(value, Mapping) else {"": value}

    def total(self) -> Tensor:
        return torch.stack([term.sum() for term in self.terms().values()]).sum()

    def gradients(self) -> tuple[Tensor, ...]:
        return torch.autograd.grad(self.total(), self.students)

    def wide(self) -> "Case":
        return self.on(t.float() if t.is_floating_point() else t for t in self.tensors)

    def is_finite(self) -> bool:
        """Values and gradients, of tensors in half precision as far as they can hold the gradients."""
        exact = self.wide().gradients()
        same = [torch.equal(a, b.to(a.dtype)) for a, b in zip(self.gradients(), exact, strict=True)]
        return all(same) and all(t.isfinite().all() for t in (*self.terms().values(), *exact))


def tensors(info: LossInfo, scale: float, dtype: torch.dtype, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    students, teachers = SHAPES[info.reads]
    if info.adapter or info.name in EQUAL:
        teachers = students
    made = [
        [(scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype) for shape in shapes]
        for shapes in (students, teachers)
    ]
    made[1] = [part for t in made[1] for part in t.split(SPLIT.get(info.name, t.shape[1]), 1)]
    labels, index = torch.arange(N) % 3, torch.tensor([3, 0, 11, 1, 7, 2])
    return [t.requires_grad_() for t in made[0]], made[1] * info.teacher + [labels] * info.labels + [index] * info.index


def draw(
    name: str, *, scale: float = 1.0, dtype: torch.dtype = torch.float64, seed: int = 0, **options: typing.Any
) -> Case:
    """Student tensors that want gradients, sources, and the loss: of a class, built and in evaluation mode."""
    info = catalogue()[name]
    students, sources = tensors(info, scale, dtype, seed)
    if not info.is_class:
        return Case(lambda s, *t: info.function(s, *t, **options), tuple(students), tuple(sources))
    torch.manual_seed(0)
    known = {"samples": 12, "classes": K, "teacher_head": nn.Linear(MAPS[1][1], K).requires_grad_(False)}
    loss = info.function(**{key: known[key] for key in info.context}, **options)
    like = torch.float64 if dtype is torch.float64 else torch.float32
    students_, sources_ = tensors(info, 1.0, like, seed=9)
    with torch.no_grad():
        loss.build(tuple(students_) if len(students_) > 1 else students_[0], *sources_)
    return Case(loss.to(like).eval(), tuple(students), tuple(sources))


def options(info: LossInfo) -> Iterator[tuple[str, typing.Any]]:
    """Every keyword of a loss with values that differ from its default."""
    for name, parameter in inspect.signature(info.function).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or name in UNSEEN or name in info.context:
            continue
        if isinstance(parameter.default, bool):
            yield name, not parameter.default
        elif isinstance(parameter.default, float):
            yield name, 1.5 * parameter.default + 0.1 * (parameter.default == 0)
        elif isinstance(parameter.default, int):
            yield name, 1 if parameter.default != 1 else 2
        elif isinstance(parameter.default, tuple):
            yield name, tuple(value + 0.5 for value in parameter.default)
        elif typing.get_origin(parameter.annotation) is typing.Literal:
            yield from ((name, v) for v in typing.get_args(parameter.annotation) if v != parameter.default)
        else:
            yield name, OTHERS[info.name, name]


OPTIONS = [(name, option, value) for name in NAMES for option, value in options(catalogue()[name])]


class NoSync(TorchDispatchMode):
    """Fails on everything that makes the host wait for the device, or moves data between devices."""

    waits = ("_local_scalar_dense", "equal", "nonzero", "masked_select", "unique", "is_nonzero")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        moved = (kwargs or {}).get("device")
        tensors = [a for a in args if isinstance(a, Tensor)]
        if name.startswith(self.waits) or (moved is not None and any(t.device != moved for t in tensors)):
            raise AssertionError(f"the host waits in {func}")
        return func(*args, **(kwargs or {}))


def test_the_catalogue_lists_exactly_the_exported_losses():
    infos = catalogue().values()
    exported = {
        name for name, thing in vars(losses).items() if getattr(thing, "__module__", "").startswith("mentorch.losses._")
    }
    helpers = {"LossInfo", "OnMaps", "OptionInfo", "Regressor", "options", "standardized"}
    helpers |= {"where_confident", "where_correct"}
    # dense losses compare targets of their own, and are drawn by whoever knows the tasks
    helpers |= {"berhu", "depth_l1", "depth_l2", "normal_cosine", "pixel_kd", "scale_invariant"}
    assert {name for name in exported if not name.startswith("_")} == {i.function.__name__ for i in infos} | helpers
    assert all(getattr(losses, info.function.__name__) is info.function for info in infos)
    assert all(name == info.name == name.lower() for name, info in catalogue().items())


def test_the_catalogue_cannot_be_changed():
    with pytest.raises(TypeError):
        catalogue()["mine"] = catalogue()["kd"]


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_stated_in_the_docstring(name: str):
    info = catalogue()[name]
    text = info.function.__doc__ or ""
    assert f"``{info.kind}``" in text
    assert "arXiv" in text
    assert ">>>" in text
    assert info.weight > 0
    assert info.teacher or info.labels
    assert "arXiv" in info.paper
    assert "\n" not in info.summary


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 60.0, 600.0, 1e3])
@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_are_finite_at_every_scale(name: str, scale: float, dtype: torch.dtype):
    info, case = catalogue()[name], draw(name, scale=scale, dtype=dtype)
    terms = case.terms()
    assert all(term.dtype is torch.float32 for term in terms.values())
    shapes = {term.shape for term in terms.values()}
    assert () in shapes if info.kind == "batch" else len(shapes) == 1 and {s[0] for s in shapes} == {N}
    assert case.is_finite()


@pytest.mark.parametrize(("name", "option", "value"), OPTIONS)
def test_every_option_has_an_effect_and_stays_finite(name: str, option: str, value: object):
    beside = BESIDE.get((name, option), {})
    changed, plain = (draw(name, **beside, **o).terms() for o in ({option: value}, {}))
    assert changed.keys() != plain.keys() or not all(
        torch.allclose(changed[term], plain[term], rtol=1e-4, atol=0) for term in plain
    )
    for scale in (1e-3, 1e3):
        assert draw(name, scale=scale, dtype=torch.float16, **beside, **{option: value}).is_finite()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_and_autocast_compute_in_float32(name: str, dtype: torch.dtype):
    case = draw(name, scale=3.0, dtype=dtype)
    wide = case.wide()
    expected = wide.terms()
    found = [case.terms()]
    with torch.autocast("cpu", dtype=dtype):
        found += [wide.terms(), case.terms()]
    assert all(torch.equal(terms[term], expected[term]) for terms in found for term in expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_student_learns_and_the_teacher_does_not(name: str):
    case = draw(name)
    for source in case.sources:
        source.requires_grad_(source.is_floating_point())
    case.total().backward()
    assert all(student.grad is not None and student.grad.abs().sum() > 0 for student in case.students)
    assert all(source.grad is None for source in case.sources)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_alone(name: str):
    case = draw(name)
    before = [t.detach().clone() for t in case.tensors]
    case.terms()
    assert all(torch.equal(a, b) for a, b in zip(before, case.tensors, strict=True))


@pytest.mark.parametrize("name", [n for n in NAMES if catalogue()[n].kind == "sample"])
def test_a_sample_loss_depends_on_its_own_sample_alone(name: str):
    case, other = draw(name, dtype=torch.float32), draw(name, dtype=torch.float32, seed=1)
    mixed = case.on(
        torch.cat([old[:2], new[2:3], old[3:]]) for old, new in zip(case.tensors, other.tensors, strict=True)
    )
    before, after = case.terms(), mixed.terms()
    rest = torch.arange(N) != 2
    # entry by entry the same arithmetic, but a convolution may choose another order of sums for another batch
    exact = {} if not isinstance(case.loss, nn.Module) else {"rtol": 1e-5, "atol": 1e-5}
    for term in before:
        torch.testing.assert_close(after[term][rest], before[term][rest], **exact or {"rtol": 0, "atol": 0})
        assert after[term][2] != before[term][2]


@pytest.mark.parametrize("name", [n for n in NAMES if catalogue()[n].kind != "batch"])
def test_permuting_the_batch_permutes_the_entries(name: str):
    case, order = draw(name), torch.tensor([3, 0, 5, 1, 4, 2])
    plain, permuted = case.terms(), case.on(t[order] for t in case.tensors).terms()
    for term in plain:
        torch.testing.assert_close(permuted[term], plain[term][order], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_value(name: str):
    case = draw(name, **FREE.get(name, {}))

    def of(*students: Tensor) -> Tensor:
        return case.on((*students, *case.sources)).total()

    assert torch.autograd.gradcheck(of, case.students, fast_mode=len(case.students) > 1 or name in FREE)


@pytest.mark.parametrize("flat", [0.0, 1.0, 100.1])
@pytest.mark.parametrize("name", NAMES)
def test_rows_of_zeros_constants_and_twins_give_finite_gradients(name: str, flat: float):
    case = draw(name, dtype=torch.float32)
    odd = [t.detach().clone() for t in case.tensors]
    for tensor in odd:
        if tensor.is_floating_point():
            tensor[0], tensor[1] = flat, tensor[2]
    own = len(case.students)
    usual = max(t.abs().max() for t in draw(name, scale=max(flat, 1.0)).gradients())  # some grow with a power of it
    for which in (range(own), range(own, len(odd)), range(len(odd))):  # student, teacher, both
        mixed = [odd[i] if i in which else t.detach() for i, t in enumerate(case.tensors)]
        changed = case.on([*(t.clone().requires_grad_() for t in mixed[:own]), *mixed[own:]])
        assert changed.total().isfinite()
        assert max(gradient.abs().max() for gradient in changed.gradients()) < max(1e3, 10 * usual)


@pytest.mark.parametrize("name", NAMES)
def test_the_host_never_waits(name: str):
    case = draw(name)
    with NoSync():
        case.total().backward()


@pytest.mark.parametrize("wait", [Tensor.item, bool, lambda x: x.to("meta"), lambda x: x[x > 0]])
def test_the_guard_sees_waiting(wait: typing.Callable[[Tensor], object]):
    with NoSync(), pytest.raises(AssertionError, match="the host waits"):
        wait(torch.ones(()))


@pytest.mark.parametrize("name", NAMES)
def test_compiles_into_one_graph_of_the_same_values(name: str):
    case = draw(name, dtype=torch.float32)
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = replace(case, loss=torch.compile(case.loss, fullgraph=True, backend=counter))
    value = compiled.total()
    assert counter.frame_count == 1
    torch.testing.assert_close(value, case.total())
    for found, expected in zip(torch.autograd.grad(value, case.students), case.gradients(), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", CLASSES)
def test_weights_are_built_once_from_shapes_and_the_same_for_the_same_seed(name: str):
    case, again = draw(name), draw(name, seed=1)
    state = case.loss.state_dict()
    assert state
    assert all(torch.equal(value, again.loss.state_dict()[key]) for key, value in state.items())
    student = case.students if len(case.students) > 1 else case.students[0]
    case.loss.build(student, *case.sources)
    assert all(torch.equal(value, case.loss.state_dict()[key]) for key, value in state.items())
    other = tuple(t.repeat(1, 2, *[1] * (t.ndim - 2)) for t in case.students)
    with pytest.raises(UsageError, match="built for"):
        case.loss.build(other if len(other) > 1 else other[0], *case.sources)


@pytest.mark.parametrize("name", CLASSES)
def test_weights_must_be_built_before_use(name: str):
    info, case = catalogue()[name], draw(name)
    known = {"samples": 12, "classes": K, "teacher_head": nn.Linear(MAPS[1][1], K)}
    empty = info.function(**{key: known[key] for key in info.context})
    with pytest.raises(RunError, match="build"):
        replace(case, loss=empty).terms()


@pytest.mark.parametrize("name", CLASSES)
def test_every_weight_learns_and_survives_saving(name: str):
    case = draw(name, dtype=torch.float32)
    loss = case.loss.train()
    learned = {key: p for key, p in loss.named_parameters() if p.requires_grad}
    before = {key: p.detach().clone() for key, p in learned.items()}
    if learned:
        optimizer = torch.optim.SGD(learned.values(), lr=0.1)
        for _ in range(3):  # a weight behind one that starts at zero moves a step later
            optimizer.zero_grad()
            case.total().backward()
            optimizer.step()
    assert [key for key, p in learned.items() if torch.equal(p, before[key])] == []
    fresh = draw(name, dtype=torch.float32)
    fresh.loss.load_state_dict(loss.state_dict())
    loss.eval()
    for term, value in case.terms().items():
        assert torch.equal(fresh.terms()[term], value)


def test_two_processes_learn_what_one_would(tmp_path: Path):
    command = [sys.executable, str(Path(__file__).with_name("distributed.py")), str(tmp_path / "store")]
    both = [
        subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    expected = [n for n in catalogue() if "gather" in inspect.signature(catalogue()[n].function).parameters]
    for process in both:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert out.split() == expected
