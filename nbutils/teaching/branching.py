"""The exact answer for a small network: cut the box along the lines where a ReLU switches, until nothing bends any
more.

In a part of the plane where every ReLU is on or off the margin is a linear function, whose minimum is at a corner.
Branch and bound gets there sooner: it bounds a part by CROWN's lines, which are linear too, and cuts only where that
proves nothing.

Sources: piecewise-linear verification by branch and bound, Bunel et al. 2018 (arXiv 1711.00455); splitting of ReLUs
with linear bounds, Wang et al. 2021 (beta-CROWN, arXiv 2103.06624). Verifiers keep the cuts as constraints; in the
plane the part itself can be kept, a polygon.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .small_network import SmallNetwork

FLAT = 1e-9
"""Polygons of less area are lines or points that neighbours hold too."""


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the box, and what a bound says of the smallest margin there."""

    corners: np.ndarray  # float64 [P, 2], in order around the part
    signs: tuple[int, ...]  # of each ReLU: 1 on, -1 off, 0 both
    bound: float  # lower bound of the smallest margin over the part, logits
    exact: bool  # no ReLU switches inside, so the bound is the minimum
    cut: int | None = None  # the ReLU that the part was cut at; None for a part that is a leaf

    @property
    def pattern(self) -> str:
        """One letter a ReLU: + on, - off, ? both."""
        return "".join("-?+"[sign + 1] for sign in self.signs)


def square(center: tuple[float, float], radius: float) -> np.ndarray:
    """Corners [4, 2] of a box."""
    return np.array(center) + radius * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)


def half(corners: np.ndarray, normal: np.ndarray, offset: float) -> np.ndarray:
    """Corners of the part of a convex polygon where normal . x + offset >= 0; [0, 2] where there is none.

    Source: Sutherland & Hodgman 1974.
    """
    values = corners @ normal + offset
    kept = []
    for here, there, a, b in zip(corners, np.roll(corners, -1, 0), values, np.roll(values, -1), strict=True):
        if a >= 0:
            kept.append(here)
        if (a > 0 > b) or (a < 0 < b):
            kept.append(here + (there - here) * a / (a - b))
    return np.array(kept).reshape(-1, 2)


def area(corners: np.ndarray) -> float:
    """Area of a polygon, 0 for fewer than three corners."""
    if len(corners) < 3:
        return 0.0
    x, y = corners.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def bounded(network: SmallNetwork, label: int, corners: np.ndarray) -> Part:
    """`corners` with CROWN's lower bound of the smallest margin of `label` there; exact where no ReLU switches."""
    z = network.hidden(corners)
    low, up = z.min(0), z.max(0)
    on, off = low >= -FLAT, up <= FLAT
    chord = np.where(on, 1.0, np.where(off, 0.0, up / np.maximum(up - low, FLAT)))
    below = np.where(on, 1.0, np.where(off, 0.0, (up > -low) * 1.0))
    height = np.where(on | off, 0.0, -chord * low)  # of the chord above a line through the origin
    rows, constants = network.rows(label)
    slopes = np.where(rows > 0, below, chord)
    lines = (rows * slopes) @ network.W1
    ends = (rows * (slopes * network.b1 + np.where(rows < 0, height, 0))).sum(1) + constants
    signs = tuple(int(sign) for sign in np.where(on, 1, np.where(off, -1, 0)))
    return Part(corners, signs, float((corners @ lines.T + ends).min()), 0 not in signs)


def branch_and_bound(
    network: SmallNetwork, label: int, center: tuple[float, float], radius: float, *, most: int = 10_000
) -> list[Part]:
    """All parts looked at, the box first; the leaves are those without a `cut`.

    A part is a leaf where its bound is above 0 (proved) or exact. Others are cut at the ReLU whose line above is
    highest. The smallest margin of the box is positive just if every leaf's bound is.

    Args:
        network: of two inputs.
        label: the class whose smallest margin is asked about.
        center: of the box.
        radius: of the box.
        most: parts after which the search stops; the last ones are then neither proved nor exact.
    """
    parts: list[Part] = []
    todo = [square(center, radius)]
    while todo and len(parts) < most:
        corners = todo.pop(0)
        part = bounded(network, label, corners)
        if part.bound > 0 or part.exact:
            parts.append(part)
            continue
        z = network.hidden(corners)
        low, up = z.min(0), z.max(0)
        heights = [-u * w / (u - w) if sign == 0 else -1 for u, w, sign in zip(up, low, part.signs, strict=True)]
        unit = int(np.argmax(heights))
        parts.append(Part(corners, part.signs, part.bound, False, unit))
        for side in (1.0, -1.0):
            piece = half(corners, side * network.W1[unit], side * float(network.b1[unit]))
            if area(piece) > FLAT:
                todo.append(piece)
    return parts


def patterns(network: SmallNetwork, label: int, center: tuple[float, float], radius: float) -> Iterator[Part]:
    """Every part of the box in which no ReLU switches, with the exact minimum: exhaustive enumeration."""
    pieces = [square(center, radius)]
    for normal, offset in zip(network.W1, network.b1, strict=True):
        cut = [half(piece, side * normal, side * float(offset)) for piece in pieces for side in (1.0, -1.0)]
        pieces = [piece for piece in cut if area(piece) > FLAT]
    for piece in pieces:
        yield bounded(network, label, piece)


def smallest_margin_in(network: SmallNetwork, label: int, center: tuple[float, float], radius: float) -> float:
    """The smallest margin of `label` over the box, exact, by enumeration."""
    return min(part.bound for part in patterns(network, label, center, radius))
