"""Training images in memory: which are left out or set aside, the order of an epoch, augmentation.

A source may store more of an image than the network sees (TinyImageNet: 64 x 64 pixels for an input of 56 x 56). The
network's image is the centre; what surrounds it is what crops move into. Images are compared and set aside by their
centres, so a run with the border and one without it set the same images aside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..core import ImageError, ImageSet, Normalization, require, stream
from ..images import center_crop
from ..networks import ARCHITECTURES
from .config import TrainConfig
from .resizing import shrunk

PAD = 4  # pixels of reflected border that a crop may move into, where the source stores no border
CUTOUT = 8  # side of the square that "crop-flip-cutout" fills with the mean colour


def check_images(config: TrainConfig, images: ImageSet) -> None:
    """Refuse images of another shape or number of classes than the network of `config` takes.

    Larger images are taken where the same border surrounds the network's on all sides, at most a quarter of its side.
    """
    architecture = ARCHITECTURES[config.network]
    (channels, height, width), (wanted, side, _) = images.levels.shape[1:], architecture.input_shape
    require(
        channels == wanted and height == width and height - side in range(0, side // 2 + 1, 2),
        f"{images.source}: image shape",
        images.levels.shape[1:],
        f"{architecture.input_shape}, the input of {architecture.name}, or the same with a border",
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


def centers(images: ImageSet, side: int) -> ImageSet:
    """`images` as a network of input `side` x `side` sees them: their centres."""
    if images.levels.shape[-1] == side:
        return images
    return replace(images, levels=np.ascontiguousarray(center_crop(images.levels, side)))


def without_tested(images: ImageSet, tests: ImageSet) -> ImageSet:
    """`images` without those whose pixels are, to the bit, those of one of `tests`, whatever the labels.

    Both are compared by the centres that the smaller of the two shows. What was left out is a note of the result's
    origin, so that the first line of a run and the card say it.
    """
    side = min(images.levels.shape[-1], tests.levels.shape[-1])
    known = set(centers(tests, side).ids)
    kept = [row for row, image_id in enumerate(centers(images, side).ids) if image_id not in known]
    count = len(images) - len(kept)
    were = "1 that equals" if count == 1 else f"{count} that equal"
    note = f"left out {were} one of the {len(tests)} test images in every pixel" if count else ""
    note = note or f"none equals one of the {len(tests)} test images"
    rest = images.take(kept) if count else images
    return replace(rest, origin=replace(images.origin, notes=(*images.origin.notes, note)))


def split(images: ImageSet, validation: int, side: int | None = None) -> tuple[ImageSet, ImageSet]:
    """`images` without, and only, the `validation` images whose pixel hashes sort first.

    The same images are set aside whatever the seed, the order of `images` or the recipe. Those set aside come as a
    network of input `side` sees them; the others keep their border. None: all of what is stored.
    """
    require(
        0 <= validation < len(images),
        "validation",
        validation,
        f"0 to {len(images) - 1}, fewer than {images.source} has",
    )
    seen = images if side is None else centers(images, side)
    ranked = np.array(sorted(range(len(images)), key=seen.ids.__getitem__), dtype=np.int64)
    return images.take(np.sort(ranked[validation:])), seen.take(np.sort(ranked[:validation]))


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
        self._side = ARCHITECTURES[self.config.network].input_shape[-1]
        levels = self.images.levels
        if levels.shape[-1] == self._side:
            levels = np.pad(levels, ((0, 0), (0, 0), (PAD, PAD), (PAD, PAD)), mode="reflect")
        self._stored = torch.from_numpy(levels)
        self._labels = torch.from_numpy(self.images.labels)

    @property
    def batches(self) -> int:
        """Batches an epoch; what does not fill one is left out of that epoch."""
        return len(self.images) // self.config.batch_size

    def order(self, epoch: int) -> Tensor:
        """Rows of `images` in the order they are taken in; one batch after the other."""
        return torch.from_numpy(stream(self.config.seed, "order", epoch).permutation(len(self.images)))

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels float32 [B, C, H, W] in [0, 1] and labels int64 [B], shuffled and augmented, from batch `first` on.

        H and W are `config.side_at(epoch)`.
        """
        order = self.order(epoch)
        for batch in range(first, self.batches):
            rows = order[batch * self.config.batch_size :][: self.config.batch_size]
            rng = stream(self.config.seed, "augment", epoch, batch)
            pixels = augment(self._stored[rows], self._side, self.config.augment, rng)
            pixels = shrunk(pixels.to(self.device, torch.float32).div_(255), self.config.side_at(epoch))
            pixels = pixels.contiguous(memory_format=self.config.layout)
            yield pixels, self._labels[rows].to(self.device)


def augment(stored: Tensor, side: int, kind: str, rng: np.random.Generator) -> Tensor:
    """Crop, flip and cut out uint8 images with a border of B pixels: [N, C, H+2B, W+2B] -> uint8 [N, C, H, W]."""
    n, channels, border = stored.shape[0], stored.shape[1], (stored.shape[-1] - side) // 2
    if kind == "none":
        return stored[:, :, border : border + side, border : border + side].clone()
    top, left = (torch.from_numpy(rng.integers(0, 2 * border + 1, n)) for _ in range(2))
    windows = stored.unfold(2, side, 1).unfold(3, side, 1)  # [N, C, 2B+1, 2B+1, H, W], a view
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
