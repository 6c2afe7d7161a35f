"""What the losses of a run are made of, on one batch: against the size of the box, and fused beside plain CROWN-IBP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core import require
from ..networks import ResNet
from .crown import CrownBounds
from .interval import IntervalPass, Statistics, batch_statistics, running_statistics
from .losses import Batch, resting

FRACTIONS = (0.001, 0.01, 0.06, 0.25, 1.0)
"""Radii as multiples of eps; 0.06 is the small box of the recipe `sabr`."""


@dataclass(frozen=True, eq=False)
class BoxLosses:
    """Losses of one batch as the bounded box around its adversarial points grows to the whole eps-box."""

    fractions: np.ndarray  # float64 [M], ascending, radius of the box as a multiple of eps
    eps: float  # pixel units
    images: int
    classes: int
    natural: float  # mean cross entropy at the images
    adversarial: float  # the same at their adversarial points, pulled into the eps-box: the loss of a box of radius 0
    certified: Mapping[str, np.ndarray]  # "ibp", "crown-ibp" -> float64 [M], mean upper bound of the cross entropy
    widths: np.ndarray  # float64 [M, L+1], mean width of the network input and of each ReLU's input interval
    unstable: np.ndarray  # float64 [M, L], share of each ReLU's inputs whose interval holds zero


@dataclass(frozen=True, eq=False)
class Fusion:
    """CROWN-IBP with one row a class beside loss fusion with one row an image, on the same boxes."""

    fractions: np.ndarray  # float64 [M], as in `BoxLosses`
    eps: float
    plain: np.ndarray  # float64 [M, N], cross entropy of the plain margin bounds
    fused: np.ndarray  # float64 [M, N], bound of the cross entropy itself
    classes: int
    seconds_plain: np.ndarray  # float64 [T], forward and backward pass of the batch, one turn each
    seconds_fused: np.ndarray  # float64 [T], in turns with the plain one

    @property
    def ratio(self) -> float:
        """Median over the turns of plain seconds by fused seconds."""
        return float(np.median(self.seconds_plain / self.seconds_fused))


def losses_by_box(
    network: ResNet,
    batch: Batch,
    eps: float,
    *,
    fractions: Sequence[float] = FRACTIONS,
    rows: int = 8,
    crown: CrownBounds | None = None,
) -> BoxLosses:
    """Natural, adversarial and certified losses of a batch's first `rows` images, at every box size in `fractions`.

    A network in training mode is looked at as training does: with the batch statistics of the adversarial points. Its
    running statistics are left alone. CROWN-IBP is left out without `crown`.

    Args:
        network: what is looked at; each bound is a pass of its own.
        batch: made for radius `eps`.
        eps: pixel units.
        fractions: radii of the boxes as multiples of eps.
        rows: images whose losses are computed; batch norms see the whole batch.
        crown: its bounds, where they are wanted too.

    Raises:
        ParameterError: for fractions that do not ascend within (0, 1], or less than one row.
    """
    fractions = _ascending(fractions)
    require(rows >= 1, "rows", rows, "1 or more")
    labels = batch.labels[:rows]
    count = len(labels)
    certified: dict[str, list[float]] = {"ibp": [], **({"crown-ibp": []} if crown is not None else {})}
    widths, unstable = [], []
    with torch.no_grad(), resting(network):
        natural = F.cross_entropy(network(batch.clean)[:count], labels).item()
        statistics = _statistics(network, batch.adversarial)
        point, _ = batch.small_box(0, count)
        adversarial = _robust(IntervalPass(network, statistics).margins(point, point, labels), labels).mean().item()
        for fraction in fractions:
            lower, upper = batch.small_box(fraction, count)
            interval = IntervalPass(network, statistics)
            certified["ibp"].append(_robust(interval.margins(lower, upper, labels), labels).mean().item())
            if crown is not None:
                bound = crown.margins(lower, upper, labels, statistics)
                certified["crown-ibp"].append(_robust(bound, labels).mean().item())
            layers = interval.pre_activations
            widths.append([(upper - lower).mean().item(), *((high - low).mean().item() for low, high in layers)])
            unstable.append([((low < 0) & (high > 0)).double().mean().item() for low, high in layers])
    return BoxLosses(
        np.asarray(fractions),
        eps,
        count,
        network.architecture.classes,
        natural,
        adversarial,
        {name: np.asarray(values) for name, values in certified.items()},
        np.asarray(widths),
        np.asarray(unstable),
    )


def compare_fusion(
    network: ResNet,
    batch: Batch,
    eps: float,
    *,
    fractions: Sequence[float] = FRACTIONS,
    rows: int = 8,
    turns: int = 3,
    crown: CrownBounds | None = None,
) -> Fusion:
    """Values of both losses at every box size, and the time of a forward and backward pass at the largest.

    Arguments as in `losses_by_box`; `turns` of both are timed, one after the other.

    Raises:
        ParameterError: for fractions that do not ascend within (0, 1], or less than one row or turn.
    """
    fractions = _ascending(fractions)
    require(rows >= 1, "rows", rows, "1 or more")
    require(turns >= 1, "turns", turns, "1 or more")
    crown = CrownBounds(network, batch.labels.device) if crown is None else crown
    labels = batch.labels[:rows]
    count = len(labels)
    with torch.no_grad(), resting(network):
        statistics = _statistics(network, batch.adversarial)
        values: dict[str, list[np.ndarray]] = {"plain": [], "fused": []}
        for fraction in fractions:
            box = batch.small_box(fraction, count)
            for name in values:
                values[name].append(_loss(crown, name, box, labels, statistics).cpu().double().numpy())

    def work(name: str) -> Callable[[], None]:
        box = batch.small_box(fractions[-1], count)
        return lambda: _loss(crown, name, box, labels, statistics).mean().backward()

    seconds: dict[str, list[float]] = {"plain": [], "fused": []}
    clock = time.perf_counter if batch.labels.is_cuda else time.process_time
    for turn in range(turns + 1):
        for name in seconds:
            began = clock()
            work(name)()
            if batch.labels.is_cuda:
                torch.cuda.synchronize()
            if turn > 0:  # the first turn warms up
                seconds[name].append(clock() - began)
            network.zero_grad(set_to_none=True)
    return Fusion(
        np.asarray(fractions),
        eps,
        np.stack(values["plain"]),
        np.stack(values["fused"]),
        network.architecture.classes,
        np.asarray(seconds["plain"]),
        np.asarray(seconds["fused"]),
    )


def _loss(crown: CrownBounds, name: str, box: tuple[Tensor, Tensor], labels: Tensor, statistics: Statistics) -> Tensor:
    if name == "fused":
        return crown.fused_loss(*box, labels, statistics)
    return _robust(crown.margins(*box, labels, statistics), labels)


def _robust(margins: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy [N] of margins [N, K]: an upper bound of the loss where they are lower bounds."""
    return F.cross_entropy(-margins, labels, reduction="none")


def _statistics(network: ResNet, points: Tensor) -> Statistics:
    """What batch norms see at `points`."""
    if not network.training:
        return running_statistics(network)
    with batch_statistics(network) as seen:
        network(points)
    return seen


def _ascending(fractions: Sequence[float]) -> list[float]:
    values = [float(fraction) for fraction in fractions]
    ok = len(values) > 0 and values[0] > 0 and values[-1] <= 1 and all(a < b for a, b in pairwise(values))
    require(ok, "fractions", values, "numbers above 0 and up to 1, ascending")
    return values
