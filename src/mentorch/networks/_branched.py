"""One trunk that several tasks leave where it serves them best (task branching, arXiv:1904.10167)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks._dense import EncoderDecoder, Head, encode

Plan = Mapping[str, Sequence[Any]]
"""Branch -> depth at which it leaves, and its outputs, or the plan of what it holds itself."""


class ChannelCoding(nn.Module):
    r"""A weight for each channel, from the whole map: the map in the terms of another network.

    .. math:: A(F) = F \odot \sigma(W_2 \, ReLU(W_1 \, \bar F)), \quad \bar F \text{ the mean over all positions}

    with :math:`W_1` from C to max(16, C / 4) channels and :math:`W_2` back, both without bias.

    Args:
        channels: C.

    References:
        Ye et al., "Student Becoming the Master", CVPR 2019, arXiv 1904.10167, section 4.2; Hu et al., CVPR 2018, arXiv
        1709.01507 (the layers).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(16, channels // 4)
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[N, C, H, W]`, weighted."""
        weights = self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()  # [N, C]
        result: Tensor = x * weights[:, :, None, None]
        return result


class Tree(nn.Module):
    """Decoder blocks in a row, and the branches that leave them, each through an adaptor.

    Args:
        blocks: name -> block, in order.
        start: number of the first of them in the decoder that they are from.
        task: what comes out at the end, where no branch leaves.
        branches: name -> adaptor and what follows it; a branch leaves before the block of number ``start`` of its own.
    """

    def __init__(
        self,
        blocks: Mapping[str, nn.Module],
        start: int,
        *,
        task: str = "",
        branches: Mapping[str, tuple[nn.Module, "Tree"]] | None = None,
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential()
        for name, block in blocks.items():
            self.blocks.add_module(name, block)
        self.start, self.stop, self.task = start, start + len(self.blocks), task
        self.adaptors = nn.ModuleDict({name: adaptor for name, (adaptor, _) in (branches or {}).items()})
        self.branches = nn.ModuleDict({name: tree for name, (_, tree) in (branches or {}).items()})

    def forward(self, x: Tensor, left: Sequence[Any], start: int | None = None) -> dict[str, Tensor]:
        """Task -> output, from the map that enters block ``start`` (the first), and what the encoder left."""
        found: dict[str, Tensor] = {}
        for depth in range(self.start if start is None else start, self.stop + 1):
            for name, branch in self.trees():
                if branch.start == depth:
                    found |= branch(self.adaptors[name](x), left)
            if depth < self.stop:
                x = self.blocks[depth - self.start](x, left[depth])
        return found or {self.task: x}

    def trees(self) -> Iterator[tuple[str, "Tree"]]:
        """The branches by name."""
        return cast(Iterator[tuple[str, Tree]], iter(self.branches.items()))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of all outputs, those of branches in the order in which these are named."""
        return tuple(task for _, branch in self.trees() for task in branch.tasks) or (self.task,)

    @property
    def first_exit(self) -> int:
        """The depth at which the first branch leaves; without one, the last block's."""
        return min((branch.start for _, branch in self.trees()), default=self.stop - 1)

    def tail(self, start: int) -> "Tree":
        """What follows from a depth on, made of the same modules.

        Raises:
            UsageError: if a branch has left before.
        """
        if not self.start <= start <= self.first_exit:
            raise UsageError(f"blocks from {start} on: possible are {self.start} to {self.first_exit}")
        blocks = dict(list(self.blocks.named_children())[start - self.start :])
        branches = {name: (self.adaptors[name], branch) for name, branch in self.trees()}
        return Tree(blocks, start, task=self.task, branches=branches)

    def plan(self) -> dict[str, list[Any]]:
        """Where branches leave and what they give, as `branched` takes it."""
        return {
            name: [branch.start, branch.plan() if branch.branches else _outputs(branch.blocks[-1])]
            for name, branch in self.trees()
        }


class Branched(nn.Module):
    """An encoder, decoder blocks that all tasks share, and branches that leave them; ``network(images)[task]``.

    Made by `branched`.

    Args:
        encoder: blocks, as those of `EncoderDecoder`.
        tree: the shared decoder blocks, and what leaves them.
        levels: for each block of the decoder that they are from, which encoder block it reads what is left of.
        widths: channels entering each block of that decoder.

    Attributes:
        tasks: names of the outputs.

    Raises:
        UsageError: for tasks of one name.
    """

    def __init__(
        self, encoder: nn.Sequential, tree: Tree, *, levels: Sequence[int | None], widths: Sequence[int]
    ) -> None:
        super().__init__()
        self.encoder, self.tree, self.levels, self.widths = encoder, tree, tuple(levels), tuple(widths)
        self.tasks = tree.tasks
        if twice := [task for task in self.tasks if self.tasks.count(task) > 1]:
            raise UsageError(f"two branches do task {twice[0]!r}")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Task -> outputs `[N, K, H, W]` of images `[N, C, H, W]`."""
        found: dict[str, Tensor] = self.tree(*encode(self.encoder, self.levels, images))
        return {task: found[task] for task in self.tasks}


def branched(
    trunk: EncoderDecoder,
    branches: Mapping[str, tuple[EncoderDecoder | Branched, int]],
    *,
    adaptors: Mapping[str, nn.Module] | None = None,
) -> Branched:
    """A network for several tasks: the trunk up to the last branch point, of each other network what follows its own.

    It holds the modules of the networks that it is made of, and not copies, and of these only what is used.

    >>> import torch
    >>> from mentorch.networks import segnet_tiny
    >>> network = branched(segnet_tiny(1), {"segmentation": (segnet_tiny(7), 3), "depth": (segnet_tiny(1), 1)})
    >>> {task: list(output.shape) for task, output in network(torch.zeros(1, 3, 20, 28)).items()}
    {'segmentation': [1, 7, 20, 28], 'depth': [1, 1, 20, 28]}

    Args:
        trunk: whose encoder and first decoder blocks are shared; its last block, the head, is not used.
        branches: name -> network that goes on, and the number of its first decoder block; the network is an
            `EncoderDecoder` for one task of that name, or `Branched` itself, with tasks of their own names.
        adaptors: name -> what the trunk's map goes through first; a new `ChannelCoding`, of the trunk's dtype and
            device, unless given.

    Raises:
        UsageError: without a branch, for decoders that are not alike, a depth that does not exist or that a branch has
            left before, and tasks of one name.

    References:
        Ye et al., "Student Becoming the Master: Knowledge Amalgamation for Joint Scene Parsing, Depth Estimation, and
        More", CVPR 2019, arXiv 1904.10167.
    """
    if not branches:
        raise UsageError("a branched network needs at least one branch")
    tails: dict[str, tuple[nn.Module, Tree]] = {}
    for name, (network, depth) in branches.items():
        check_alike(trunk, network, name)
        following = tail(network, name, depth)
        coding = ChannelCoding(trunk.widths[depth]).to(next(trunk.parameters()))
        tails[name] = ((adaptors or {}).get(name) or coding, following)
    deepest = max(tree.start for _, tree in tails.values())
    shared = dict(list(trunk.decoder.named_children())[:deepest])
    return Branched(trunk.encoder, Tree(shared, 0, branches=tails), levels=trunk.levels, widths=trunk.widths)


def whole(network: EncoderDecoder | Branched, name: str) -> Tree:
    """All that follows the encoder; of a network for one task under the task's name."""
    return network.tree if isinstance(network, Branched) else Tree(dict(network.decoder.named_children()), 0, task=name)


def tail(network: EncoderDecoder | Branched, name: str, start: int) -> Tree:
    """What follows from a depth on.

    Raises:
        UsageError: naming the branch, for a depth that does not exist.
    """
    try:
        return whole(network, name).tail(start)
    except UsageError as error:
        raise UsageError(f"{name!r} has no {error}") from error


def check_alike(trunk: EncoderDecoder, network: nn.Module, name: str) -> None:
    """Raise unless a network's decoder reads what the trunk shows at every depth where they may meet.

    Raises:
        UsageError: naming what differs.
    """
    if not isinstance(network, EncoderDecoder | Branched):
        raise UsageError(
            f"{name!r} is a {type(network).__name__}: branches are made of networks with decoder blocks, such as "
            "segnet, unet, deeplab, and those that were branched before"
        )
    if network.levels != trunk.levels or network.widths != trunk.widths:
        theirs, ours = f"blocks of widths {list(network.widths)}", f"{list(trunk.widths)}"
        raise UsageError(f"{name!r} cannot go on from the trunk: its decoder has {theirs}, the trunk's {ours}")
    tree = whole(network, name)
    common = min(tree.stop, len(trunk.decoder) - 1)  # heads differ
    for block, own in zip(list(tree.blocks)[:common], trunk.decoder, strict=False):
        if _shapes(block) != _shapes(own):
            raise UsageError(f"{name!r} cannot go on from the trunk: a decoder block has other layers than the trunk's")


def _outputs(head: nn.Module) -> int:
    assert isinstance(head, Head)
    return head.conv.out_channels


def _shapes(block: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(tensor.shape)) for name, tensor in block.state_dict().items()]
