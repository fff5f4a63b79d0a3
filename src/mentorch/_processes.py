"""Processes that work together: which of them this one is, and what all of them know.

``torchrun`` starts them and says so in the environment; nothing else is asked, so that a single process pays nothing.
"""

import atexit
import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, distributed

from mentorch._errors import UsageError

BUCKET = 2**23
"""Numbers that are sent at once."""


def started_together() -> bool:
    """Whether ``torchrun`` started this process beside others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def grouped() -> bool:
    """Whether there is a group of several processes already."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def world() -> int:
    """How many processes there are."""
    if grouped():
        return distributed.get_world_size()
    return int(os.environ["WORLD_SIZE"]) if started_together() else 1


def rank() -> int:
    """Which of them this is, from 0; the first one writes files and speaks."""
    if grouped():
        return distributed.get_rank()
    return int(os.environ["RANK"]) if started_together() else 0


def per_machine() -> tuple[int, int]:
    """Which of the processes of this machine this is, and how many it has."""
    if not started_together():
        return 0, 1
    return int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])


def join() -> None:
    """Make the processes that ``torchrun`` started a group, if they are none yet."""
    if started_together() and not distributed.is_initialized():
        distributed.init_process_group()  # gloo for what is on processors, nccl for what is on GPUs
        atexit.register(distributed.destroy_process_group)


def wait() -> None:
    """Until all processes are here."""
    if grouped():
        distributed.barrier()


def share(batch_size: int) -> int:
    """What each process takes of a batch.

    Raises:
        UsageError: if it cannot be shared in equal parts.
    """
    if batch_size % world():
        raise UsageError(f"a batch of {batch_size} cannot be shared by {world()} processes in equal parts")
    return batch_size // world()


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Give the gradients of ``tensors``, which every process names in the same order, their mean over all processes.

    A gradient that only some of the processes have counts as zero in the others; one that nobody has stays away. What
    is sharded (a ``DTensor``) is left out: whoever shards it averages it.
    """
    for bucket in _buckets(tensor for tensor in tensors if not hasattr(tensor, "placements")):
        own = [tensor.grad is not None for tensor in bucket]
        parts = [torch.zeros_like(x) if x.grad is None else x.grad for x in bucket]
        flags = torch.tensor(own, dtype=parts[0].dtype, device=parts[0].device)
        flat = torch.cat([*(part.flatten() for part in parts), flags])
        distributed.all_reduce(flat)
        means = torch.split(flat[: -len(bucket)] / distributed.get_world_size(), [part.numel() for part in parts])
        # asking waits for the device: only where something is missing
        present = own if all(own) else (flat[-len(bucket) :] > 0).tolist()
        for tensor, mean, somewhere in zip(bucket, means, present, strict=True):
            if somewhere:
                tensor.grad = mean.view_as(tensor)


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one kind on one device, together not much more than ``BUCKET`` numbers."""
    open_: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        kind = tensor.dtype, tensor.device
        open_.setdefault(kind, []).append(tensor)
        if sum(x.numel() for x in open_[kind]) >= BUCKET:
            yield open_.pop(kind)
    yield from open_.values()


@torch.no_grad()
def as_in_the_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite ``tensors``, which every process names in the same order, with those of the first process."""
    for tensor in tensors:
        if not hasattr(tensor, "placements"):
            whole = tensor.contiguous()
            distributed.broadcast(whole, 0)
            if whole is not tensor:
                tensor.copy_(whole)


def from_all(data: bytes, device: torch.device) -> list[bytes]:
    """The bytes that every process has, in the order of ranks; sent by way of ``device``."""
    own = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(device)
    sizes = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(world())]
    distributed.all_gather(sizes, torch.tensor([len(own)], device=device))
    longest = max(int(size) for size in sizes)
    padded = torch.nn.functional.pad(own, (0, longest - len(own)))
    parts = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(parts, padded)
    return [bytes(part[: int(size)].cpu().tolist()) for part, size in zip(parts, sizes, strict=True)]
