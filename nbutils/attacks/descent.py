"""The one loop of every attack and its replaceable parts: where restarts start, what they descend, how they step.

All points are in network input space. Letters in shapes, besides those of `core.records`: B images of one pass.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import torch
from torch import Tensor

from ..core import Box, stream
from ..networks import Twin

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits [B, R, K] and labels [B, 1] to the values [B, R] that are descended."""

Rule = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Step number, points x [B, R, C, H, W], losses [B, R] and their gradient at x to the next points, unprojected."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The images of one pass, on the device of the network."""

    box: Box
    ids: tuple[str, ...]
    lower: Tensor  # float32 [B, 1, C, H, W]
    upper: Tensor  # float32 [B, 1, C, H, W]
    labels: Tensor  # int64 [B, 1]

    @classmethod
    def of(cls, box: Box, labels: np.ndarray, ids: Sequence[str], device: torch.device) -> Batch:
        """The batch of some images on `device`; arguments as those of `pgd.run_attack`."""
        lower, upper, truth = (torch.from_numpy(a).to(device)[:, None] for a in (box.lower, box.upper, labels))
        return cls(box, tuple(ids), lower, upper, truth)

    @property
    def half_width(self) -> Tensor:
        """float32 [B, 1, C, H, W]: the radius, element by element."""
        return (self.upper - self.lower) / 2

    def project(self, x: Tensor) -> Tensor:
        """Nearest points of the boxes."""
        return torch.clamp(x, self.lower, self.upper)


@dataclass(frozen=True)
class Stage:
    """One group of R restarts: `prepare` gives their starts [B, R, C, H, W], their loss and their rule."""

    restarts: int
    prepare: Callable[[Batch], tuple[Tensor, Loss, Rule]]
    memoryless: bool = False  # the rule's next point depends on the present point alone


def smallest_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, R]: logit of the true label minus the largest other logit; at most 0 at a counterexample."""
    truth = labels[..., None].expand(*logits.shape[:-1], 1)
    return logits.gather(-1, truth)[..., 0] - logits.scatter(-1, truth, -math.inf).max(-1).values


def minus_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, R]: log-probability of the true label."""
    truth = labels[..., None].expand(*logits.shape[:-1], 1)
    return logits.log_softmax(-1).gather(-1, truth)[..., 0]


PERIODS = (2, 4)
"""Lengths of cycles of signed steps; observed on real images."""

LOSSES: dict[str, Loss] = {"margin": smallest_margin, "cross_entropy": minus_cross_entropy}


def uniform_starts(batch: Batch, names: Sequence[Sequence[tuple[str | int, ...]]]) -> Tensor:
    """Float32 starts [B, R, C, H, W], uniform in the boxes, one random stream for each of the `names` [B][R]."""
    rows = []
    for box, keys in zip(batch.box, names, strict=True):
        lower, upper = box.lower[0], box.upper[0]
        shares = [stream(*key).random(lower.shape, dtype=np.float32) for key in keys]
        rows.append(np.clip(lower + np.stack(shares) * (upper - lower), lower, upper))
    return torch.from_numpy(np.stack(rows)).to(batch.lower.device)


def sign_steps(length: Tensor) -> Rule:
    """Steps of `length` [B, 1, C, H, W] against the sign of the gradient."""
    return lambda step, x, losses, gradient: x - length * gradient.sign()


def descend(
    twin: Twin, batch: Batch, start: Tensor, loss: Loss, rule: Rule, steps: int, memoryless: bool = False
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield points [B, R, C, H, W], smallest margins [B, R] and losses [B, R]: of the start, then after each step.

    Every yielded point lies in its box. The gradient is taken only if the next point is asked for.

    Signed steps of one length soon swing between the same two points: on CIFAR100_resnet_small all restarts of an
    image do after 15 to 30 steps. Where a `memoryless` descent is back, to the bit, where it was two or four steps
    ago, the steps from there on are repeated instead of computed.
    """
    x = batch.project(start)
    seen: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=max(PERIODS))
    for step in range(steps + 1):
        x = x.requires_grad_(step < steps)
        with torch.set_grad_enabled(step < steps):
            logits = twin(x.flatten(0, 1)).unflatten(0, x.shape[:2])
            margins, losses = smallest_margin(logits, batch.labels), loss(logits, batch.labels)
        now = x.detach(), margins.detach(), losses.detach()
        yield now
        if memoryless and (period := _period(seen, now[0])):
            yield from islice(cycle(list(seen)[-period:]), 1, steps - step + 1)
            return
        seen.append(now)
        if step < steps:
            (gradient,) = torch.autograd.grad(losses.sum(), x)
            x, gradient = x.detach(), torch.nan_to_num(gradient)  # no slope, no step: NaN never reaches a point
            x = batch.project(rule(step, x, losses.detach(), gradient))


def _period(seen: Sequence[tuple[Tensor, Tensor, Tensor]], x: Tensor) -> int:
    """How many steps ago all points were `x`, 0 if in none of `PERIODS`."""
    return next((period for period in PERIODS if len(seen) >= period and torch.equal(seen[-period][0], x)), 0)
