"""Progressive resizing: the first epochs on shrunk images, which cost less.

Convolutions and norms take images of any size. The first linear layer does not, so it reads the smaller map of the
blocks as if that were interpolated to its own size; that is the same as a smaller weight, made anew from the whole one
in every batch. All weights are those of the whole network from the first batch on.

Source: progressive resizing, Howard 2018 (the fast.ai entry to DAWNBench); here with a linear head in place of a pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core import require
from ..networks import ResNet


def shrunk(pixels: Tensor, side: int) -> Tensor:
    """Pixels [N, C, H, W] in [0, 1] brought to `side` x `side`, with the antialiasing that shrinking needs."""
    if pixels.shape[-1] == side:
        return pixels
    smaller = F.interpolate(pixels, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    return smaller.clamp(0, 1)


@contextmanager
def reading(network: ResNet, side: int) -> Iterator[None]:
    """While the block runs, `network` takes images of `side` x `side`; gradients reach the whole linear layer."""
    architecture = network.architecture
    inner, outer = architecture.side_of_features(side), architecture.side_of_features(architecture.size)
    if side == architecture.size:
        yield
        return
    require(inner >= 1, "side", side, f"images that leave the blocks of {architecture.name} at least a pixel")
    hidden, _ = network.linear
    network.head[1] = _Interpolated(hidden, inner, outer)
    try:
        yield
    finally:
        network.head[1] = hidden


class _Interpolated(nn.Linear):
    """What the linear layer `whole` does over a map of `inner` x `inner` pixels interpolated to `outer` x `outer`."""

    def __init__(self, whole: nn.Linear, inner: int, outer: int) -> None:
        nn.Module.__init__(self)  # parameters are those of `whole`
        self.whole, self.outer = whole, outer
        self.in_features, self.out_features = whole.in_features // outer**2 * inner**2, whole.out_features
        # column i: what pixel i of a line of `inner` pixels adds to each of the `outer` pixels
        self.line = F.interpolate(torch.eye(inner)[:, None], size=outer, mode="linear", align_corners=False)[:, 0].T

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """[out_features, in_features], part of the graph of the whole weight."""
        line = self.line.to(self.whole.weight)
        grid = self.whole.weight.view(self.out_features, -1, self.outer, self.outer)
        return torch.einsum("kcyx,yi,xj->kcij", grid, line, line).flatten(1)

    @property
    def bias(self) -> Tensor:  # type: ignore[override]
        """[out_features], that of the whole layer."""
        return self.whole.bias
