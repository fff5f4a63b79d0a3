"""Tokens as maps, so that a transformer and a convolutional network can be compared."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.losses._info import describe, layers

_LEADING = 5  # a class token, a distillation token, up to four registers: what comes before the first position


class OnMaps(nn.Module):
    """A loss on maps that also takes tokens: they become maps first, on both sides.

    Tokens ``[N, T, C]`` are positions, row by row, after at most five tokens that are none (class, distillation,
    registers), which are left out. The positions form a square; where the edge also reads a map, a rectangle of its
    proportions, the largest that fits. Where that is impossible and all sides have the same number of tokens (text),
    they are a map of one column. Maps, vectors, labels and indices pass as they are.

    :func:`mentorch.methods.distill` puts it around losses that read stages, where its example shows tokens.

    Args:
        loss: ``loss(student, *sources)``, a function or what owns weights, which is built on the maps.

    Raises:
        UsageError: when called, for tokens that form no map.

    >>> import torch
    >>> from mentorch.losses import attention
    >>> student, teacher = torch.rand(2, 16, 8, 8), torch.rand(2, 65, 192)
    >>> OnMaps(attention)(student, teacher).shape
    torch.Size([2])
    """

    def __init__(self, loss: Callable[..., Tensor | Mapping[str, Tensor]]):
        super().__init__()
        if isinstance(layers(loss)[-1], nn.Module) and not isinstance(loss, nn.Module):
            raise UsageError(f"OnMaps: bind options before the weights are made, not as {describe(loss)}")
        self.loss = loss

    @property
    def __name__(self) -> str:
        last = layers(self)[-1]
        return getattr(last, "__name__", type(last).__name__)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        return self.loss

    def build(self, student: Tensor | tuple[Tensor, ...], *sources: Tensor) -> Self:
        """Build the loss, if it has something to build, from one batch."""
        build = getattr(self.loss, "build", None)
        if build is not None:
            build(*_on_maps(student, sources))
        return self

    def forward(self, student: Tensor | tuple[Tensor, ...], *sources: Tensor) -> Tensor | Mapping[str, Tensor]:
        """The loss of the maps."""
        return self.loss(*_on_maps(student, sources))


def as_map(tokens: Tensor, like: Sequence[int] = (1, 1)) -> Tensor:
    """Tokens ``[N, T, C]`` as a map ``[N, C, H, W]`` with H : W as in ``like``; leading tokens are left out.

    Raises:
        UsageError: if they form no such map.
    """
    height, width = grid(tokens.shape[1], like)
    positions = tokens[:, tokens.shape[1] - height * width :]
    return positions.mT.reshape(len(tokens), -1, height, width)


def grid(count: int, like: Sequence[int] = (1, 1)) -> tuple[int, int]:
    """Height and width of the largest map with the proportions of ``like`` that ``count`` tokens hold.

    >>> grid(65), grid(197), grid(33, like=(4, 8))
    ((8, 8), (14, 14), (4, 8))

    Raises:
        UsageError: if more than five tokens would be left out.
    """
    rows, columns = _shortened(*like)
    scale = _root(count // (rows * columns))
    if not scale or count - rows * columns * scale**2 > _LEADING:
        raise UsageError(
            f"{count} tokens are no map of {rows} : {columns} after at most {_LEADING} leading ones: tap where "
            "the network has such maps, or compare embeddings"
        )
    return rows * scale, columns * scale


def _on_maps(student: Tensor | tuple[Tensor, ...], sources: Sequence[Tensor]) -> list[Any]:
    """Everything that the edge reads, tokens as maps."""
    own = student if isinstance(student, tuple) else (student,)
    tensors = (*own, *sources)
    like = next((x.shape[2:] for x in tensors if x.ndim == 4), (1, 1))
    counts = {x.shape[1] for x in tensors if _is_tokens(x)}
    line = like == (1, 1) and len(counts) == 1 and not _is_grid(*counts)
    maps = [x if not _is_tokens(x) else x.mT.unsqueeze(3) if line else as_map(x, like) for x in tensors]
    ours = tuple(maps[: len(own)])
    return [ours if isinstance(student, tuple) else ours[0], *maps[len(own) :]]


def _is_tokens(x: Tensor) -> bool:
    return x.ndim == 3 and x.is_floating_point()


def _is_grid(count: int) -> bool:
    return count - _root(count) ** 2 <= _LEADING


# in plain arithmetic: a compiler may hold sizes as symbols, which gcd and isqrt do not take


def _shortened(height: int, width: int) -> tuple[int, int]:
    divisor, rest = height, width
    while rest:
        divisor, rest = rest, divisor % rest
    return height // divisor, width // divisor


def _root(count: int) -> int:
    root = 0
    while (root + 1) ** 2 <= count:
        root += 1
    return root
