"""Pictures of the plane and of one ReLU, for networks of two inputs."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..plots import new_figure
from .small_network import SmallNetwork

COLORS = ("#9CC3E0", "#F3CF7A", "#C9C9C9", "#E8B08A")
HATCHES = ("", "//", "..", "xx")


def _axes(ax: Axes | None) -> Axes:
    return new_figure()[1] if ax is None else ax


def draw_plane(
    network: SmallNetwork, label: int = 0, *, box: tuple[float, float, float] | None = None, ax: Axes | None = None
) -> Axes:
    """Decision regions of the plane and lines of equal smallest margin of `label`.

    Args:
        box: centre and radius (u, v, r) of a box to draw.
    """
    ax = _axes(ax)
    axis = np.linspace(-3, 3, 241)
    points = np.stack(np.meshgrid(axis, axis), axis=-1)
    winner, margin = network.logits(points).argmax(-1), network.margins(points, label).min(-1)
    classes = len(network.b2)
    look = {"colors": COLORS[:classes], "hatches": list(HATCHES[:classes])}
    ax.contourf(axis, axis, winner, levels=np.arange(classes + 1) - 0.5, **look)
    lines = ax.contour(axis, axis, margin, levels=8, colors="#333333", linewidths=0.8)
    ax.clabel(lines, _with_room(np.asarray(lines.levels), margin, axis[1] - axis[0]), fmt="%.1f", fontsize=8)
    ax.contour(axis, axis, margin, levels=[0], colors="black", linewidths=2.4)
    for number in range(classes):
        if (winner == number).any():
            u, v = _free_place(points, winner == number, box)
            ax.text(u, v, f"class {number}", ha="center", va="center", weight="bold", bbox={"color": "white"}, zorder=6)
    if box is not None:
        u, v, radius = box
        ax.add_patch(Rectangle((u - radius, v - radius), 2 * radius, 2 * radius, fill=False, linewidth=2.2))
        ax.plot(u, v, "ko", markersize=5)
    title = f"Regions of the classes; lines: smallest margin of class {label}"
    ax.set(xlabel="u", ylabel="v", aspect="equal", title=title)
    ax.set_label(title + (", and a box" if box is not None else ""))
    return ax


def _with_room(levels: np.ndarray, margin: np.ndarray, step: float) -> list[float]:
    """Those levels but 0 whose lines lie far enough from the next ones for a number; `step` is the grid's."""
    between = levels[1] - levels[0]
    apart = between / np.maximum(np.linalg.norm(np.gradient(margin, step), axis=0), 1e-9)
    near = {float(level): apart[np.abs(margin - level) < between / 4] for level in levels if level != 0}
    return [level for level, distances in near.items() if len(distances) and np.median(distances) > 0.2]


def _free_place(points: np.ndarray, inside: np.ndarray, box: tuple[float, float, float] | None) -> tuple[float, float]:
    """Where a word fits best: far from the region's border, from the picture's and from the box.

    Args:
        points: [V, U, 2], the grid of the picture.
        inside: [V, U], which of them lie in the region.
        box: centre and radius (u, v, r).
    """
    coarse, kept = points[::8, ::8].reshape(-1, 2), inside[::8, ::8].ravel()
    others = coarse[~kept]
    candidates = coarse[kept] if kept.any() else points[inside]
    room = 3 - np.abs(candidates).max(axis=1)
    if len(others):
        room = np.minimum(room, np.linalg.norm(candidates[:, None] - others[None], axis=-1).min(axis=1))
    if box is not None:
        room = np.minimum(room, np.abs(candidates - np.array(box[:2])).max(axis=1) - box[2])
    best = candidates[room.argmax()]
    return float(best[0]), float(best[1])


def draw_relu(low: float, up: float, alpha: float | None = None, *, ax: Axes | None = None) -> Axes:
    """A ReLU on [low, up]: the chord above it, and the line below it of slope `alpha` (CROWN's choice by default)."""
    ax = _axes(ax)
    z = np.linspace(low, up, 200)
    chord = up / (up - low)
    slope = float(up > -low) if alpha is None else alpha
    ax.fill_between(z, slope * z, chord * (z - low), color="#DDE3E7", label="what the lines allow")
    ax.plot(z, np.maximum(z, 0), "k", linewidth=2.6, label="relu(z)")
    ax.plot(z, chord * (z - low), "--", color="#D55E00", linewidth=2, label=f"chord: {chord:.2f} (z {-low:+.2g})")
    ax.plot(z, slope * z, "-.", color="#00619A", linewidth=2, label=f"below: {slope:.2f} z")
    ax.axhline(0, color="#999999", linewidth=0.8)
    title = f"One ReLU between {low:.2g} and {up:.2g}"
    ax.set(xlabel="z, what goes into the ReLU", ylabel="what comes out", title=title)
    ax.set_label(f"{title}: the chord above it has slope {chord:.2f}, the line below it slope {slope:.2f}.")
    ax.legend(frameon=False)
    return ax


def draw_boxes(network: SmallNetwork, center: tuple[float, float], radius: float, *, ax: Axes | None = None) -> Axes:
    """What a box of inputs becomes in front of the two ReLUs: the true set, and the rectangle that intervals take."""
    ax = _axes(ax)
    edge = np.linspace(-1, 1, 60)
    border = np.concatenate(
        [np.stack([edge, 0 * edge + s], 1) for s in (-1, 1)] + [np.stack([0 * edge + s, edge], 1) for s in (-1, 1)]
    )
    middle, spread = network.hidden(np.array(center)), np.abs(network.W1).sum(axis=1) * radius
    seen = network.hidden(np.array(center) + radius * border)
    ax.add_patch(
        Rectangle(tuple(middle - spread), *(2 * spread), facecolor="#DDE3E7", edgecolor="#6B6B6B", label="intervals")
    )
    ax.plot(seen[:, 0], seen[:, 1], "o", color="#00619A", markersize=3, label="the image of the box")
    ax.axhline(0, color="black", linewidth=1)
    ax.axvline(0, color="black", linewidth=1)
    ax.set(xlabel="z1, into the first ReLU", ylabel="z2, into the second", aspect="equal",
           title="A square of inputs in front of the ReLUs")  # fmt: skip
    ax.set_label("The image of a box in front of the two ReLUs, inside the rectangle that intervals make of it.")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1))
    ax.margins(0.1)
    return ax
