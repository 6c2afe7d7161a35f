"""Which weights a run begins with, which network a checkpoint stands for, and where both are computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core import NetworkError, require, stream
from ..networks import ARCHITECTURES, ResNet, build
from . import checkpoint
from .config import TrainConfig
from .losses import certified_init
from .onnx_import import import_onnx, is_onnx


def initial_network(config: TrainConfig) -> ResNet:
    """The network of `config` with weights drawn from its seed alone."""
    generator_seed = int(stream(config.seed, "weights", config.network).integers(2**62))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_seed)
        network = build(config.network)
        if config.init == "certified":
            certified_init(network)
    return network


def first_weights(config: TrainConfig, start: Path | None, new_head: bool = False) -> tuple[TrainConfig, ResNet]:
    """The settings with the fingerprint of their first weights, and a network with those weights.

    Args:
        config: the recipe.
        start: checkpoint or ONNX file; None draws all weights from the seed.
        new_head: take convolutions and norms alone, from any architecture that has the same ones, and draw the two
            linear layers from the seed.

    Raises:
        CheckpointError, NetworkError: when `start` is damaged or of another network.
        ParameterError: `new_head` without `start`.
    """
    if start is None:
        require(not config.start, "start", config.start, "empty, or the checkpoint with that fingerprint")
        require(not new_head, "new_head", new_head, "False where all weights are drawn", "Give START, --start, as well")
        return config, initial_network(config)
    network = _stored(start, _alike(config.network) if new_head else (config.network,))
    if new_head:
        whole = initial_network(config)
        whole.stem.load_state_dict(network.stem.state_dict())
        whole.blocks.load_state_dict(network.blocks.state_dict())
        network = whole.eval()
    return replace(config, start=checkpoint.fingerprint(network.state_dict())), network


def _alike(name: str) -> tuple[str, ...]:
    """Architectures with the convolutions of `name`, itself first."""
    mine = ARCHITECTURES[name]
    shape = (mine.channels, mine.stem, mine.stages)
    others = (other.name for other in ARCHITECTURES.values() if (other.channels, other.stem, other.stages) == shape)
    return (name, *(other for other in others if other != name))


def _stored(start: Path, allowed: tuple[str, ...]) -> ResNet:
    """The network in `start`, in evaluation mode; of the first of the `allowed` architectures that fits."""
    if not is_onnx(start):
        earlier, state = checkpoint.load(start)
        require(
            earlier.network in allowed,
            str(start),
            f"a checkpoint of {earlier.network}",
            ", ".join(allowed),
            error=checkpoint.CheckpointError,
        )
        return averaged_network(earlier, state["average"])
    *others, last = allowed
    for name in others:
        try:
            return import_onnx(start, name)
        except NetworkError:
            continue
    return import_onnx(start, last)


def averaged_network(config: TrainConfig, average: dict[str, Tensor]) -> ResNet:
    """A network on the CPU with the averaged weights, in evaluation mode."""
    network = build(config.network)
    network.load_state_dict({name: value.cpu() for name, value in average.items()})
    return network.eval()


def load_network(path: Path) -> tuple[TrainConfig, ResNet, list[dict[str, Any]]]:
    """Recipe, averaged network in evaluation mode and log of a checkpoint."""
    config, state = checkpoint.load(path)
    return config, averaged_network(config, state["average"]), state["history"]


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda` as a device, TF32 off.

    Raises:
        ParameterError: for another name, or for CUDA where there is none.
    """
    require(name in ("auto", "cpu", "cuda"), "device", name, "auto, cpu, cuda")
    if name == "cpu" or not torch.cuda.is_available():
        require(name != "cuda", "device", name, "auto or cpu: no CUDA device is available")
        return torch.device("cpu")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda")
