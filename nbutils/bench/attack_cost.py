"""What an attack costs beside the network passes it cannot do without, measured side by side."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..attacks import run_attack
from ..core import AttackConfig, Box, ImageSet, require
from ..networks import normalization_of, twin_of

if TYPE_CHECKING:
    from ..networks import Network


@dataclass(frozen=True, eq=False)
class AttackBench:
    """Seconds an image of PGD and of the bare passes it needs, taken in turns image by image.

    Bare passes: `steps` times forward and backward to the input and one last forward, on batches of the same shape.
    """

    network: str
    steps: int
    restarts: int
    device: str
    attack: np.ndarray  # float64 [N], seconds of `run_attack`, every step computed
    shortcut: np.ndarray  # float64 [N], seconds of `run_attack` as it is, repeated cycles not computed again
    raw: np.ndarray  # float64 [N], seconds of the passes on the network's own twin
    folded: np.ndarray  # float64 [N], seconds of the passes on the faster copy that the attack uses
    peak_mb: float  # highest memory of the process so far, on CUDA of the device's allocations

    @property
    def ratio(self) -> float:
        """PGD over its bare passes, median over the images."""
        return float(np.median(self.attack / self.raw))

    @property
    def loop_ratio(self) -> float:
        """PGD over the same passes on the copy it uses: what the loop itself costs."""
        return float(np.median(self.attack / self.folded))

    def describe(self) -> str:
        """The figures as one line of text."""
        return (
            f"PGD {self.steps} x {self.restarts} on {self.network} ({self.device}): {np.median(self.attack):.3f} s an "
            f"image, bare passes {np.median(self.raw):.3f} s (ratio {self.ratio:.2f}), on the folded copy "
            f"{np.median(self.folded):.3f} s (ratio {self.loop_ratio:.2f}); {np.median(self.shortcut):.3f} s without "
            f"computing repeated cycles again; peak {self.peak_mb:.0f} MB"
        )


def bench_attack(
    network: Network, images: ImageSet, eps: float, config: AttackConfig | None = None, *, progress: bool = False
) -> AttackBench:
    """Time PGD without early stop on each of the `images` at radius `eps` (pixel units) beside its bare passes.

    Args:
        config: the attack, 100 steps and 20 restarts if not given; its early stop has to be off.
        progress: show a progress bar.

    Raises:
        ParameterError: the attack stops early, or there are no images.
    """
    config = config or AttackConfig(early_stop=False)
    hint = "an attack that stops early needs fewer passes than it is compared with"
    require(not config.early_stop, "early_stop", config.early_stop, "False in a benchmark", hint)
    require(len(images) > 0, "number of images", len(images), "1 or more")
    box = Box.around(images.pixels, normalization_of(network, images), eps)
    device = network.device

    def turn(row: int, config: AttackConfig) -> tuple[float, ...]:
        one, label, name = box.take([row]), images.labels[[row]], [images.ids[row]]
        x = torch.from_numpy(np.repeat(one.center, config.restarts, axis=0)).to(device)
        works: tuple[Callable[[], object], ...] = (
            lambda: run_attack(network, one, label, name, config, every_step=True),
            lambda: run_attack(network, one, label, name, config),
            lambda: bare_passes(network.module, x, config.steps),
            lambda: bare_passes(twin_of(network.module), x, config.steps),
        )
        return tuple(_timed(work, device) for work in works)

    turn(0, replace(config, steps=min(config.steps, 2)))  # first calls prepare kernels and the folded copy
    rows = tqdm(range(len(images)), desc="bench", unit="image", disable=not progress)
    seconds = [turn(row, config) for row in rows]
    attack, shortcut, raw, folded = np.array(seconds).T
    return AttackBench(
        network.name, config.steps, config.restarts, str(device), attack, shortcut, raw, folded, peak_mb(device)
    )


def bare_passes(module: Callable[[Tensor], Tensor], x: Tensor, steps: int) -> None:
    """`steps` times forward and backward to the input `x` [M, C, H, W], and one last forward."""
    for _ in range(steps):
        y = x.detach().requires_grad_()
        torch.autograd.grad(module(y).sum(), y)
    with torch.no_grad():
        module(x)


def _timed(work: Callable[[], object], device: torch.device) -> float:
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def peak_mb(device: torch.device) -> float:
    """Highest memory so far, 2^20 bytes: of the process, on CUDA of the device's allocations."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, on macOS bytes
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
