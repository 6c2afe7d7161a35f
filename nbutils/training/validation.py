"""Accuracy on the images set aside, after every epoch."""

from __future__ import annotations

import torch

from ..records import ImageSet
from ..resnets import ResNet
from .data import Pixels
from .losses import perturb

ATTACKED = 500  # images that are attacked, the first of those set aside
STEPS = 5  # PGD steps of that attack, half the radius each
BATCH = 100  # several times faster than 500 on a CPU, whose caches the activations leave


def validate(network: ResNet, images: ImageSet, pixels: Pixels, eps: float) -> dict[str, float]:
    """Clean accuracy of `images` and PGD accuracy of the first of them, in %; nothing where there are none.

    Args:
        network: in evaluation mode, on the device of `pixels`.
        images: set aside from training.
        pixels: the way into network input space.
        eps: radius of the attack, pixel units.
    """
    if not len(images):
        return {}
    device = next(network.parameters()).device
    clean = attacked = 0
    count = min(ATTACKED, len(images))
    for first in range(0, len(images), BATCH):
        part = images.take(range(first, min(first + BATCH, len(images))))
        levels = torch.from_numpy(part.pixels).to(device)
        labels = torch.from_numpy(part.labels).to(device)
        points = pixels.to_network(levels)
        with torch.no_grad():
            clean += (network(points).argmax(1) == labels).sum().item()
        if first < count:
            kept = slice(0, count - first)
            lower, upper = pixels.box(levels[kept], eps)
            points = perturb(network, points[kept], lower, upper, labels[kept], STEPS, 0.5)
            with torch.no_grad():
                attacked += (network(points).argmax(1) == labels[kept]).sum().item()
    return {
        "validation_clean": round(100 * clean / len(images), 2),
        "validation_pgd": round(100 * attacked / count, 2),
    }
