"""Small networks and images for the tests of training."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import nn

from nbutils.core import ImageSet, Normalization
from nbutils.networks import ResNet
from nbutils.networks.architectures import Architecture, Stage
from nbutils.training import TrainConfig
from nbutils.training.losses import Batch

TOY = Architecture("toy", 8, (4, 1, 1), (Stage(4, 1, 1), Stage(8, 1, 2)), 6, 3)
OTHER = dataclasses.replace(TOY, name="other", hidden=7)
NORM = Normalization((0.5, 0.4, 0.5), (0.2, 0.2, 0.3))
CPU = torch.device("cpu")


def toy_network(architecture: Architecture = TOY, seed: int = 0) -> ResNet:
    """A network with normalisation statistics that are not the initial ones, in training mode."""
    torch.manual_seed(seed)
    network = ResNet(architecture)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return network


def toy_images(count: int = 64) -> ImageSet:
    """Images of three classes told apart by brightness."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, count)
    levels = (rng.integers(0, 80, (count, 3, 8, 8)) + 80 * labels[:, None, None, None]).astype(np.uint8)
    return ImageSet(levels, labels, np.arange(count), "toy images", ("dark", "grey", "light"), NORM)


def toy_config(**changes) -> TrainConfig:
    """Settings of a run of seconds."""
    base = {"network": "toy", "epochs": 3, "batch_size": 16, "validation": 16, "ema": 0.9, "lr": 0.05}
    return TrainConfig(**(base | changes))


def batch_of(network: ResNet, n: int = 5, eps: float = 0.05, dtype: torch.dtype = torch.float64) -> Batch:
    """Boxes of radius `eps` in network input space, points somewhere in them."""
    rng = torch.Generator().manual_seed(3)
    clean = torch.randn(n, *network.architecture.input_shape, generator=rng, dtype=dtype)
    step = torch.rand(clean.shape, generator=rng, dtype=dtype) * 2 - 1
    labels = torch.arange(n) % network.architecture.classes
    return Batch(clean, clean + eps * step, clean - eps, clean + eps, labels)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Equal to the bit, statistics of batch norms included."""
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
