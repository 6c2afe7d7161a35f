"""Losses against the size of the bounded box, and loss fusion beside plain CROWN-IBP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import (
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
    plural,
    radius_text,
    thousands,
    tidy,
)

if TYPE_CHECKING:
    from ..training import BoxLosses, Fusion

FUSED = "#8A3D6B"  # loss fusion, darker than CROWN-IBP's blue
CHANCE = "#9A9A9A"


@dataclass(frozen=True, eq=False)
class BoxesView:
    """Mean losses against the box, and interval widths by layer for a few boxes."""

    title: str
    fractions: np.ndarray  # float64 [M]
    certified: dict[str, np.ndarray]
    natural: float
    adversarial: float
    chance: float  # ln of the number of classes
    widths: tuple[tuple[float, np.ndarray], ...]  # fraction and float64 [L+1], network input first
    eps: float

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        last = ", ".join(f"{METHOD[m].name} {compact(v[0])} to {compact(v[-1])}" for m, v in self.certified.items())
        layers = "; ".join(f"box {f:g}: {compact(w[0])} to {compact(w[-1])}" for f, w in self.widths)
        return (
            f"{self.title}. Left: loss against the radius of the bounded box from {self.fractions[0]:g} to"
            f" {self.fractions[-1]:g} of {radius_text(self.eps)}, both logarithmic: {last}; natural"
            f" {compact(self.natural)}, adversarial {compact(self.adversarial)}, chance {self.chance:.3g}. Right: mean"
            f" interval width from the input to the last ReLU, {layers}."
        )


def boxes_view(losses: BoxLosses, shown: int = 3) -> BoxesView:
    """Resolve what `figure_boxes` draws; `shown` boxes, smallest to largest, in its right panel."""
    rows = np.unique(np.linspace(0, len(losses.fractions) - 1, shown).round().astype(int))
    ibp = losses.certified["ibp"]
    title = (
        f"Adversarial loss {compact(losses.adversarial)}; bounded by intervals {compact(ibp[0])} at"
        f" {losses.fractions[0]:g} eps, {compact(ibp[-1])} at {losses.fractions[-1]:g} eps"
        f" ({plural(losses.images, 'image')})"
    )
    return BoxesView(
        title,
        losses.fractions,
        dict(losses.certified),
        losses.natural,
        losses.adversarial,
        float(np.log(losses.classes)),
        tuple((float(losses.fractions[row]), losses.widths[row]) for row in rows),
        losses.eps,
    )


def draw_box_losses(losses: BoxLosses, *, ax: Axes | None = None) -> Axes:
    """Certified losses against the radius of the box, both logarithmic; levels of the ordinary losses and of chance."""
    view = boxes_view(losses)
    ax = new_axes() if ax is None else ax
    tidy(ax, grid="y")
    ax.set_xscale("log")
    ax.set_yscale("log")
    handles = []
    levels = (
        (view.chance, CHANCE, (0, (1, 1.5)), f"chance, ln {round(np.exp(view.chance))}"),
        (view.natural, INK, (0, (5, 2)), "natural"),
        (view.adversarial, STATUS["attacked"].color, "-", "adversarial"),
    )
    for level, color, line, label in levels:
        ax.axhline(level, color=color, linestyle=line, linewidth=1.3, zorder=1)
        handles.append(Line2D([], [], color=color, linestyle=line, linewidth=1.3, label=label))
    for method, values in view.certified.items():
        stroke = METHOD[method]
        look: dict[str, Any] = {
            "color": stroke.color,
            "linestyle": stroke.line,
            "marker": stroke.marker,
            "markersize": 5.5,
        }
        ax.plot(view.fractions, values, linewidth=1.8, **look)
        handles.append(Line2D([], [], linewidth=1.8, label=f"certified, {stroke.name}", **look))
    ax.set_xlabel(f"radius of the bounded box in eps = {radius_text(view.eps)}", fontsize=LABEL)
    ax.set_title("loss (cross entropy), log scale", loc="left", fontsize=LABEL, color=INK)
    legend_below(ax, handles, columns=3)
    ax.set_label(view.alt)
    return ax


def draw_widening(losses: BoxLosses, *, ax: Axes | None = None) -> Axes:
    """Mean interval width at the input and at each ReLU's input, for a small, a middle and the largest box."""
    view = boxes_view(losses)
    ax = new_axes() if ax is None else ax
    tidy(ax, grid="y")
    ax.set_yscale("log")
    handles = []
    looks = (("#6FA8D0", "^", (0, (4, 1.5))), ("#1F6FA8", "o", "-"), ("#0B3A5B", "D", (0, (6, 1.2, 1, 1.2))))
    for (fraction, widths), (color, marker, line) in zip(view.widths, looks, strict=False):
        look: dict[str, Any] = {
            "color": color,
            "marker": marker,
            "linestyle": line,
            "markersize": 5.5,
            "linewidth": 1.8,
        }
        ax.plot(range(len(widths)), widths, **look)
        handles.append(Line2D([], [], label=f"{fraction:g} eps", **look))
    ax.set_xticks(range(len(view.widths[0][1])), ["input", *map(str, range(1, len(view.widths[0][1])))])
    ax.set_xlabel("ReLU, from the input on", fontsize=LABEL)
    ax.set_title("mean width of the intervals, log scale", loc="left", fontsize=LABEL, color=INK)
    legend_below(ax, handles, columns=3)
    ax.set_label(view.alt)
    return ax


def figure_boxes(losses: BoxLosses) -> Figure:
    """Losses against the box beside interval widths by layer."""
    view = boxes_view(losses)
    figure = blank(9.6, 4.3)
    figure.set_label(view.alt)
    figure.suptitle(fit(view.title, 98, 2), x=0.01, ha="left", fontsize=TITLE, color=INK)
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    draw_box_losses(losses, ax=left)
    draw_widening(losses, ax=right)
    return figure


@dataclass(frozen=True, eq=False)
class FusionView:
    """Both losses of each image by box, and the time of both."""

    title: str
    fractions: np.ndarray  # float64 [M]
    plain: np.ndarray  # float64 [M, N]
    fused: np.ndarray  # float64 [M, N]
    milliseconds: tuple[float, float]  # an image, plain and fused, median of the turns
    eps: float

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        means = "; ".join(
            f"{f:g}: {compact(p)} and {compact(q)}"
            for f, p, q in zip(self.fractions, self.plain.mean(1), self.fused.mean(1), strict=True)
        )
        return (
            f"{self.title}. Mean loss by box in multiples of {radius_text(self.eps)}, plain and fused: {means}."
            f" Forward and backward pass: {self.milliseconds[0]:.3g} and {self.milliseconds[1]:.3g} ms an image."
        )


def fusion_view(fusion: Fusion) -> FusionView:
    """Resolve what `figure_fusion` draws."""
    images = fusion.plain.shape[1]
    loose = fusion.fused.mean(1) / fusion.plain.mean(1)
    title = (
        f"One row an image instead of {fusion.classes}: {thousands(fusion.ratio)} times faster, and a bound"
        f" {loose[0]:.2f} to {loose[-1]:.2f} times as high"
    )
    times = tuple(1000 * float(np.median(seconds)) / images for seconds in (fusion.seconds_plain, fusion.seconds_fused))
    return FusionView(title, fusion.fractions, fusion.plain, fusion.fused, times, fusion.eps)


def figure_fusion(fusion: Fusion) -> Figure:
    """Plain and fused CROWN-IBP loss of every image against the box, beside the time of both."""
    view = fusion_view(fusion)
    figure = blank(9.6, 4.2)
    figure.set_label(view.alt)
    figure.suptitle(fit(view.title, 98, 2), x=0.01, ha="left", fontsize=TITLE, color=INK)
    left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
    tidy(left, grid="y")
    left.set_xscale("log")
    left.set_yscale("log")
    stroke = METHOD["crown-ibp"]
    looks = (
        (view.plain, stroke.color, stroke.marker, stroke.line, "CROWN-IBP, a row a class"),
        (view.fused, FUSED, "P", "-", "fused, a row an image"),
    )
    handles = []
    for values, color, marker, line, label in looks:
        left.plot(view.fractions, values, color=color, linewidth=0.6, alpha=0.35, zorder=1)
        look: dict[str, Any] = {"color": color, "marker": marker, "linestyle": line, "markersize": 6, "linewidth": 2}
        left.plot(view.fractions, values.mean(1), zorder=3, **look)
        handles.append(Line2D([], [], label=label, **look))
    handles.append(Line2D([], [], color=FAINT, linewidth=0.6, label="single images (thick: mean)"))
    left.set_xlabel(f"radius of the bounded box in eps = {radius_text(view.eps)}", fontsize=LABEL)
    left.set_title("bound of the loss, log scale", loc="left", fontsize=LABEL, color=INK)
    legend_below(left, handles, columns=2)
    tidy(right, grid="x")
    bars = right.barh([1, 0], view.milliseconds, color=[stroke.color, FUSED], height=0.5)
    right.bar_label(bars, [f"{ms:.3g} ms" for ms in view.milliseconds], padding=4, fontsize=SMALL, color=INK)
    right.set_yticks([1, 0], ["CROWN-IBP", "fused"])
    right.set_ylim(-0.7, 1.7)
    right.set_xlim(0, 1.25 * max(view.milliseconds))
    right.set_xlabel("milliseconds an image", fontsize=LABEL)
    right.set_title("forward and backward pass", loc="left", fontsize=LABEL, color=INK)
    return figure
