"""Another image size as a view of the inputs: networks of one graph may each have their own."""

import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch.data._numbers import whole


class Resize(nn.Module):
    """Images at another size, bilinear, smoothed where they become smaller; before :class:`Normalize` in a view.

    Args:
        size: side, or height and width.

    Raises:
        UsageError: for a size below 1; in ``forward``, for integers or anything but images.

    >>> import torch
    >>> nn.Sequential(Resize(4), Resize((2, 6)))(torch.ones(1, 3, 8, 8)).shape
    torch.Size([1, 3, 2, 6])
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        super().__init__()
        sides = size if isinstance(size, tuple | list) else (size, size)
        if len(sides) != 2 or min(whole("Resize: a size", side) for side in sides) < 1:
            raise UsageError(f"Resize needs a positive size, not {size}")
        self.size = (sides[0], sides[1])

    def forward(self, images: Tensor) -> Tensor:
        """``images`` at the size, shape `[N, C, H, W]`; as they are if they have it already."""
        if images.ndim != 4 or not images.is_floating_point():
            raise UsageError(
                f"Resize expects floating-point images [N, C, H, W], got {images.dtype} {list(images.shape)}"
            )
        if images.shape[2:] == self.size:
            return images
        return F.interpolate(images, self.size, mode="bilinear", align_corners=False, antialias=True)

    def extra_repr(self) -> str:
        return f"{self.size[0]}x{self.size[1]}"
