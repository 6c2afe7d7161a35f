"""What a batch of each loss costs beside the network's raw forward and backward pass, measured in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..core import require
from ..networks import ResNet, build, in_memory_format
from .config import TrainConfig
from .crown import CrownBounds
from .losses import LOSSES, NEEDS_LIRPA, Batch, perturb, training_loss


@dataclass(frozen=True)
class Cost:
    """Of one loss with its backward pass, as a median over the turns."""

    name: str
    images: int  # in the batch
    milliseconds: float  # an image, processor time of this process on the CPU, wall time on CUDA
    ratio: float  # to the raw pass over as many images, measured in the same turns


def measure_losses(
    network: str,
    *,
    images: int = 64,
    crown_images: int = 4,
    turns: int = 5,
    bfloat16: bool = False,
    device: str = "cpu",
) -> list[Cost]:
    """Costs of the raw pass, the one-step adversary and every loss of `LOSSES`, all images bounded.

    CROWN-IBP with a row for each class is measured on `crown_images` only, beside a raw pass over as many.
    """
    require(images >= 2, "images", images, "2 or more")
    require(crown_images >= 2, "crown_images", crown_images, "2 or more")
    place = torch.device(device)
    model = in_memory_format(build(network).to(place), TrainConfig(network=network).layout).train()
    crown = CrownBounds(model, place)
    few = {name for name, loss in LOSSES.items() if loss.bounds in NEEDS_LIRPA}
    batches = {count: _batch(model, count, place) for count in (images, crown_images)}

    def raw(count: int) -> Callable[[], None]:
        batch = batches[count]
        return lambda: training_loss(model, batch, "none", autocast=bfloat16).total.backward()

    def attack(batch: Batch = batches[images]) -> None:
        with torch.autocast(place.type, dtype=torch.bfloat16, enabled=bfloat16):
            perturb(model, batch.clean, batch.lower, batch.upper, batch.labels, 1, 1.25)

    def certified(name: str) -> Callable[[], None]:
        batch = batches[crown_images if name in few else images]
        return lambda: training_loss(model, batch, name, weight=0.1, autocast=bfloat16, crown=crown).total.backward()

    work: dict[tuple[str, int], Callable[[], None]] = {("raw pass", images): raw(images)}
    work[("raw pass", crown_images)] = raw(crown_images)
    work[("adversary, 1 step", images)] = attack
    for name in LOSSES:
        work[(name, crown_images if name in few else images)] = certified(name)
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in work}
    clock = time.perf_counter if place.type == "cuda" else time.process_time
    for turn in range(turns + 1):
        for key, run in work.items():
            began = clock()
            run()
            if place.type == "cuda":
                torch.cuda.synchronize()
            if turn > 0:  # the first turn warms up
                seconds[key].append(clock() - began)
            model.zero_grad(set_to_none=True)
    median = {key: sorted(values)[len(values) // 2] for key, values in seconds.items()}
    return [
        Cost(name, count, 1000 * spent / count, spent / median["raw pass", count])
        for (name, count), spent in median.items()
    ]


def _batch(model: ResNet, count: int, device: torch.device) -> Batch:
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(count, *model.architecture.input_shape, generator=generator).to(device)
    clean = clean.contiguous(memory_format=TrainConfig(network=model.architecture.name).layout)
    labels = (torch.arange(count) % model.architecture.classes).to(device)
    return Batch(clean, clean, clean - 0.015, clean + 0.015, labels)
