"""The second-stage attack: targeted PGD on the closest rivals, then APGD on the difference-of-logits ratio.

It looks for counterexamples that PGD on the smallest margin leaves behind (three published TinyImageNet instances
are of that kind, VNN-COMP 2022). Libraries of such attacks expect pixels in [0, 1] and one radius; here boxes are
element-wise and in network input space, so APGD is written down from its paper, on the loop of `pgd.trace`.

Source: Croce & Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks, ICML 2020 (APGD: algorithm 1; DLR: equations 6 and 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..core import AttackTrace, Box, Settings, class_margins, require
from .descent import Batch, Loss, Rule, Stage, sign_steps, smallest_margin, uniform_starts
from .pgd import trace

if TYPE_CHECKING:
    from ..networks import Network

MOMENTUM = 0.75
"""Share of the new step in an APGD update, alpha of the paper."""
PROGRESS = 0.75
"""Share of steps between checkpoints that must improve the loss, rho of the paper."""
_NO_ZERO = 1e-12  # keeps the ratio finite where the logits are level


@dataclass(frozen=True, kw_only=True)
class StrongConfig(Settings):
    """Settings of `strong_attack`."""

    steps: int = 100  # gradient steps of every restart of every stage
    targets: int = 9  # rivals attacked one by one, closest at the natural image first; 9 as in AutoAttack
    restarts: int = 5  # random starts of APGD on the untargeted ratio
    step_size: float = 0.25  # of targeted PGD, as a fraction of the box's half-width
    seed: int = 0  # of the random starts
    early_stop: bool = True  # stop an image at the first step with a rival ahead

    def __post_init__(self) -> None:
        for name, low in (("steps", 0), ("targets", 1), ("restarts", 1), ("seed", 0)):
            value = getattr(self, name)
            high = 2**63 - 1 if name == "seed" else 100_000
            ok = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
            require(ok, name, value, f"a whole number from {low} to {high}")
        ok = isinstance(self.step_size, (int, float)) and not isinstance(self.step_size, bool)
        allowed = "a fraction of the box's half-width, above 0 and at most 2"
        require(ok and 0 < self.step_size <= 2, "step_size", self.step_size, allowed)


def strong_attack(
    network: Network,
    box: Box,
    labels: np.ndarray,
    ids: Sequence[str],
    config: StrongConfig,
    *,
    keep_paths: bool = False,
    progress: bool = False,
    images_per_pass: int = 1,
) -> AttackTrace:
    """Attack the boxes of N images in three stages; arguments, errors and result as `run_attack`.

    The restarts of the result are, in this order: targeted PGD, one for each of T = min(targets, K - 1) rivals (loss:
    that rival's margin); APGD, `restarts` of them (loss: minus DLR); APGD, one for each of the T rivals (loss: minus
    targeted DLR). Losses of different stages are no common scale, margins are. `steps_used` adds up the stages.
    """
    rivals = min(config.targets, network.classes - 1)

    def starts(batch: Batch, stage: str, keys: np.ndarray) -> Tensor:
        names: list[list[tuple[str | int, ...]]] = [
            [(config.seed, stage, name, int(key)) for key in row] for name, row in zip(batch.ids, keys, strict=True)
        ]
        return uniform_starts(batch, names)

    def targeted_pgd(batch: Batch) -> tuple[Tensor, Loss, Rule]:
        targets = closest_rivals(network, batch, rivals)
        start = starts(batch, "targeted", targets)
        return start, targeted_margin(_tensor(targets, batch)), sign_steps(config.step_size * batch.half_width)

    def apgd(batch: Batch) -> tuple[Tensor, Loss, Rule]:
        keys = np.tile(np.arange(config.restarts), (len(batch.ids), 1))
        loss = dlr if network.classes > 2 else smallest_margin  # of two classes the ratio is constant
        return starts(batch, "apgd", keys), loss, Apgd(batch, config.steps)

    def targeted_apgd(batch: Batch) -> tuple[Tensor, Loss, Rule]:
        targets = closest_rivals(network, batch, rivals)
        loss = (targeted_dlr if network.classes > 3 else targeted_margin)(_tensor(targets, batch))
        return starts(batch, "targeted-apgd", targets), loss, Apgd(batch, config.steps)

    return trace(
        network,
        box,
        labels,
        ids,
        [Stage(rivals, targeted_pgd, memoryless=True), Stage(config.restarts, apgd), Stage(rivals, targeted_apgd)],
        steps=config.steps,
        early_stop=config.early_stop,
        keep_paths=keep_paths,
        progress=progress,
        images_per_pass=images_per_pass,
    )


def closest_rivals(network: Network, batch: Batch, count: int) -> np.ndarray:
    """int64 [B, count]: class numbers of smallest margin at the natural image, ascending margin."""
    natural = class_margins(network.judge(batch.box.center), batch.labels[:, 0].cpu().numpy())
    order = natural.values.argsort(axis=1, kind="stable")[:, :count]
    return np.take_along_axis(natural.rivals, order, axis=1)


def targeted_margin(targets: Tensor) -> Loss:
    """Loss of restarts with one rival each, `targets` [B, R]: that rival's margin."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return _logit(logits, labels) - _logit(logits, targets)

    return loss


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, R]: smallest margin over the distance from the first to the third logit: minus DLR of the paper."""
    top = logits.topk(3).values
    return smallest_margin(logits, labels) / (top[..., 0] - top[..., 2] + _NO_ZERO)


def targeted_dlr(targets: Tensor) -> Loss:
    """Minus targeted DLR of the paper: the margin of the rival in `targets` [B, R] over a like distance."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        top = logits.topk(4).values
        margin = _logit(logits, labels) - _logit(logits, targets)
        return margin / (top[..., 0] - (top[..., 2] + top[..., 3]) / 2 + _NO_ZERO)

    return loss


def checkpoints(steps: int) -> tuple[int, ...]:
    """Steps at which APGD reconsiders its step size: ceil(p_j * steps), p = 0.22, 0.41, 0.57, 0.70, ...

    p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), counted in hundredths to be exact.
    """
    shares = [0, 22]
    while shares[-1] < 100:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 3, 6))
    return tuple(sorted({-(-share * steps // 100) for share in shares[1:] if share <= 100}))


Point = tuple[Tensor, Tensor, Tensor]
"""Points [B, R, C, H, W], losses [B, R], gradients [B, R, C, H, W]."""


class Apgd:
    """Step rule of APGD: momentum, and a step size that halves, with a return to the best point, when progress stalls.

    A rule of one descent: it remembers, for each restart, the best point, the last one and the step size, which
    starts at twice the half-width of the box.
    """

    _x: Tensor
    _losses: Tensor
    _best: Point
    _scale: Tensor  # step size in half-widths
    _gains: Tensor  # steps since the last checkpoint that improved the loss

    def __init__(self, batch: Batch, steps: int) -> None:
        self._batch, self._checkpoints, self._last_checkpoint = batch, checkpoints(steps), 0

    def __call__(self, step: int, x: Tensor, losses: Tensor, gradient: Tensor) -> Tensor:
        if step == 0:
            self._begin(x, losses, gradient)
        else:
            self._gains = self._gains + (losses < self._losses)
            self._best = _choose(losses < self._best[1], (x, losses, gradient), self._best)
            if step in self._checkpoints:
                x, losses, gradient = self._reconsider(step, x, losses, gradient)
        ahead = self._batch.project(x - _wide(self._scale) * self._batch.half_width * gradient.sign())
        share = MOMENTUM if step else 1.0
        target = x + share * (ahead - x) + (1 - share) * (x - self._x)
        self._x, self._losses = x, losses
        return target

    def _begin(self, x: Tensor, losses: Tensor, gradient: Tensor) -> None:
        self._x, self._losses, self._best = x, losses, (x, losses, gradient)
        self._scale = torch.full_like(losses, 2.0)
        self._gains = torch.zeros_like(losses)
        self._halved = torch.zeros_like(losses, dtype=torch.bool)  # at the last checkpoint
        self._best_then = losses  # best loss at the last checkpoint

    def _reconsider(self, step: int, x: Tensor, losses: Tensor, gradient: Tensor) -> Point:
        stalled = self._gains < PROGRESS * (step - self._last_checkpoint)
        stuck = ~self._halved & (self._best[1] == self._best_then)
        self._halved = stalled | stuck
        self._scale = torch.where(self._halved, self._scale / 2, self._scale)
        self._gains = torch.zeros_like(self._gains)
        self._best_then, self._last_checkpoint = self._best[1], step
        return _choose(self._halved, self._best, (x, losses, gradient))


def _choose(where: Tensor, these: Point, those: Point) -> Point:
    wide = _wide(where)
    points, losses, gradients = zip(these, those, strict=True)
    return torch.where(wide, *points), torch.where(where, *losses), torch.where(wide, *gradients)


def _wide(values: Tensor) -> Tensor:
    return values[..., None, None, None]


def _logit(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(-1, classes[..., None].expand(*logits.shape[:-1], 1))[..., 0]


def _tensor(targets: np.ndarray, batch: Batch) -> Tensor:
    return torch.from_numpy(targets).to(batch.lower.device)
