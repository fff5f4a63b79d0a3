"""The block of layerwise amalgamation."""

from typing import Self

import torch
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError
from mentorch._math import comparable, full_precision, squared_error
from mentorch.losses._info import LossInfo


class Layerwise(nn.Module):
    r"""The student's layer holds a code from which the layers of all teachers can be rebuilt (layerwise amalgamation).

    .. math:: r = E [f_1; \ldots; f_M], \quad [\hat f_1; \ldots; \hat f_M] = D r, \quad
        \ell_b = mse(A f_S, r) + \beta \sum_m mse(\hat f_m, f_m)

    with linear maps over channels (1x1 convolutions) E, D and A; the code r has the student's channels. E and D learn
    to rebuild alone: the code is detached where the student meets it. A is dropped afterwards, so the student contains
    the code up to a linear map. One group of layers is one edge. Kind ``sample``. This is the joint form of a toolkit
    of the same group, with weight 1; the paper trains in three stages.

    Args:
        reconstruction: beta, the weight of the reconstruction.

    References:
        Shen et al., "Amalgamating Knowledge towards Comprehensive Classification", AAAI 2019, arXiv 1811.02796.

    >>> _ = torch.manual_seed(0)
    >>> student, birds, dogs = torch.rand(4, 8, 4, 4), torch.rand(4, 16, 4, 4), torch.rand(4, 12, 2, 2)
    >>> terms = Layerwise().build(student, birds, dogs)(student, birds, dogs)
    >>> {name: list(term.shape) for name, term in terms.items()}
    {'code': [4], 'reconstruction': [4]}
    """

    def __init__(self, *, reconstruction: float = 1.0):
        super().__init__()
        self.reconstruction = reconstruction
        self.encode: nn.Conv2d | None = None
        self.decode: nn.Conv2d | None = None
        self.adapt: nn.Conv2d | None = None
        self._widths: list[int] = []

    def build(self, student: Tensor, *teachers: Tensor) -> Self:
        """Create the three maps for features ``[N, C, H, W]``, ``[N, T, C]`` or ``[N, C]``.

        Raises:
            UsageError: without a teacher, or if it was built for other widths.
        """
        features = comparable(*full_precision(student, *teachers))
        widths = [x.shape[1] for x in features]
        if self.encode is not None:
            if widths != self._widths:
                raise UsageError(f"this Layerwise was built for widths {self._widths}, not {widths}: make another")
            return self
        if not teachers:
            raise UsageError("Layerwise: needs at least one teacher")
        code, total = widths[0], sum(widths[1:])
        self.encode, self.decode = nn.Conv2d(total, code, 1), nn.Conv2d(code, total, 1)
        self.adapt = nn.Conv2d(code, code, 1)
        self.to(features[0].device, features[0].dtype)
        self._widths = widths
        return self

    def forward(self, student: Tensor, *teachers: Tensor) -> dict[str, Tensor]:
        """``code`` and ``reconstruction``: one value per sample each, at least 0, shape ``[N]``.

        Args:
            student: features, shape ``[N, ...]``.
            teachers: features, shape ``[N, ...]`` each; no gradient reaches them.

        Raises:
            RunError: before :meth:`build`.
        """
        if self.encode is None or self.decode is None or self.adapt is None:
            raise RunError(
                "this Layerwise has no layers yet: call build(student, *teachers), or give the graph an example batch"
            )
        ours, *theirs = (
            x if x.ndim == 4 else x[..., None, None]
            for x in comparable(*full_precision(student, *(x.detach() for x in teachers)))
        )
        with torch.autocast(student.device.type, enabled=False):
            code = self.encode(torch.cat(theirs, 1))
            rebuilt = self.decode(code).split(self._widths[1:], 1)
            adapted = self.adapt(ours)
        errors = [squared_error(a, b) for a, b in zip(rebuilt, theirs, strict=True)]
        return {
            "code": squared_error(adapted, code.detach()),
            "reconstruction": self.reconstruction * torch.stack(errors).sum(0),
        }


INFO = (
    LossInfo(
        Layerwise,
        reads="stages",
        kind="sample",
        weight=1.0,
        summary="a code from which the layers of all teachers can be rebuilt",
        paper="Shen et al., AAAI 2019, arXiv 1811.02796",
    ),
)
