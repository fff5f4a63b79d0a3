"""What every loss in the catalogue must hold; a new loss joins by being exported."""

import inspect
import typing

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mentorch import losses
from mentorch.losses import LossInfo, catalogue

NAMES = sorted(catalogue())
SHAPES = {
    "logits": ((6, 7), (6, 7)),
    "embedding": ((6, 5), (6, 9)),
    "stages": ((6, 3, 4, 4), (6, 5, 8, 6)),
    "stage": ((6, 4, 3, 3), (6, 4, 3, 3)),
}


def draw(
    info: LossInfo, *, scale: float = 1.0, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Tensor, list[Tensor]]:
    """A student that wants gradients, and its sources: the teacher, the labels, or both."""
    generator = torch.Generator().manual_seed(seed)
    pair = [(scale * torch.randn(s, generator=generator, dtype=torch.float64)).to(dtype) for s in SHAPES[info.reads]]
    labels = torch.arange(len(pair[0])) % 3
    return pair[0].requires_grad_(), [pair[1]] * info.teacher + [labels] * info.labels


def gradient(info: LossInfo, student: Tensor, sources: list[Tensor], **options: object) -> Tensor:
    (grad,) = torch.autograd.grad(info.function(student, *sources, **options).sum(), student)
    return grad


def options(info: LossInfo) -> dict[str, list[object]]:
    """Every keyword of a loss with values that differ from its default."""
    found: dict[str, list[object]] = {}
    for name, parameter in inspect.signature(info.function).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        literals = [v for v in typing.get_args(parameter.annotation) if v != parameter.default]
        if isinstance(parameter.default, bool):
            found[name] = [not parameter.default]
        elif isinstance(parameter.default, float):
            found[name] = [parameter.default + 0.5]
        elif isinstance(parameter.default, int):
            found[name] = [1]
        else:
            found[name] = literals
    return found


OPTIONS = [(name, option, v) for name in NAMES for option, vs in options(catalogue()[name]).items() for v in vs]


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
    functions = {n for n, thing in vars(losses).items() if inspect.isfunction(thing) and n != "catalogue"}
    assert functions == set(catalogue())
    assert all(getattr(losses, name) is info.function for name, info in catalogue().items())


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
    info = catalogue()[name]
    student, sources = draw(info, scale=scale, dtype=dtype)
    value = info.function(student, *sources)
    assert value.dtype is torch.float32
    assert value.shape == (() if info.kind == "batch" else (len(student),))
    (grad,) = torch.autograd.grad(value.sum(), student)
    assert value.isfinite().all()
    assert grad.isfinite().all()


@pytest.mark.parametrize(("name", "option", "value"), OPTIONS)
def test_every_option_has_an_effect_and_stays_finite(name: str, option: str, value: object):
    info = catalogue()[name]
    student, sources = draw(info)
    changed = info.function(student, *sources, **{option: value})
    assert not torch.allclose(changed, info.function(student, *sources), rtol=1e-4, atol=0)
    for scale in (1e-3, 1e3):
        student, sources = draw(info, scale=scale, dtype=torch.float16)
        assert info.function(student, *sources, **{option: value}).isfinite().all()
        assert gradient(info, student, sources, **{option: value}).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_and_autocast_compute_in_float32(name: str, dtype: torch.dtype):
    info = catalogue()[name]
    student, sources = draw(info, scale=3.0, dtype=dtype)
    wide = [s.float() if s.is_floating_point() else s for s in sources]
    expected = info.function(student.float(), *wide)
    assert torch.equal(info.function(student, *sources), expected)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(info.function(student.float(), *wide), expected)
        assert torch.equal(info.function(student, *sources), expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_student_learns_and_the_teacher_does_not(name: str):
    info = catalogue()[name]
    student, sources = draw(info)
    for source in sources:
        source.requires_grad_(source.is_floating_point())
    info.function(student, *sources).sum().backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert all(source.grad is None for source in sources)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_alone(name: str):
    info = catalogue()[name]
    student, sources = draw(info)
    before = [t.detach().clone() for t in (student, *sources)]
    info.function(student, *sources)
    assert all(torch.equal(a, b) for a, b in zip(before, (student, *sources), strict=True))


@pytest.mark.parametrize("name", [n for n in NAMES if catalogue()[n].kind == "sample"])
def test_a_sample_loss_depends_on_its_own_sample_alone(name: str):
    info = catalogue()[name]
    student, sources = draw(info, dtype=torch.float32)
    value = info.function(student, *sources)
    other, others = draw(info, dtype=torch.float32, seed=1)
    mixed = [
        torch.cat([old[:2], new[2:3], old[3:]]) for old, new in zip((student, *sources), (other, *others), strict=True)
    ]
    changed = info.function(*mixed)
    rest = torch.arange(len(value)) != 2
    assert torch.equal(changed[rest], value[rest])
    assert changed[2] != value[2]


@pytest.mark.parametrize("name", [n for n in NAMES if catalogue()[n].kind != "batch"])
def test_permuting_the_batch_permutes_the_entries(name: str):
    info = catalogue()[name]
    student, sources = draw(info)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = info.function(student[order], *(s[order] for s in sources))
    torch.testing.assert_close(permuted, info.function(student, *sources)[order], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_value(name: str):
    info = catalogue()[name]
    student, sources = draw(info)
    assert torch.autograd.gradcheck(lambda x: info.function(x, *sources), (student,))


@pytest.mark.parametrize("flat", [0.0, 1.0, 100.1])
@pytest.mark.parametrize("name", NAMES)
def test_rows_of_zeros_constants_and_twins_give_finite_gradients(name: str, flat: float):
    info = catalogue()[name]
    student, sources = draw(info, dtype=torch.float32)
    everything = [student.detach().clone(), *sources]
    for tensor in everything:
        if tensor.is_floating_point():
            tensor[0], tensor[1] = flat, tensor[2]
    for which in ({0}, set(range(1, len(everything))), set(range(len(everything)))):  # student, teacher, both
        fresh = [student.detach(), *draw(info, dtype=torch.float32)[1]]
        mixed, *rest = [everything[i] if i in which else fresh[i] for i in range(len(everything))]
        mixed = mixed.clone().requires_grad_()
        assert info.function(mixed, *rest).isfinite().all()
        assert gradient(info, mixed, rest).abs().max() < 1e3


@pytest.mark.parametrize("name", NAMES)
def test_the_host_never_waits(name: str):
    info = catalogue()[name]
    student, sources = draw(info)
    with NoSync():
        info.function(student, *sources).sum().backward()


@pytest.mark.parametrize("wait", [Tensor.item, bool, lambda x: x.to("meta"), lambda x: x[x > 0]])
def test_the_guard_sees_waiting(wait: typing.Callable[[Tensor], object]):
    with NoSync(), pytest.raises(AssertionError, match="the host waits"):
        wait(torch.ones(()))


@pytest.mark.parametrize("name", NAMES)
def test_compiles_into_one_graph_of_the_same_values(name: str):
    info = catalogue()[name]
    student, sources = draw(info, dtype=torch.float32)
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(info.function, fullgraph=True, backend=counter)
    value = compiled(student, *sources)
    assert counter.frame_count == 1
    torch.testing.assert_close(value, info.function(student, *sources))
    (grad,) = torch.autograd.grad(value.sum(), student)
    torch.testing.assert_close(grad, gradient(info, student, sources))
