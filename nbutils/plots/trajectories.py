"""What PGD did in one box: margin against step, and the paths in a plane through the box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..core import AttackTrace, require
from .style import (
    BREACH,
    FAINT,
    INK,
    LABEL,
    SMALL,
    STATUS,
    check_row,
    headline,
    legend_below,
    new_axes,
    plural,
    signed,
    tidy,
)

if TYPE_CHECKING:
    from ..analysis import Slice

QUIET = "#7FA8C4"  # restarts that did not cross zero
LOUD = STATUS["attacked"].color


@dataclass(frozen=True, eq=False)
class TrajectoryView:
    """Margins of one image's restarts, logits."""

    title: str
    margins: np.ndarray  # float32 [S+1, R], NaN beyond an early stop
    best: np.ndarray  # float32 [S+1], lowest margin so far over all restarts
    crossed: np.ndarray  # int64 [R], first step at 0 or below; -1 for none
    last: int  # last step with a number
    limits: tuple[float, float]

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        ends = [path[np.isfinite(path)][-1] for path in self.margins.T]
        start, end, low, high = (signed(float(x)) for x in (self.best[0], self.best[-1], min(ends), max(ends)))
        return (
            f"{self.title}. Margin in logits against the step, {plural(self.margins.shape[1], 'restart')},"
            f" {plural(self.last, 'step')}: the lowest margin falls from {start} at the start to {end}; the restarts"
            f" end between {low} and {high}."
        )


def trajectory_view(trace: AttackTrace, row: int = 0) -> TrajectoryView:
    """Resolve the restarts of image `row` that were started.

    Raises:
        ParameterError: for a row outside the record, or an image without a single number.
    """
    row = check_row(row, len(trace.margins))
    margins = trace.margins[row][:, np.isfinite(trace.margins[row, 0])]  # later stages may never have started
    require(margins.size > 0, "trace: margins at step 0", "NaN or infinity", "a number for one restart or more")
    finite = np.isfinite(margins)
    last = int(np.flatnonzero(finite.any(axis=1))[-1])
    margins, finite = margins[: last + 1], finite[: last + 1]
    best = np.minimum.accumulate(np.where(finite, margins, np.inf).min(axis=1))
    below = finite & (margins <= 0)
    crossed = np.where(below.any(axis=0), below.argmax(axis=0), -1)
    return TrajectoryView(
        title=_title(margins, best, crossed, stopped=last < trace.margins.shape[1] - 1),
        margins=margins,
        best=best,
        crossed=crossed,
        last=last,
        limits=_limits(margins[finite]),
    )


def _title(margins: np.ndarray, best: np.ndarray, crossed: np.ndarray, *, stopped: bool) -> str:
    restarts, hits = margins.shape[1], int((crossed >= 0).sum())
    if not hits:
        none = "The one restart does not cross" if restarts == 1 else f"None of {restarts} restarts crosses"
        return f"{none} zero; the lowest margin is {signed(float(best[-1]))} logits"
    first = int(crossed[crossed >= 0].min())
    when = "already at its random start" if first == 0 else f"at step {first}"
    if stopped:
        return f"A restart of {restarts} crosses zero {when}, and the attack stops there"
    which = f"All {restarts}" if hits == restarts > 1 else f"{hits} of {restarts}"
    return f"{which} restart{'s' if restarts > 1 else ''} cross{'es' if hits == 1 else ''} zero, the first {when}"


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    pad = 0.08 * max(high - low, 1e-3)
    return low - pad, high + pad


def draw_trajectories(trace: AttackTrace, row: int = 0, *, ax: Axes | None = None) -> Axes:
    """Smallest margin of image `row` at every step of every restart, and the lowest so far."""
    view = trajectory_view(trace, row)
    ax = new_axes(height=4.2) if ax is None else ax
    steps = np.arange(view.last + 1)
    tidy(ax, grid="y")
    ax.axhspan(view.limits[0], 0, color=BREACH, zorder=0)
    ax.axhline(0, color=INK, linewidth=1.2, zorder=1)
    dot = "o" if view.last == 0 else None
    for path, crossed in zip(view.margins.T, view.crossed, strict=True):
        look = {"color": LOUD, "linewidth": 1.1, "linestyle": (0, (5, 1))} if crossed >= 0 else {"color": QUIET}
        ax.plot(steps, path, **{"linewidth": 0.9, "marker": dot, "zorder": 3} | look)
        if crossed >= 0:
            ax.plot(crossed, path[crossed], marker="X", markersize=7, color=LOUD, markeredgecolor="white", zorder=4)
    ax.plot(steps, view.best, color=INK, linewidth=3.6, marker=dot, zorder=2)
    pad = 0.015 * view.last if view.last else 0.5
    ax.set_xlim(-pad, view.last + pad)
    ax.set_ylim(view.limits)
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]))
    ax.set_xlabel("gradient step", fontsize=LABEL)
    ax.set_ylabel("smallest margin, logits", fontsize=LABEL)
    _trajectory_legend(ax, view)
    headline(ax, view.title, view.alt)
    return ax


def _trajectory_legend(ax: Axes, view: TrajectoryView) -> None:
    handles = [Line2D([], [], color=INK, linewidth=3.6, label="lowest so far")]
    if (view.crossed < 0).any():
        handles.append(Line2D([], [], color=QUIET, linewidth=1.2, label="a restart"))
    if (view.crossed >= 0).any():
        handles.append(
            Line2D(
                [],
                [],
                color=LOUD,
                linewidth=1.2,
                linestyle=(0, (5, 1)),
                marker="X",
                markersize=7,
                markeredgecolor="white",
                label="a restart that crosses zero",
            )
        )
    legend_below(ax, handles)


@dataclass(frozen=True, eq=False)
class SliceView:
    """A slice with its texts; `ends` are the last known positions of the restarts."""

    title: str
    slice: Slice
    ends: np.ndarray  # float64 [R, 2]
    end_margins: np.ndarray  # float32 [R]
    levels: np.ndarray  # margins between the filled bands, logits
    zero: bool  # whether the margin changes sign in the picture

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        grid = self.slice.margins
        return (
            f"{self.title}. Filled contours of the smallest margin, from {signed(float(grid.min()))} to"
            f" {signed(float(grid.max()))} logits, in a plane through the image and the two best end points of PGD,"
            f" with the paths of {plural(len(self.ends), 'restart')}"
            + (" and the line where the margin is zero." if self.zero else "; the margin is never zero in the plane.")
        )


def slice_view(record: Slice) -> SliceView:
    """Resolve levels, end points and title of a slice."""
    grid = record.margins
    finite = np.isfinite(record.paths).all(axis=2)
    last = finite.shape[0] - 1 - finite[::-1].argmax(axis=0)
    restarts = np.arange(finite.shape[1])
    ends, end_margins = record.paths[last, restarts], record.path_margins[last, restarts]
    low, high = float(grid.min()), float(grid.max())
    hits = int((end_margins <= 0).sum())
    zero = low <= 0 <= high
    if hits:
        title = f"{hits} of {plural(len(ends), 'path')} end{'s' if hits == 1 else ''} beyond the zero line"
    elif zero:
        title = "No path reaches the region of this plane where a rival is ahead"
    else:
        title = "The true class leads all over this plane" if low > 0 else "A rival leads all over this plane"
    return SliceView(
        title, record, ends, end_margins, np.asarray(MaxNLocator(14).tick_values(low, max(high, low + 1e-3))), zero
    )


def draw_slice(record: Slice, *, ax: Axes | None = None) -> Axes:
    """Paths of the restarts over the margin in a plane through the box; bold line: margin zero."""
    view = slice_view(record)
    if ax is None:
        shape = np.ptp(record.up) / np.ptp(record.across)
        ax = new_axes(7.6, min(1.5 + 5.8 * shape, 7.0))
    grid = record.across, record.up, record.margins
    span = 1.5 * max(np.abs(view.levels[[0, -1]]))  # pale colours, so that paths stand out
    filled = ax.contourf(*grid, levels=view.levels, cmap="PuOr", norm=Normalize(-span, span))
    ax.contour(*grid, levels=view.levels, colors="white", linewidths=0.5, alpha=0.7)
    if view.zero:
        behind = ax.contourf(*grid, levels=[min(view.levels[0], -1e-6), 0.0], colors="none", hatches=[".."])
        behind.set(edgecolor="#C98A5E", linewidth=0)
        ax.contour(*grid, levels=[0.0], colors=INK, linewidths=2.6)
    for path in np.moveaxis(record.paths, 1, 0):
        ax.plot(*path.T, color=INK, linewidth=0.9, alpha=0.6)
    hit = view.end_margins <= 0
    ax.plot(*view.ends[~hit].T, linestyle="", marker="o", markersize=6, color="white", markeredgecolor=INK)
    ax.plot(*view.ends[hit].T, linestyle="", marker="X", markersize=8, color=LOUD, markeredgecolor="white")
    ax.plot(0, 0, marker="*", markersize=15, color="white", markeredgecolor=INK)
    ax.set(aspect="equal", xlim=record.across[[0, -1]], ylim=record.up[[0, -1]])
    tidy(ax)
    ax.set_xlabel("towards PGD's best end point, radii (root mean square)", fontsize=LABEL)
    ax.set_ylabel("towards another\nend point, radii", fontsize=LABEL)
    figure = cast(Figure, ax.get_figure(root=True))
    bar = figure.colorbar(filled, cax=ax.inset_axes((1.03, 0.04, 0.035, 0.92)), ticks=MaxNLocator(7))
    bar.set_label("smallest margin, logits", fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=SMALL)
    cast(Any, bar.outline).set_linewidth(0.4)
    if view.zero:
        bar.ax.axhline(0, color=INK, linewidth=2.6)
    headline(ax, view.title, view.alt)
    legend_below(ax, _slice_handles(hit, view.zero), columns=3)
    return ax


def _slice_handles(hit: np.ndarray, zero: bool) -> Sequence[Line2D]:
    def mark(marker: str, size: float, face: str, edge: str, text: str) -> Line2D:
        return Line2D(
            [], [], linestyle="", marker=marker, markersize=size, color=face, markeredgecolor=edge, label=text
        )

    handles = [mark("*", 12, "white", INK, "the image")]
    if not hit.all():
        handles.append(mark("o", 6, "white", INK, "end of a path"))
    if hit.any():
        handles.append(mark("X", 8, LOUD, "white", "end with a rival ahead"))
    if zero:
        handles.append(Line2D([], [], color=INK, linewidth=2.6, label="margin 0"))
    handles.append(Line2D([], [], color=FAINT, linewidth=0.8, label="path, projected to the plane"))
    return handles
