"""What a network is fed in training, and what training changes: margins, bounds, unstable neurons of a few images."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..bounds import margin_bounds
from ..core import BoundsConfig, Box, ImageSet, MarginBounds, class_margins, require
from ..networks import ResNet
from .batches import adversarial_batch
from .config import TrainConfig
from .data import Loader, Pixels, centers, split
from .losses import Batch, perturb
from .resizing import reading

PGD_STEPS, PGD_STEP = 20, 0.25  # of the snapshot's attack, half-widths a step


@dataclass(frozen=True, eq=False)
class Fed:
    """One batch of a run: the images it is made from, their augmented form, and what the network gets."""

    images: ImageSet  # [B], as they are in the source
    pixels: np.ndarray  # float32 [B, C, H, W] in [0, 1], augmented
    points: np.ndarray  # float32 [B, C, H, W], the adversarial points in pixels
    batch: Batch  # the same in network input space, with boxes and labels
    config: TrainConfig


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One network on N images. Margins are the smallest over the rivals, logits; boxes have radius `eps`."""

    name: str
    eps: float  # pixel units
    labels: np.ndarray  # int64 [N]
    natural: np.ndarray  # float32 [N], at the image
    attacked: np.ndarray  # float32 [N], lowest seen by a short PGD in the box, the image included
    bounds: MarginBounds  # with layers


def first_batch(config: TrainConfig, network: ResNet, images: ImageSet) -> Fed:
    """The first batch of the first adversarial epoch, as training makes it; `network` is put into training mode.

    Raises:
        ImageError, ParameterError: when there are too few images.
    """
    side = network.architecture.input_shape[-1]
    training, _ = split(images, config.validation, side)
    device = next(network.parameters()).device
    loader, epoch = Loader(training, config, device), min(config.natural_epochs, config.epochs - 1)
    pixels, labels = next(loader.epoch(epoch))
    network.train()
    normalization = images.stated_normalization()
    with reading(network, pixels.shape[-1]):
        batch = adversarial_batch(config, network, Pixels(normalization, device), pixels, labels, epoch, 0)
    rows = loader.order(epoch)[: config.batch_size].numpy()
    points = normalization.to_pixels(batch.adversarial.cpu().numpy())
    return Fed(centers(training.take(rows), side), pixels.cpu().numpy(), points, batch, config)


def look_at(images: ImageSet, validation: int, count: int, side: int | None = None) -> tuple[ImageSet, int]:
    """Up to `count` images trained on, then up to `count` set aside, and how many of the first kind there are.

    `side` is that of the network's input, where images come with a border around it.
    """
    require(count >= 1, "images to look at", count, "1 or more")
    images = images if side is None else centers(images, side)
    training, aside = split(images, validation)
    seen, unseen = training.take(range(min(count, len(training)))), aside.take(range(min(count, len(aside))))
    both = ImageSet(
        np.concatenate([seen.levels, unseen.levels]),
        np.concatenate([seen.labels, unseen.labels]),
        np.concatenate([seen.indices, unseen.indices]),
        images.source,
        images.class_names,
        images.normalization,
    )
    return both, len(seen)


def snapshot(network: ResNet, images: ImageSet, eps: float, *, name: str, method: str = "crown-ibp") -> Snapshot:
    """Margins of `images` under `network` in evaluation mode: natural, attacked, and bounded by `method`.

    The attack is PGD of 20 steps from the image on the cross entropy: it shows that a margin can get that low, no more.
    """
    subject = _Subject.of(network, name)
    box = Box.around(images.pixels, images.stated_normalization(), eps)
    low, high, start, labels = (
        torch.from_numpy(array).to(subject.device) for array in (box.lower, box.upper, box.center, images.labels)
    )
    seen, point = [_smallest(subject.module, start, images.labels)], start
    for _ in range(PGD_STEPS):
        point = perturb(subject.module, point, low, high, labels, 1, PGD_STEP)
        seen.append(_smallest(subject.module, point, images.labels))
    bounds = margin_bounds(subject, box, images.labels, BoundsConfig().by(method), layers=True)
    return Snapshot(name, eps, images.labels, seen[0], np.min(seen, axis=0), bounds)


def _smallest(module: nn.Module, points: Tensor, labels: np.ndarray) -> np.ndarray:
    """float32 [N]: smallest margin at each of `points`."""
    with torch.no_grad():
        return class_margins(module(points).cpu().numpy(), labels).smallest


@dataclass(frozen=True, eq=False)
class _Subject:
    """A `ResNet` as the bounds of the workbench take networks."""

    name: str
    module: nn.Module
    input_shape: tuple[int, int, int]
    classes: int
    device: torch.device

    @classmethod
    def of(cls, network: ResNet, name: str) -> _Subject:
        shape = network.architecture
        module = copy.deepcopy(network).eval().requires_grad_(False)
        return cls(name, module, shape.input_shape, shape.classes, next(network.parameters()).device)
