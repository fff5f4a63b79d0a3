"""Plain vision transformers for small images (Dosovitskiy et al., ICLR 2021, arXiv:2010.11929)."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.networks._taps import Taps


class ViT(nn.Module):
    """Patches, pre-norm encoder blocks, the mean over tokens (or a class token), one linear layer `fc`.

    In the plain form of Beyer, Zhai & Kolesnikov (arXiv:2205.01580): fixed sine-cosine positions, so that images of any
    size go in, and no dropout. Pixels to the right and below that fill no patch are not seen.

    Tokens `[N, T, C]` are shown after each third of the blocks; the last third after the final norm, whose mean over
    tokens is the embedding (without a class token).

    Args:
        num_classes: logits.
        in_channels: channels of the images.
        width: of a token, a multiple of four and of `heads`.
        depth: encoder blocks, at least three.
        heads: of the attention.
        patch: side of a patch.
        class_token: classify by a token of its own, the first, not by the mean.

    Raises:
        UsageError: for a width that does not divide, or fewer than three blocks.

    >>> sum(p.numel() for p in vit_tiny(10).parameters())
    5350090
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        width: int,
        depth: int,
        heads: int,
        patch: int = 4,
        class_token: bool = False,
    ) -> None:
        super().__init__()
        if width % 4 or width % heads:
            raise UsageError(f"the width of a ViT is a multiple of 4 and of its {heads} heads, not {width}")
        if depth < 3:
            raise UsageError(f"a ViT needs at least three blocks, not {depth}")
        thirds = [math.ceil(depth * share / 3) - 1 for share in (1, 2)]
        self.taps = Taps("tokens", (*(f"blocks.{i}" for i in thirds), "norm"), "fc:in")
        self.patch_embed = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.tokens = _Tokens(width, class_token=class_token)
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.fc = nn.Linear(width, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.patch_embed.weight, std=self.patch_embed.weight[0].numel() ** -0.5)
        nn.init.zeros_(self.patch_embed.bias)  # type: ignore[arg-type]
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.fc.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[N, K]` of images `[N, C, H, W]`."""
        tokens = self.norm(self.blocks(self.tokens(self.patch_embed(x))))
        logits: Tensor = self.fc(tokens.mean(1) if self.tokens.leading is None else tokens[:, 0])
        return logits


class _Tokens(nn.Module):
    """A map `[N, C, H, W]` as tokens `[N, H W, C]` that know where they are, after a class token if there is one."""

    def __init__(self, width: int, *, class_token: bool):
        super().__init__()
        self.leading = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).mT + _positions(x)
        return tokens if self.leading is None else torch.cat([self.leading.expand(len(x), -1, -1), tokens], dim=1)


def _positions(x: Tensor) -> Tensor:
    """Sines and cosines of row and column at wavelengths up to 10000 (arXiv:1706.03762), `[H W, C]`."""
    height, width = x.shape[2:]
    quarter = x.shape[1] // 4
    pace = 10000.0 ** (-torch.arange(quarter, device=x.device) / max(quarter - 1, 1))
    rows, columns = (torch.arange(n, device=x.device)[:, None] * pace for n in (height, width))
    by_row = torch.cat([rows.sin(), rows.cos()], dim=1)[:, None].expand(-1, width, -1)
    by_column = torch.cat([columns.sin(), columns.cos()], dim=1)[None].expand(height, -1, -1)
    return torch.cat([by_row, by_column], dim=2).flatten(0, 1).to(x.dtype)


class _Block(nn.Module):
    """Attention, then two layers on each token; both read a norm and add to what was there."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)  # [N, heads, T, C / heads]
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


vit_nano = partial(ViT, width=64, depth=6, heads=2)
vit_tiny = partial(ViT, width=192, depth=12, heads=3)
