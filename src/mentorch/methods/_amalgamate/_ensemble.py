"""All teachers at once: what the student is to replace."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from mentorch._graph import View
from mentorch.data import LabelSpace
from mentorch.losses import Concatenated
from mentorch.methods._amalgamate._draw import check


class JointEnsemble(nn.Module):
    """Every teacher on every image, and what they say together: the strongest baseline, at the cost of all of them.

    Its outputs are the log-probabilities that an amalgamated student is taught, so it can be measured and saved as any
    network, and the size and cost of all its parts are its own. Unlike those of an :class:`Ensemble`, its members have
    classes of their own.

    Args:
        teachers: name -> network.
        space: the joint classes, one part for each teacher.
        kd: see :func:`amalgamate`.
        views: per teacher, what it sees of the inputs.

    Raises:
        UsageError: as :func:`amalgamate`.
    """

    def __init__(
        self,
        teachers: Mapping[str, nn.Module],
        space: LabelSpace,
        *,
        kd: Callable[..., Concatenated] = Concatenated,
        views: Mapping[str, View] | None = None,
    ):
        super().__init__()
        check(teachers, space)
        self.teachers = nn.ModuleDict(teachers)
        self.views = dict(views or {})
        self._view_modules = nn.ModuleDict({k: v for k, v in self.views.items() if isinstance(v, nn.Module)})
        self.loss = kd(blocks=[space.parts[name] for name in teachers])

    def forward(self, inputs: Any) -> Tensor:
        """Log-probabilities of the joint classes, shape ``[N, K]``."""
        logits = [
            net(self.views[name](inputs) if name in self.views else inputs) for name, net in self.teachers.items()
        ]
        return self.loss.log_target(*logits)
