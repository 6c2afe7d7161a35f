"""Class margins of one image: as they are, and as a ladder with attack and lower bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..core import AttackTrace, MarginBounds, Margins
from .rungs import LadderView, ladder_view
from .style import BREACH, FAINT, INK, LABEL, METHOD, SMALL, STATUS, headline, legend_below, new_axes, signed, tidy

STATES = {"proven": "verified", "broken": "attacked", "open": "open"}  # state of a rival -> mark of a status


def draw_margins(
    margins: Margins, row: int, *, top: int = 10, class_names: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Margins of the `top` strongest rivals of image `row` at the image itself, as dots on stems from zero."""
    view = ladder_view(margins, row=row, top=top, class_names=class_names)
    ax = new_axes(height=1.5 + 0.3 * len(view.rungs)) if ax is None else ax
    _frame(ax, view)
    for y, rung in enumerate(view.rungs):
        mark = STATUS["verified" if rung.natural > 0 else "attacked"]
        ax.plot([0, rung.natural], [y, y], color=mark.color, linewidth=2, alpha=0.45, solid_capstyle="butt")
        ax.plot(rung.natural, y, marker=mark.marker, markersize=7.5, color=mark.color)
        side = 1 if rung.natural > 0 else -1
        ax.annotate(
            signed(rung.natural),
            (rung.natural, y),
            (8 * side, 0),
            textcoords="offset points",
            va="center",
            ha="left" if side > 0 else "right",
            fontsize=SMALL,
            color=INK,
        )
    return ax


def draw_ladder(
    margins: Margins,
    trace: AttackTrace | None = None,
    bounds: Sequence[MarginBounds] = (),
    *,
    row: int = 0,
    top: int = 12,
    class_names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Margin ladder of image `row`: where the true minimum of each margin can lie.

    A dot is the natural margin, a cross the margin at PGD's lowest point. The minimum over the box lies somewhere on
    the bar that ends at the lowest margin seen and begins at a method's lower bound.
    """
    view = ladder_view(margins, trace, bounds, row=row, top=top, class_names=class_names)
    ax = new_axes(height=2.0 + 0.33 * len(view.rungs)) if ax is None else ax
    _frame(ax, view)
    left = view.limits[0]
    for y, rung in enumerate(view.rungs):
        for method, bound in zip(view.methods, rung.lower, strict=True):
            stroke = METHOD[method]
            start = max(bound, left)
            ax.barh(y, rung.seen - start, left=start, height=stroke.height, color=stroke.color, linewidth=0)
            if bound < left:
                ax.plot(left, y, marker="<", markersize=5, color=FAINT, clip_on=False, zorder=4)
        ax.plot(rung.natural, y, marker="o", markersize=6.5, color="white", markeredgecolor=INK, markeredgewidth=1.4)
        if rung.attacked is not None:
            color = STATUS["attacked"].color
            ax.plot(rung.attacked, y, marker="X", markersize=7.5, color=color, markeredgecolor="white", zorder=5)
        if rung.state:
            mark = STATUS[STATES[rung.state]]
            ax.annotate(
                f"{mark.glyph} {rung.state}",
                (1, y),
                (8, 0),
                xycoords=ax.get_yaxis_transform(),
                textcoords="offset points",
                va="center",
                fontsize=SMALL + 0.5,
                color=mark.ink,
                annotation_clip=False,
            )
    _legend(ax, view, trace is not None)
    return ax


def _frame(ax: Axes, view: LadderView) -> None:
    tidy(ax, grid="x")
    ax.set_xlim(view.limits)
    ax.set_ylim(len(view.rungs) - (-0.45 if view.note else 0.45), -0.6)
    ax.axvspan(min(view.limits[0], 0), 0, color=BREACH, zorder=0)
    ax.axvline(0, color=INK, linewidth=1.2, zorder=1)
    ax.set_yticks(range(len(view.rungs)), [rung.name for rung in view.rungs])
    ax.tick_params(axis="y", length=0, labelsize=LABEL - 0.5)
    ax.set_xlabel("margin of the true class over the rival, logits (shaded: the rival is ahead)", fontsize=LABEL - 0.5)
    if view.note:
        ax.annotate(
            f"… {view.note}",
            (1, 0),
            (0, 5),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            fontsize=SMALL,
            color=FAINT,
            bbox={"boxstyle": "square,pad=0.25", "facecolor": "white", "edgecolor": "none"},
        )
    headline(ax, view.title, view.alt)


def _legend(ax: Axes, view: LadderView, attacked: bool) -> None:
    handles: list[Line2D | Patch] = [
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            color="white",
            markeredgecolor=INK,
            markeredgewidth=1.4,
            markersize=6.5,
            label="natural",
        )
    ]
    if attacked:
        handles.append(
            Line2D(
                [],
                [],
                linestyle="",
                marker="X",
                color=STATUS["attacked"].color,
                markeredgecolor="white",
                markersize=8,
                label="at PGD's lowest point",
            )
        )
    handles += [
        Patch(color=METHOD[method].color, label=f"{METHOD[method].name} lower bound") for method in view.methods
    ]
    if any(min(rung.lower, default=np.inf) < view.limits[0] for rung in view.rungs):
        handles.append(
            Line2D([], [], linestyle="", marker="<", color=FAINT, markersize=5, label="bar goes on to the left")
        )
    legend_below(ax, handles)
