"""Three ways to train one small network on points of the plane: natural, adversarial, certified.

Same data, same start, same steps; only the loss differs. Each takes less than a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core import require, stream
from .small_network import SmallNetwork

WAYS = ("natural", "adversarial", "certified")
"""Cross entropy at the points themselves; at the worst of a few PGD steps (Madry et al. 2018); of the margins that
intervals prove (Gowal et al. 2018)."""


def two_moons(count: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points float64 [N, 2] on two half circles that reach into each other, and their classes int64 [N]."""
    rng = stream(seed, "moons")
    angle, labels = rng.uniform(0, np.pi, count), np.arange(count) % 2
    points = np.stack([np.cos(angle), np.sin(angle)], 1) * np.where(labels == 0, 1, -1)[:, None]
    points += np.where(labels == 0, 0, 1)[:, None] * np.array([1.0, 0.4]) - np.array([0.5, 0.2])
    return points * 1.5 + rng.normal(scale=0.08, size=points.shape), labels


def train_small(
    way: str,
    points: np.ndarray,
    labels: np.ndarray,
    *,
    radius: float = 0.3,
    hidden: int = 16,
    steps: int = 250,
    seed: int = 0,
) -> SmallNetwork:
    """A network trained on all points at once, by Adam.

    Args:
        way: one of `WAYS`.
        points: float64 [N, 2].
        labels: int64 [N].
        radius: of the box around each point, for the two ways that know of one; grows over the first half of the steps.
        hidden: number of ReLUs.
        steps: of gradient descent.
        seed: of the first weights.

    Raises:
        ParameterError: another way.
    """
    require(way in WAYS, "way", way, ", ".join(WAYS))
    rng, classes = stream(seed, "toy weights"), int(labels.max()) + 1
    sizes = ((hidden, 2), (hidden,), (classes, hidden), (classes,))
    weights = [
        torch.tensor(rng.normal(scale=0.7 if len(size) == 2 else 0.3, size=size), requires_grad=True) for size in sizes
    ]
    x, y = torch.from_numpy(points), torch.from_numpy(labels)
    descent = torch.optim.Adam(weights, lr=0.02)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums this small are slower when they are shared out, and one thread always sums alike
    try:
        for step in range(steps):
            reach = radius * min(1.0, 2 * step / steps)
            descent.zero_grad()
            _loss(way, weights, x, y, reach).backward()
            descent.step()
    finally:
        torch.set_num_threads(threads)
    return SmallNetwork(*(weight.detach().numpy() for weight in weights))


def _logits(weights: list[Tensor], x: Tensor) -> Tensor:
    W1, b1, W2, b2 = weights
    return F.relu(x @ W1.T + b1) @ W2.T + b2


def _loss(way: str, weights: list[Tensor], x: Tensor, y: Tensor, reach: float) -> Tensor:
    if way == "natural":
        return F.cross_entropy(_logits(weights, x), y)
    if way == "adversarial":
        point = x
        for _ in range(3):
            point = point.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(_logits(weights, point), y), point)
            point = torch.clamp(point.detach() + 0.6 * reach * gradient.sign(), x - reach, x + reach)
        return F.cross_entropy(_logits(weights, point), y)
    W1, b1, W2, b2 = weights
    middle, spread = x @ W1.T + b1, reach * W1.abs().sum(1)
    low, up = F.relu(middle - spread), F.relu(middle + spread)
    rows = W2[y][:, None] - W2[None]  # [N, K, H]: label minus every class, itself 0
    lower = (rows.clamp(min=0) * low[:, None] + rows.clamp(max=0) * up[:, None]).sum(-1) + b2[y][:, None] - b2[None]
    return 0.5 * F.cross_entropy(_logits(weights, x), y) + 0.5 * F.cross_entropy(-lower, y)


@dataclass(frozen=True)
class Scores:
    """Shares of points: classified right, right all over the box (exact), and proved so by CROWN and by intervals."""

    clean: float
    robust: float
    crown: float
    intervals: float


def scores(network: SmallNetwork, points: np.ndarray, labels: np.ndarray, radius: float) -> Scores:
    """Measure `network` on all points at this radius; the exact share is by branch and bound."""
    from .branching import bounded, branch_and_bound, square

    found = []
    for point, label in zip(points, labels.tolist(), strict=True):
        center = (float(point[0]), float(point[1]))
        clean = network.margins(point, label).min() > 0
        crown = clean and bounded(network, label, square(center, radius)).bound > 0
        leaves = (
            [part for part in branch_and_bound(network, label, center, radius) if part.cut is None] if clean else []
        )
        exact = clean and all(part.bound > 0 for part in leaves)
        found.append((clean, exact, crown, clean and _by_intervals(network, label, point, radius) > 0))
    return Scores(*np.mean(np.array(found, float), axis=0).tolist())


def _by_intervals(network: SmallNetwork, label: int, point: np.ndarray, radius: float) -> float:
    middle, spread = network.hidden(point), radius * np.abs(network.W1).sum(1)
    low, up = np.maximum(middle - spread, 0), np.maximum(middle + spread, 0)
    rows, constants = network.rows(label)
    return float((np.maximum(rows, 0) @ low + np.minimum(rows, 0) @ up + constants).min())
