"""Pictures of what looks for the smallest margin: paths of an attack, parts of a box, both sides of the gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Polygon

from ..plots import new_figure
from .branching import Part
from .pictures import draw_plane
from .small_network import SmallNetwork

LOOKS = (("-", "o"), ("--", "s"), ("-.", "^"), (":", "D"))
"""Line and marker by order, so that curves differ without colour."""
COLORS = ("#00619A", "#D55E00", "#3B7D3B", "#6B6B6B")


def draw_path(
    network: SmallNetwork,
    paths: np.ndarray,
    box: tuple[float, float, float],
    *,
    label: int = 0,
    upto: int | None = None,
) -> Axes:
    """The paths of an attack over the regions of the plane.

    Args:
        network: of two inputs.
        paths: float [steps + 1, R, 2], a column a restart; NaN where a restart has stopped.
        box: centre and radius (u, v, r).
        label: whose smallest margin the lines show.
        upto: last step that is drawn; None draws all.
    """
    ax = draw_plane(network, label, box=box)
    last = len(paths) - 1 if upto is None else min(upto, len(paths) - 1)
    for restart in range(paths.shape[1]):
        path = paths[: last + 1, restart]
        path = path[np.isfinite(path).all(1)]
        line, marker = LOOKS[restart % len(LOOKS)]
        ax.plot(*path.T, line, marker=marker, color="black", markersize=4, linewidth=1.2)
        margin = float(network.margins(path[-1], label).min())
        ax.plot(*path[-1], marker="X" if margin <= 0 else "P", markersize=13, color="white", markeredgecolor="black")
    ends = [path[np.isfinite(path).all(1)][-1] for path in np.moveaxis(paths[: last + 1], 1, 0)]
    broken = sum(float(network.margins(end, label).min()) <= 0 for end in ends)
    title = f"Step {last}: {broken} of {len(ends)} restarts on a counterexample (x), others +"
    ax.set_title(title)
    ax.set_label(title)
    return ax


def draw_parts(network: SmallNetwork, parts: Sequence[Part], *, label: int = 0) -> Axes:
    """The leaves of a search: each with its pattern of ReLUs and its bound; proved ones dotted, broken ones crossed."""
    ax = new_figure()[1]
    leaves = [part for part in parts if part.cut is None]
    for part in leaves:
        proved = part.bound > 0
        look: dict[str, Any] = {"facecolor": "#E3EEF6" if proved else "#F6D9C8", "hatch": ".." if proved else "xx"}
        ax.add_patch(Polygon(part.corners.tolist(), edgecolor="black", linewidth=1.4, alpha=0.9, **look))
        u, v = part.corners.mean(axis=0)
        signs = " ".join(part.pattern.replace("-", "\N{MINUS SIGN}"))
        text = f"{signs}\n{'=' if part.exact else '≥'} {part.bound:.2f}"
        ax.text(u, v, text, ha="center", va="center", bbox={"color": "white", "pad": 2}, fontsize=9, zorder=6)
    everywhere = np.concatenate([part.corners for part in leaves])
    low, up = everywhere.min(0) - 0.3, everywhere.max(0) + 0.1
    ax.set(xlim=(low[0], up[0]), ylim=(low[1], up[1]), xlabel="u", ylabel="v", aspect="equal")
    smallest = min(part.bound for part in leaves)
    title = f"{len(parts)} parts looked at, {len(leaves)} leaves; lowest bound {smallest:.2f}"
    ax.set_title(title)
    ax.set_label(title)
    return ax


def draw_gap(radii: Sequence[float], curves: Mapping[str, np.ndarray], unit: str = "") -> Axes:
    """Margins against the radius: what attacks find, what is exact, what bounds prove; zero is drawn."""
    ax = new_figure()[1]
    for number, (name, values) in enumerate(curves.items()):
        line, marker = LOOKS[number % len(LOOKS)]
        ax.plot(radii, values, line, marker=marker, color=COLORS[number % len(COLORS)], markersize=5, label=name)
    ax.axhline(0, color="black", linewidth=1.2)
    ax.set(xlabel=f"radius of the box{unit}", ylabel="smallest margin, logits", title="Attack and bound against radius")
    ends = "; ".join(f"{name}: {values[0]:.2f} to {values[-1]:.2f}" for name, values in curves.items())
    ax.set_label(f"{ends}, for radii {radii[0]:g} to {radii[-1]:g}.")
    ax.legend(frameon=False)
    return ax
