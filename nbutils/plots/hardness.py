"""How hard the open images are, and which of them were drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ..core import Verdict, require
from .style import INK, LABEL, STATUS, headline, legend_below, new_axes, plural, signed, tidy

MEDIAN = (0, (4, 2))  # line style
REST = "#DDE3E8"  # open images that were not drawn
DRAWN = STATUS["open"]


@dataclass(frozen=True, eq=False)
class HardnessView:
    """Hardness (attack margin - lower bound, logits) of the open images of one network."""

    title: str
    hardness: np.ndarray  # float64 [N], ascending
    drawn: np.ndarray  # bool [N]
    edges: np.ndarray  # float64 [B+1], bins of the histogram

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        values = self.hardness
        return (
            f"{self.title}. Histogram of the gap between attack margin and lower bound, logits: "
            f"from {values[0]:.2f} to {values[-1]:.2f}, median {np.median(values):.2f}; drawn: "
            + (", ".join(f"{value:.2f}" for value in values[self.drawn][:40]) or "none")
            + "."
        )


def hardness_view(verdicts: Sequence[Verdict], drawn: Iterable[str] = (), *, name: str = "") -> HardnessView:
    """Resolve the distribution.

    Args:
        verdicts: of one network; images that are not open are left out.
        drawn: `Verdict.key` of the images drawn; attackable ones, which are not open, are left out too.
        name: of the network, for the title.

    Raises:
        ParameterError: no image is open, or an open one has no attack margin or bound.
    """
    keys = set(drawn)
    left = [verdict for verdict in verdicts if verdict.status == "open"]
    require(len(left) > 0, "verdicts: open images", 0, "1 or more", "A larger radius opens some")
    bare = [verdict.index for verdict in left if verdict.hardness is None]
    require(not bare, "verdicts: open images without attack margin or bound", bare, "none")
    left.sort(key=lambda verdict: (verdict.hardness, verdict.key))
    values = np.array([verdict.hardness for verdict in left], dtype=np.float64)
    chosen = np.array([verdict.key in keys for verdict in left])
    whole = plural(len(left), "open image")
    title = (f"{name}: " if name else "") + (f"{int(chosen.sum())} of {whole} drawn" if chosen.any() else whole)
    return HardnessView(title, values, chosen, _edges(values))


def _edges(values: np.ndarray) -> np.ndarray:
    """Ten to forty equal bins from zero (no gap is below) to the largest, about twice the root of their number."""
    count = int(np.clip(round(2 * np.sqrt(len(values))), 10, 40))
    low, high = min(0.0, float(values[0])), float(values[-1])
    return np.linspace(low, max(high, low + 1e-3) * (1 + 1e-9), count + 1)


def draw_hardness(
    verdicts: Sequence[Verdict], drawn: Iterable[str] = (), *, name: str = "", ax: Axes | None = None
) -> Axes:
    """Histogram of the open images' hardness, the drawn ones filled and marked one by one below it.

    Arguments as in `hardness_view`.
    """
    view = hardness_view(verdicts, drawn, name=name)
    ax = new_axes(height=3.6) if ax is None else ax
    tidy(ax, grid="y")
    widths = np.diff(view.edges)
    all_counts, drawn_counts = (
        np.histogram(values, view.edges)[0] for values in (view.hardness, view.hardness[view.drawn])
    )
    rest = all_counts - drawn_counts
    place: dict[str, Any] = {
        "x": view.edges[:-1],
        "width": widths,
        "align": "edge",
        "edgecolor": "white",
        "linewidth": 1.0,
    }
    ax.bar(height=drawn_counts, color=DRAWN.color, hatch=DRAWN.hatch[:2], **place)
    ax.bar(height=rest, bottom=drawn_counts, color=REST, **place)
    top = max(1, int(all_counts.max()))
    below = -0.07 * top
    ax.plot(
        view.hardness[view.drawn],
        np.full(int(view.drawn.sum()), below),
        linestyle="",
        marker=DRAWN.marker,
        markersize=6,
        color=DRAWN.color,
        markeredgecolor=DRAWN.ink,
        clip_on=False,
    )
    median = float(np.median(view.hardness))
    ax.axvline(median, color=INK, linewidth=1.2, linestyle=MEDIAN)
    ax.axhline(0, color="#9A9A9A", linewidth=0.8)
    ax.set_ylim(2 * below if view.drawn.any() else 0, 1.08 * top)
    ax.spines["bottom"].set_visible(not view.drawn.any())
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.set_yticks([tick for tick in ax.get_yticks() if tick >= 0])
    ax.set_ylabel("open images", fontsize=LABEL)
    ax.set_xlabel("hardness: attack margin minus best lower bound, logits", fontsize=LABEL)
    legend_below(ax, _handles(view))
    headline(ax, view.title, view.alt)
    return ax


def _handles(view: HardnessView) -> list[Patch | Line2D]:
    taken = int(view.drawn.sum())
    rest = len(view.drawn) - taken
    handles: list[Patch | Line2D] = []
    if taken:
        look: dict[str, Any] = {
            "facecolor": DRAWN.color,
            "hatch": DRAWN.hatch[:3],
            "edgecolor": "white",
            "linewidth": 0,
        }
        handles.append(Patch(label=f"drawn ({taken}), each one marked below", **look))
    if rest:
        handles.append(Patch(facecolor=REST, label=f"{'not drawn' if taken else 'open'} ({rest})"))
    median = signed(float(np.median(view.hardness)), plus=False)
    return [*handles, Line2D([], [], color=INK, linewidth=1.2, linestyle=MEDIAN, label=f"median of all: {median}")]
