"""The network of the search: one trunk, and from every depth a way on through each teacher's blocks."""

from collections.abc import Mapping
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from mentorch._freeze import freeze, thawed
from mentorch.data._keys import below, fold, sample_keys
from mentorch.networks import Branched, EncoderDecoder
from mentorch.networks._branched import ChannelCoding, Tree, whole
from mentorch.networks._dense import encode


class Paths(nn.Module):
    """A trunk with an adaptor for every teacher and depth, and the teachers' blocks to go on with.

    Args:
        trunk: encoder and decoder blocks that are shared; its last block, the head, is not used.
        teachers: name -> network, checked to fit.
        own: whether it holds copies of the teachers' blocks, which learn; otherwise it goes on with the teachers' own,
            which it does not hold, so that they are in no checkpoint and no optimiser of the student.
        seed: of the paths drawn at random.

    Attributes:
        depths: int64, shape ``[M]``, a buffer: where each teacher's branch leaves; valid from the beginning.
        random: whether a step of training draws a depth for each teacher instead. The draw is a function of seed,
            step and teacher.
    """

    encoder: nn.Sequential
    decoder: nn.Sequential
    depths: Tensor
    steps: Tensor

    def __init__(
        self,
        trunk: EncoderDecoder,
        teachers: Mapping[str, EncoderDecoder | Branched],
        *,
        own: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = trunk.encoder, cast(nn.Sequential, trunk.decoder[:-1])
        self.levels, self.widths = trunk.levels, trunk.widths
        trees = {name: whole(network, name) for name, network in teachers.items()}
        self.limits = {name: tree.first_exit for name, tree in trees.items()}
        self.adaptors = nn.ModuleDict(
            {
                name: nn.ModuleList(ChannelCoding(width) for width in trunk.widths[: limit + 1])
                for name, limit in self.limits.items()
            }
        ).to(next(trunk.parameters()))
        copies = {name: thawed(tree) for name, tree in trees.items()} if own else {}
        self.copies = nn.ModuleDict(copies)
        self._teachers = trees  # a plain mapping: not parts of this network
        self.tasks = tuple(task for tree in trees.values() for task in tree.tasks)
        self.random, self._seed = False, seed
        self.register_buffer("depths", torch.zeros(len(trees), dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._chosen, self._step = self.depths.tolist(), 0
        self.register_load_state_dict_post_hook(_reread)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Task -> output `[N, K, H, W]` of images `[N, C, H, W]`."""
        x, left = encode(self.encoder, self.levels, images)
        depths = self._draw() if self.random and self.training else self._chosen
        found: dict[str, Tensor] = {}
        for depth in range(max(depths) + 1):
            for (name, tree), own in zip(self.trees().items(), depths, strict=True):
                if own == depth:
                    found |= tree(self.adaptor(name, depth)(x), left, start=depth)
            if depth < max(depths):
                x = self.decoder[depth](x, left[depth])
        return {task: found[task] for task in self.tasks}

    def trees(self) -> dict[str, Tree]:
        """What goes on, by teacher."""
        return cast(dict[str, Tree], dict(self.copies.items())) or self._teachers

    def adaptor(self, name: str, depth: int) -> nn.Module:
        """What the trunk's map at a depth goes through to a teacher's blocks."""
        return cast(nn.ModuleList, self.adaptors[name])[depth]

    def choose(self, depths: Mapping[str, int]) -> Self:
        """Let each teacher's branch leave at a depth, or at its last possible one where that is less."""
        self._chosen = [min(depths[name], limit) for name, limit in self.limits.items()]
        with torch.no_grad():
            self.depths.copy_(torch.tensor(self._chosen))
        return self

    @property
    def chosen(self) -> dict[str, int]:
        """Teacher -> depth at which its branch leaves."""
        return dict(zip(self.limits, self._chosen, strict=True))

    def only(self, depth: int, *, trunk: str) -> Self:
        """Let learn what is used with all branches at a depth: the adaptors there, and of the trunk all or the last.

        Blocks of the trunk that are done are frozen for good where only the last one learns.
        """
        blocks: list[nn.Module] = [self.encoder, *self.decoder]
        if trunk == "last":
            for block in blocks[:depth]:
                freeze(block)
        self.requires_grad_(False)
        learning = blocks[depth if trunk == "last" else 0 : depth + 1]
        here = [self.adaptor(name, depth) for name, limit in self.limits.items() if depth <= limit]
        for module in (*learning, *here):
            module.requires_grad_(True)
        return self

    def trunk_state(self) -> dict[str, Tensor]:
        """A copy of the trunk's weights."""
        state = self.state_dict()
        return {name: x.clone() for name, x in state.items() if name.split(".")[0] in ("encoder", "decoder")}

    def export(self) -> Branched:
        """What is used with the chosen depths, as a network of its own that learns; the same outputs."""
        trees = self.trees()
        tails = {name: (self.adaptor(name, depth), trees[name].tail(depth)) for name, depth in self.chosen.items()}
        blocks = dict(list(self.decoder.named_children())[: max(self._chosen)])
        return thawed(Branched(self.encoder, Tree(blocks, 0, branches=tails), levels=self.levels, widths=self.widths))

    def _draw(self) -> list[int]:
        keys = sample_keys(fold(self._seed, 1), self._step, torch.arange(len(self.limits)))
        self._step += 1
        self.steps += 1
        return [int(below(key, 0, most + 1)) for key, most in zip(keys, self.limits.values(), strict=True)]


def _reread(paths: Paths, incompatible: Any) -> None:
    """What was loaded into the buffers is what counts."""
    paths._chosen, paths._step = paths.depths.tolist(), int(paths.steps)
