"""Accuracy on the images set aside, after every epoch."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..core import ImageSet
from ..networks import ResNet
from .data import Pixels
from .losses import perturb
from .resizing import reading, shrunk

ATTACKED = 500  # images that are attacked, at even distances among those set aside: a source may be sorted by class
STEPS = 5  # PGD steps of that attack, half the radius each
BATCH = 100  # several times faster than 500 on a CPU, whose caches the activations leave


def validate(
    network: ResNet, images: ImageSet, pixels: Pixels, eps: float, side: int | None = None
) -> dict[str, float]:
    """Clean accuracy of `images` and PGD accuracy of some of them, in %; nothing where there are none.

    Args:
        network: in evaluation mode, on the device of `pixels`.
        images: set aside from training.
        pixels: the way into network input space.
        eps: radius of the attack, pixel units.
        side: height and width to which images are shrunk; None leaves them as they are.
    """
    if not len(images):
        return {}
    rows = [number * len(images) // ATTACKED for number in range(ATTACKED)] if len(images) > ATTACKED else None
    some = images if rows is None else images.take(rows)
    side = images.levels.shape[-1] if side is None else side
    with reading(network, side):
        clean = sum(_correct(network, part, pixels, None, side) for part in _batches(images))
        attacked = sum(_correct(network, part, pixels, eps, side) for part in _batches(some))
    return {
        "validation_clean": round(100 * clean / len(images), 2),
        "validation_pgd": round(100 * attacked / len(some), 2),
    }


def _batches(images: ImageSet) -> Iterator[ImageSet]:
    return (images.take(range(first, min(first + BATCH, len(images)))) for first in range(0, len(images), BATCH))


def _correct(network: ResNet, images: ImageSet, pixels: Pixels, eps: float | None, side: int) -> int:
    """How many of `images` are classified correctly, after an attack of radius `eps` where there is one."""
    device = next(network.parameters()).device
    levels, labels = torch.from_numpy(images.pixels).to(device), torch.from_numpy(images.labels).to(device)
    levels = shrunk(levels, side)
    points = pixels.to_network(levels)
    if eps is not None:
        points = perturb(network, points, *pixels.box(levels, eps), labels, STEPS, 0.5)
    with torch.no_grad():
        return int((network(points).argmax(1) == labels).sum().item())
