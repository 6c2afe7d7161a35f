"""One batch as the network is fed it: network input, box, adversarial points."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import stream
from ..networks import ResNet
from .config import TrainConfig
from .data import Pixels
from .losses import Batch, perturb


def adversarial_batch(
    config: TrainConfig,
    network: ResNet,
    space: Pixels,
    pixels: Tensor,
    labels: Tensor,
    epoch: int,
    number: int,
    targets: Tensor | None = None,
) -> Batch:
    """The batch in network input space, with its adversarial points; before `natural_epochs` these are the images.

    Args:
        config: the recipe: radii, steps, seed.
        network: what is attacked; its batch norms keep their mode and their running statistics.
        space: the way from pixels to network input.
        pixels: float32 [B, C, H, W] in [0, 1], augmented.
        labels: int64 [B].
        epoch: counted from 0; with `number` it names the random starts.
        number: of the batch in its epoch.
        targets: float32 [B, K], soft labels; the adversary keeps to `labels`.
    """
    clean = space.to_network(pixels)
    lower, upper = space.box(pixels, config.eps)
    if epoch < config.natural_epochs:
        return Batch(clean, clean, lower, upper, labels, targets)
    low, high = space.box(pixels, config.eps * config.attack_eps)
    draws = stream(config.seed, "start", epoch, number).random(clean.shape, dtype="float32")
    start = low + (high - low) * torch.from_numpy(draws).to(clean.device)
    with torch.autocast(clean.device.type, dtype=torch.bfloat16, enabled=config.bfloat16):
        points = perturb(network, start, low, high, labels, config.attack_steps, config.attack_step_size)
    return Batch(clean, points, lower, upper, labels, targets)
