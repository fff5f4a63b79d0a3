"""One of two processes that must learn together what one alone would: ``python distributed.py STORE RANK``."""

import inspect
import sys
from collections.abc import Mapping

import torch
from torch import Tensor

from mentorch.losses import LossInfo, catalogue

WORLD, N = 2, 8
SHAPES = {"logits": ((N, 5), (N, 5)), "embedding": ((N, 4), (N, 6)), "last_stage": ((N, 3, 2, 2), (N, 4, 2, 2))}


def value(info: LossInfo, tensors: list[Tensor], *, gather: bool) -> Tensor:
    loss = info.function
    torch.manual_seed(0)
    if info.is_class:
        loss = info.function(gather=gather, **dict.fromkeys(info.context, N)).build(*whole(info)).eval()
    terms = loss(*tensors) if info.is_class else loss(*tensors, gather=gather)
    terms = terms if isinstance(terms, Mapping) else {"": terms}
    return torch.stack([term.mean() for term in terms.values()]).sum()


def whole(info: LossInfo) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = SHAPES[info.reads]
    shapes = (shapes[0], shapes[0]) if info.adapter else shapes
    pair = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    batch = torch.arange(N)
    return [pair[0], *[pair[1]] * info.teacher, *[batch % 3] * info.labels, *[batch] * info.index]


def check(info: LossInfo, rank: int) -> None:
    tensors = whole(info)
    views = 2 if info.name == "mlkd" else 1
    mine = torch.arange(N).view(views, WORLD, -1)[:, rank].flatten()  # a part of each view
    everything, own = tensors[0].clone().requires_grad_(), tensors[0][mine].requires_grad_()
    alone = value(info, [everything, *tensors[1:]], gather=False)
    together = value(info, [own, *(t[mine] for t in tensors[1:])], gather=True)
    (expected,) = torch.autograd.grad(alone, everything)
    (found,) = torch.autograd.grad(together, own)
    torch.testing.assert_close(
        found / WORLD, expected[mine], rtol=1e-9, atol=1e-12
    )  # parameters' gradients are averaged
    total = together.detach().clone()
    torch.distributed.all_reduce(total)
    torch.testing.assert_close(total / WORLD, alone.detach(), rtol=1e-9, atol=1e-12)


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank = int(sys.argv[2])
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.FileStore(sys.argv[1], WORLD), rank=rank, world_size=WORLD
    )
    for info in catalogue().values():
        if "gather" in inspect.signature(info.function).parameters:
            check(info, rank)
            print(info.name)
    torch.distributed.destroy_process_group()
