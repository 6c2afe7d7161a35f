"""PGD with restarts on element-wise boxes.

An attack is a sequence of `descent.Stage`s; `trace` runs them and lets onnxruntime judge what they find. `run_attack`
is the one-stage attack of Madry et al. 2018, `strong` builds others from the same parts.

All points are in network input space. Letters in shapes, besides those of `core.records`: B images of one pass.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..core import AttackConfig, AttackTrace, Box, class_margins, require, rivals
from ..networks import twin_of
from .descent import LOSSES, Batch, Loss, Rule, Stage, descend, sign_steps, uniform_starts

if TYPE_CHECKING:
    from ..networks import Network

Watch = Callable[[int, np.ndarray], object]
"""Is told of every step, the start included: its number, and the smallest margins [B, R] there, logits."""


class Best:
    """Point of lowest margin ever visited for each image of a pass, and which images are settled."""

    def __init__(self, network: Network, batch: Batch) -> None:
        self._judge, self._labels = network.judge, batch.labels[:, 0].cpu().numpy()
        self._rows = torch.arange(len(batch.box), device=batch.lower.device)
        self._margin = torch.full((len(batch.box),), math.inf, device=batch.lower.device)
        self._point = batch.lower[:, 0]
        self._open = torch.ones_like(self._rows, dtype=torch.bool)
        self.settled = np.zeros(len(batch.box), dtype=bool)  # onnxruntime saw a rival ahead or level

    def update(self, x: Tensor, margins: Tensor) -> None:
        """Take the lowest of `margins` [B, R] where it beats all before; ties stay with the earlier point."""
        lowest, restart = margins.min(dim=1)
        self._replace((lowest < self._margin) & self._open, x[self._rows, restart], lowest)

    def settle(self, x: Tensor, margins: Tensor) -> np.ndarray:
        """Images [B] settled now: the lowest of `margins` is at most 0 and onnxruntime agrees on that point."""
        lowest, restart = margins.min(dim=1)
        news = np.zeros_like(self.settled)
        claimed = (lowest <= 0) & self._open
        if not claimed.any():
            return news
        rows = np.flatnonzero(claimed.cpu().numpy())
        points = x[self._rows, restart]
        judged = class_margins(self._judge(points[rows].cpu().numpy()), self._labels[rows])
        news[rows[judged.smallest <= 0]] = True
        chosen = torch.from_numpy(news).to(x.device)
        self._replace(chosen, points, lowest)
        self._open &= ~chosen
        self.settled |= news
        return news

    def _replace(self, chosen: Tensor, points: Tensor, margins: Tensor) -> None:
        self._margin = torch.where(chosen, margins, self._margin)
        self._point = torch.where(chosen[:, None, None, None], points, self._point)

    @property
    def points(self) -> np.ndarray:
        """float32 [B, C, H, W]."""
        return self._point.cpu().numpy()


def trace(
    network: Network,
    box: Box,
    labels: np.ndarray,
    ids: Sequence[str],
    stages: Sequence[Stage],
    *,
    steps: int,
    early_stop: bool,
    keep_paths: bool = False,
    progress: bool = False,
    images_per_pass: int = 1,
    watch: Watch | None = None,
) -> AttackTrace:
    """Run `stages` in the boxes of N images; restarts of all stages share the axis R, in the order of stages.

    An image is a unit of its own: what the others are, their order and `images_per_pass` change nothing on a CPU.
    With early stop a settled image takes no part in later stages (NaN).
    """
    labels = np.asarray(labels)
    _check(network, box, labels, ids, images_per_pass)
    labels = labels.astype(np.int64)
    twin, n, restarts = twin_of(network.module), len(box), sum(stage.restarts for stage in stages)
    margins = np.full((n, steps + 1, restarts), np.nan, dtype=np.float32)
    losses = margins.copy()
    paths = np.full((*margins.shape, *box.lower.shape[1:]), np.nan, dtype=np.float32) if keep_paths else None
    points, steps_used, seconds = box.center.copy(), np.zeros(n, dtype=np.int64), np.zeros(n)
    values = np.zeros((n, network.classes - 1), dtype=np.float32)

    bar = tqdm(total=n, desc="attack", unit="image", disable=not progress)
    for first in range(0, n, images_per_pass):
        began, rows = time.perf_counter(), np.arange(first, min(first + images_per_pass, n))
        batch = Batch.of(box.take(rows), labels[rows], [ids[int(row)] for row in rows], network.device)
        best, column = Best(network, batch), 0
        for stage in stages:
            columns, column = slice(column, column + stage.restarts), column + stage.restarts
            if best.settled.all():
                break
            last = np.where(best.settled, -1, steps)  # last step of each image that counts
            seen: list[tuple[Tensor, Tensor]] = []
            descent = descend(twin, batch, *stage.prepare(batch), steps, stage.memoryless)
            for step, (x, margin, loss) in enumerate(descent):
                seen.append((margin, loss))
                best.update(x, margin)
                if watch is not None:
                    watch(step, margin.cpu().numpy())
                if paths is not None:
                    live = rows[last >= step]
                    paths[live, step, columns] = x.cpu().numpy()[last >= step]
                if early_stop:
                    last[best.settle(x, margin)] = step
                    if best.settled.all():
                        break
            for array, values_seen in zip((margins, losses), zip(*seen, strict=True), strict=True):
                stacked = torch.stack(values_seen, dim=1).cpu().numpy()  # [B, steps seen, R]
                stacked[np.arange(stacked.shape[1]) > last[:, None]] = np.nan
                array[rows, : stacked.shape[1], columns] = stacked
            steps_used[rows] += np.maximum(last, 0)
        points[rows] = best.points
        values[rows] = class_margins(network.judge(points[rows]), labels[rows]).values
        seconds[rows] = (time.perf_counter() - began) / len(rows)
        bar.update(len(rows))
    bar.close()
    return AttackTrace(
        margins=margins,
        losses=losses,
        points=points,
        values=values,
        rivals=rivals(labels, network.classes),
        success=values.min(axis=1) <= 0,
        steps_used=steps_used,
        seconds=seconds,
        paths=paths,
    )


def run_attack(
    network: Network,
    box: Box,
    labels: np.ndarray,
    ids: Sequence[str],
    config: AttackConfig,
    *,
    keep_paths: bool = False,
    progress: bool = False,
    images_per_pass: int = 1,
    every_step: bool = False,
    watch: Watch | None = None,
) -> AttackTrace:
    """Projected gradient descent on the class margin in the boxes of N images.

    x <- clamp(x - step_size * half-width * sign(gradient), lower, upper), all restarts of an image in one batch.

    Args:
        network: the classifier; its torch twin gives gradients, onnxruntime the verdict.
        box: perturbation boxes [N, C, H, W], network input space.
        labels: true labels [N].
        ids: SHA-256 of the images [N]; with `config.seed` and the restart they key the random starts.
        config: steps, restarts, step size, loss, seed, early stop.
        keep_paths: keep every iterate (`AttackTrace.paths`).
        progress: show a progress bar.
        images_per_pass: images computed together; for throughput on CUDA.
        every_step: compute steps that are known to repeat (see `descend`), too: the same trace, for benchmarks.
        watch: called after each step with its number and the margins [B, R] there; what it raises ends the attack.

    Raises:
        ParameterError: the shapes disagree with each other or with the network, or a label is no class.

    Source: Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018.

    Example:
        >>> from nbutils.teaching import TOY, box_around
        >>> network, label = TOY.opened(folder), np.array([0])  # two inputs, two neurons; `folder` is any folder
        >>> config = AttackConfig(steps=20, restarts=4, early_stop=False)
        >>> trace = run_attack(network, box_around(radius=1.5), label, ["toy"], config)
        >>> bool(trace.success[0]), round(float(trace.smallest[0]), 2)
        (True, -0.25)
    """

    def prepare(batch: Batch) -> tuple[Tensor, Loss, Rule]:
        names: list[list[tuple[str | int, ...]]] = [
            [(config.seed, "start", name, restart) for restart in range(config.restarts)] for name in batch.ids
        ]
        return uniform_starts(batch, names), LOSSES[config.loss], sign_steps(config.step_size * batch.half_width)

    return trace(
        network,
        box,
        labels,
        ids,
        [Stage(config.restarts, prepare, memoryless=not every_step)],
        steps=config.steps,
        early_stop=config.early_stop,
        keep_paths=keep_paths,
        progress=progress,
        images_per_pass=images_per_pass,
        watch=watch,
    )


def _check(network: Network, box: Box, labels: np.ndarray, ids: Sequence[str], images_per_pass: int) -> None:
    shape = tuple(network.input_shape)
    require(
        box.lower.shape[1:] == shape,
        "box",
        box.lower.shape,
        f"[N, {', '.join(map(str, shape))}], as {network.name} asks",
    )
    one_each = f"{len(box)}, one for each image of the box"
    require(labels.ndim == 1 and len(labels) == len(box), "number of labels", labels.shape, one_each)
    require(len(ids) == len(box), "number of image ids", len(ids), one_each)
    wrong = labels[(labels < 0) | (labels >= network.classes) | (labels != np.floor(labels))]
    require(not wrong.size, "label", wrong[:5].tolist(), f"0 to {network.classes - 1}, the classes of {network.name}")
    require(images_per_pass >= 1, "images_per_pass", images_per_pass, "1 or more")
