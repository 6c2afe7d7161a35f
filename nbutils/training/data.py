"""Training images in memory: the validation share, the order of an epoch, augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import ImageError, require
from ..randomness import stream
from ..records import ImageSet, Normalization
from ..resnets import ARCHITECTURES
from .config import TrainConfig

PAD = 4  # pixels of reflected border that a crop may move into
CUTOUT = 8  # side of the square that "crop-flip-cutout" fills with the mean colour


def check_images(config: TrainConfig, images: ImageSet) -> None:
    """Refuse images of another shape or number of classes than the network of `config` takes."""
    architecture = ARCHITECTURES[config.network]
    require(
        images.levels.shape[1:] == architecture.input_shape,
        f"{images.source}: image shape",
        images.levels.shape[1:],
        f"{architecture.input_shape}, the input of {architecture.name}",
    )
    require(
        len(images.class_names) == architecture.classes,
        f"{images.source}: number of classes",
        len(images.class_names),
        f"{architecture.classes}, the classes of {architecture.name}",
    )
    hint = "Give mean and std, or the data set"
    normalization = images.normalization
    require(normalization is not None, f"normalisation of {images.source}", None, "what the network is fed with", hint)


def split(images: ImageSet, validation: int) -> tuple[ImageSet, ImageSet]:
    """`images` without, and only, the `validation` images whose pixel hashes sort first.

    The same images are set aside whatever the seed, the order of `images` or the recipe.
    """
    require(
        0 <= validation < len(images),
        "validation",
        validation,
        f"0 to {len(images) - 1}, fewer than {images.source} has",
    )
    ranked = np.array(sorted(range(len(images)), key=images.ids.__getitem__), dtype=np.int64)
    return images.take(np.sort(ranked[validation:])), images.take(np.sort(ranked[:validation]))


@dataclass
class Loader:
    """Batches of augmented pixels. Every number drawn is keyed by (seed, epoch, batch)."""

    images: ImageSet
    config: TrainConfig
    device: torch.device

    def __post_init__(self) -> None:
        require(
            len(self.images) >= self.config.batch_size,
            "batch_size",
            self.config.batch_size,
            f"at most {len(self.images)}, the number of training images",
            error=ImageError,
        )
        border = ((0, 0), (0, 0), (PAD, PAD), (PAD, PAD))
        self._padded = torch.from_numpy(np.pad(self.images.levels, border, mode="reflect"))
        self._labels = torch.from_numpy(self.images.labels)

    @property
    def batches(self) -> int:
        """Batches an epoch; what does not fill one is left out of that epoch."""
        return len(self.images) // self.config.batch_size

    def order(self, epoch: int) -> Tensor:
        """Rows of `images` in the order they are taken in; one batch after the other."""
        return torch.from_numpy(stream(self.config.seed, "order", epoch).permutation(len(self.images)))

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels float32 [B, C, H, W] in [0, 1] and labels int64 [B], shuffled and augmented."""
        order = self.order(epoch)
        for batch in range(self.batches):
            rows = order[batch * self.config.batch_size :][: self.config.batch_size]
            rng = stream(self.config.seed, "augment", epoch, batch)
            pixels = augment(self._padded[rows], self.config.augment, rng)
            pixels = pixels.to(self.device, torch.float32).div_(255)
            if self.config.channels_last:
                pixels = pixels.to(memory_format=torch.channels_last)
            yield pixels, self._labels[rows].to(self.device)


def augment(padded: Tensor, kind: str, rng: np.random.Generator) -> Tensor:
    """Crop, flip and cut out uint8 images padded by `PAD`: [N, C, H+2P, W+2P] -> uint8 [N, C, H, W]."""
    n, channels, side = padded.shape[0], padded.shape[1], padded.shape[-1] - 2 * PAD
    if kind == "none":
        return padded[:, :, PAD:-PAD, PAD:-PAD].clone()
    top, left = (torch.from_numpy(rng.integers(0, 2 * PAD + 1, n)) for _ in range(2))
    windows = padded.unfold(2, side, 1).unfold(3, side, 1)  # [N, C, 2P+1, 2P+1, H, W], a view
    images = windows[torch.arange(n), :, top, left]
    flipped = torch.from_numpy(rng.random(n) < 0.5)
    images[flipped] = images[flipped].flip(-1)
    if kind == "crop-flip-cutout":
        # square centred anywhere in the image, cut off at its border (DeVries & Taylor 2017)
        centre = torch.from_numpy(rng.integers(0, side, (n, 2)))
        near = (torch.arange(side)[None, None] - centre[..., None] + CUTOUT // 2).clamp(-1, CUTOUT)
        inside = (near >= 0) & (near < CUTOUT)  # [N, 2, side]
        hole = (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None].expand(-1, channels, -1, -1)
        mean = images.float().mean((2, 3), keepdim=True).to(torch.uint8)
        images = torch.where(hole, mean, images)
    return images


class Pixels:
    """The affine map between pixels and network input as tensors of one device."""

    def __init__(self, normalization: Normalization, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.mean = torch.tensor(normalization.mean, dtype=dtype, device=device)[:, None, None]
        self.std = torch.tensor(normalization.std, dtype=dtype, device=device)[:, None, None]

    def to_network(self, pixels: Tensor) -> Tensor:
        """Network input of `pixels` [N, C, H, W]."""
        return (pixels - self.mean) / self.std

    def box(self, pixels: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Lower and upper corner, network input, of the box of radius `eps` (pixel units) around `pixels`."""
        return self.to_network((pixels - eps).clamp(0, 1)), self.to_network((pixels + eps).clamp(0, 1))
