"""What training changed: margins and bounds of a few images, unstable neurons by layer, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from ..core import ImageSet, require
from .style import (
    BREACH,
    FAINT,
    INK,
    LABEL,
    METHOD,
    SMALL,
    STATUS,
    TITLE,
    blank,
    compact,
    fit,
    legend_below,
    new_axes,
    radius_text,
    signed,
    tidy,
)

if TYPE_CHECKING:
    from ..training import Snapshot

BEFORE, AFTER = "#B4B4B4", METHOD["crown"].color


@dataclass(frozen=True, eq=False)
class ChangeView:
    """Smallest margins of N images in logits before and after; shares of unstable neurons by layer."""

    title: str
    names: tuple[str, ...]
    seen: int  # the first rows are images trained on
    natural: np.ndarray  # float64 [2, N], before and after
    attacked: np.ndarray  # float64 [2, N]
    lower: np.ndarray  # float64 [2, N]
    unstable: np.ndarray  # float64 [2, L], mean over the images
    limits: tuple[float, float]  # logits; lower bounds may lie further left
    method: str
    eps: float

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        rows = "; ".join(
            f"{name}: natural {signed(self.natural[0, i])} then {signed(self.natural[1, i])}, proven"
            f" {_short(self.lower[0, i])} then {_short(self.lower[1, i])}"
            for i, name in enumerate(self.names)
        )
        shares = ", ".join(f"{b:.0%} to {a:.0%}" for b, a in self.unstable.T)
        return f"{self.title}. Smallest margins in logits: {rows}. Unstable neurons layer by layer: {shares}."


def change_view(before: Snapshot, after: Snapshot, images: ImageSet, seen: int) -> ChangeView:
    """Resolve two snapshots of the same images; the first `seen` were trained on, the others set aside.

    Raises:
        ParameterError: for snapshots of other images, radii or methods.
    """
    for name, one, two in (
        ("labels", before.labels.tolist(), after.labels.tolist()),
        ("labels of the images", images.labels.tolist(), after.labels.tolist()),
        ("eps", before.eps, after.eps),
        ("method", before.bounds.method, after.bounds.method),
    ):
        require(one == two, f"snapshots: {name}", one, f"{two}, as in the snapshot after training")
    lower = np.stack([before.bounds.smallest, after.bounds.smallest]).astype(np.float64)
    natural = np.stack([before.natural, after.natural]).astype(np.float64)
    attacked = np.stack([before.attacked, after.attacked]).astype(np.float64)
    unstable = np.array([[layer.unstable.mean() for layer in shot.bounds.layers] for shot in (before, after)])
    proven = [int((shot.bounds.verified).sum()) for shot in (before, after)]
    right = [int((shot.natural > 0).sum()) for shot in (before, after)]
    title = (
        f"In boxes of {radius_text(after.eps)}: {right[0]} then {right[1]} of {len(images)} images right,"
        f" {proven[0]} then {proven[1]} proven by {METHOD[after.bounds.method].name}"
    )
    high, low = max(float(natural.max()), 0.5), min(float(attacked.min()), -0.5)
    span = high - low
    floor = max(float(lower.min()), low - 0.35 * span)
    return ChangeView(
        title,
        tuple(fit(images.name_of(label), 18) for label in images.labels),
        seen,
        natural,
        attacked,
        lower,
        unstable,
        (floor - 0.05 * span, high + 0.16 * span),
        after.bounds.method,
        after.eps,
    )


def draw_change(before: Snapshot, after: Snapshot, images: ImageSet, seen: int, *, ax: Axes | None = None) -> Axes:
    """Two bars an image, from the lower bound to the lowest margin seen, with the natural margin as a dot."""
    view = change_view(before, after, images, seen)
    count = len(view.names)
    ax = new_axes(height=1.6 + 0.42 * count) if ax is None else ax
    tidy(ax, grid="x")
    left, right = view.limits
    ax.set_xlim(left, right)
    ax.axvspan(left, 0, color=BREACH, zorder=0)
    ax.axvline(0, color=INK, linewidth=1.2, zorder=1)
    for time, (color, offset) in enumerate(((BEFORE, -0.19), (AFTER, 0.19))):
        for row in range(count):
            start, end = view.lower[time, row], view.attacked[time, row]
            y = row + offset
            ax.barh(y, end - max(start, left), left=max(start, left), height=0.26, color=color, zorder=2)
            ax.plot(
                end, y, marker="X", color=STATUS["attacked"].color, markeredgecolor="white", markersize=6.5, zorder=4
            )
            ax.plot(
                view.natural[time, row], y, marker="o", color="white", markeredgecolor=INK, markersize=4.5, zorder=3.5
            )
            if start < left:
                text = f"\N{BLACK LEFT-POINTING SMALL TRIANGLE} {_short(start)}"
                ax.text(left, y, text, fontsize=SMALL - 1, color=INK, va="center", ha="left", zorder=5)
            elif time == 1:
                space = 0.02 * (right - left)
                ax.text(view.natural[time, row] + space, y, f"\u2265 {_short(start)}", fontsize=SMALL - 0.5, color=INK,
                        va="center", ha="left", zorder=5)  # fmt: skip
    if 0 < view.seen < count:
        ax.axhline(view.seen - 0.5, color=FAINT, linestyle=(0, (3, 2)), linewidth=1)
    ax.set_ylim(count - 0.4, -0.6)
    marks = ["" if row < view.seen else " *" for row in range(count)]
    ax.set_yticks(range(count), [name + mark for name, mark in zip(view.names, marks, strict=True)])
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("smallest margin, logits" + ("     * set aside, never trained on" if view.seen < count else ""))
    ax.xaxis.label.set_fontsize(LABEL)
    legend_below(ax, _handles(view), columns=2)
    ax.set_label(view.alt)
    return ax


def draw_unstable_change(
    before: Snapshot, after: Snapshot, images: ImageSet, seen: int, *, ax: Axes | None = None
) -> Axes:
    """Share of neurons that may be on or off in the box, layer by layer, before and after."""
    view = change_view(before, after, images, seen)
    ax = new_axes() if ax is None else ax
    tidy(ax, grid="y")
    places = np.arange(1, view.unstable.shape[1] + 1)
    looks = ((BEFORE, "s", (0, (1, 1.2)), "before"), (AFTER, "o", "-", "after"))
    handles = []
    for shares, (color, marker, line, label) in zip(view.unstable, looks, strict=True):
        look: dict[str, Any] = {
            "color": color,
            "marker": marker,
            "linestyle": line,
            "markersize": 5.5,
            "linewidth": 1.8,
        }
        ax.plot(places, shares, **look)
        handles.append(Line2D([], [], label=f"{label} training", **look))
    ax.set_xticks(places)
    ax.set_ylim(-0.03, 1.05)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    ax.set_xlabel("ReLU, from the input on", fontsize=LABEL)
    ax.set_title("share of unstable neurons", loc="left", fontsize=LABEL, color=INK)
    legend_below(ax, handles, columns=2)
    ax.set_label(view.alt)
    return ax


def figure_change(before: Snapshot, after: Snapshot, images: ImageSet, seen: int) -> Figure:
    """Margins and bounds of each image beside unstable neurons by layer, before and after training."""
    view = change_view(before, after, images, seen)
    figure = blank(9.8, 2.0 + 0.4 * len(view.names))
    figure.set_label(view.alt)
    figure.suptitle(fit(view.title, 98, 2), x=0.01, ha="left", fontsize=TITLE, color=INK)
    left, right = figure.subplots(1, 2, width_ratios=[1.7, 1])
    draw_change(before, after, images, seen, ax=left)
    draw_unstable_change(before, after, images, seen, ax=right)
    return figure


def _short(value: float) -> str:
    return signed(value) if abs(value) < 1e5 else compact(value)


def _handles(view: ChangeView) -> list[Patch | Line2D]:
    name = METHOD[view.method].name
    return [
        Patch(color=BEFORE, label=f"before: from {name} to the lowest seen"),
        Patch(color=AFTER, label=f"after: from {name} to the lowest seen"),
        Line2D([], [], linestyle="", marker="o", color="white", markeredgecolor=INK, label="at the image itself"),
        Line2D([], [], linestyle="", marker="X", color=STATUS["attacked"].color, markeredgecolor="white",
               markersize=8, label="lowest seen by a short PGD"),
    ]  # fmt: skip
