"""Attacked margin and lower bounds of one image against the radius."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .style import (
    BREACH,
    FAINT,
    INK,
    LABEL,
    METHOD,
    SMALL,
    STATUS,
    class_name,
    fit,
    headline,
    legend_below,
    method_order,
    new_axes,
    radius_text,
    signed,
    tidy,
)

if TYPE_CHECKING:
    from ..analysis import RadiusCurve

BETWEEN = "#DDE3E7"
PROVED, BROKEN, OPEN = STATUS["verified"], STATUS["attacked"], STATUS["open"]


@dataclass(frozen=True, eq=False)
class RadiusView:
    """One image's margins against the radius; radii in 1/255, margins in logits."""

    title: str
    radii: np.ndarray  # float64 [M+1], 0 first
    attack: np.ndarray  # float64 [M+1]
    lower: dict[str, np.ndarray]  # float64 [M+1], loose to tight
    certified: float
    attacked: float  # infinite where no counterexample was found
    limits: tuple[float, float]  # logits

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        end = f"counterexample at {self.attacked:.3g}/255" if self.attacked < np.inf else "no counterexample found"
        lows = [f"{METHOD[m].name} bound {signed(float(v[-1]))}" for m, v in self.lower.items()]
        return (
            f"{self.title}. Margin in logits against the radius from 0 to {self.radii[-1]:.3g}/255: certified up to"
            f" {self.certified:.3g}/255, {end}. At the largest radius: attacked margin"
            f" {signed(float(self.attack[-1]))}{''.join(', ' + low for low in lows)}."
        )


def radius_view(curve: RadiusCurve, *, class_names: Sequence[str] | None = None) -> RadiusView:
    """Resolve a curve; at radius 0 attack and bounds meet in the natural margin."""
    methods = method_order(list(curve.lower))
    certified, attacked = curve.certified_radius() * 255, curve.attacked_radius() * 255
    attack = np.concatenate([[curve.natural], curve.attack]).astype(np.float64)
    lower = {m: np.concatenate([[curve.natural], curve.lower[m]]).astype(np.float64) for m in methods}
    label = fit(class_name(class_names, curve.label), 24)
    if attacked == 0:
        title = f"{label}: misclassified, so no radius is certified"
    elif attacked == np.inf:
        title = f"{label}: proven to {certified:.3g}/255, never broken up to {radius_text(float(curve.eps[-1]))}"
    elif attacked > certified:
        title = f"{label}: proven to {certified:.3g}/255, broken from {attacked:.3g}/255, open between"
    else:
        title = f"{label}: broken from {attacked:.3g}/255, proven to {certified:.3g}/255: a contradiction"
    high, low = max(attack.max(), 0.0), min(attack.min(), 0.0)
    span = max(high - low, abs(curve.natural), 1e-3)
    floor = max(min([low, *(float(v.min()) for v in lower.values())]), low - 0.9 * span)
    radii = np.concatenate([[0.0], curve.eps * 255])
    return RadiusView(title, radii, attack, lower, certified, attacked, (floor - 0.06 * span, high + 0.16 * span))


def draw_radius(curve: RadiusCurve, *, class_names: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Attacked margin and each method's lower bound against the radius of one image.

    The true minimum of the margin lies between the attack and the highest bound. Bands below the curves mark the
    radii that are proven, open and broken.
    """
    view = radius_view(curve, class_names=class_names)
    ax = new_axes(height=4.4) if ax is None else ax
    tidy(ax)
    last = float(view.radii[-1])
    ax.set_xlim(0, last)
    ax.set_ylim(view.limits)
    ax.axhspan(view.limits[0], 0, color=BREACH, zorder=0)
    ax.axhline(0, color=INK, linewidth=1.2, zorder=1)
    handles: list[Artist] = []
    if view.lower:
        tight = np.max(list(view.lower.values()), axis=0)
        ax.fill_between(view.radii, tight, view.attack, color=BETWEEN, zorder=0.5, linewidth=0)
        handles.append(Patch(color=BETWEEN, label="the true minimum lies here"))
    for method, bound in view.lower.items():
        stroke = METHOD[method]
        ax.plot(
            view.radii,
            bound,
            color=stroke.color,
            linestyle=stroke.line,
            marker=stroke.marker,
            markersize=4.5,
            linewidth=1.8,
            zorder=3,
        )
    ax.plot(
        view.radii,
        view.attack,
        color=BROKEN.color,
        marker="X",
        markersize=6,
        markeredgecolor="white",
        linewidth=1.8,
        zorder=4,
    )
    _bands(ax, view, last)
    ax.set_xlabel("radius, 1/255", fontsize=LABEL)
    ax.set_ylabel("smallest margin, logits", fontsize=LABEL)
    handles += [
        Line2D([], [], color=BROKEN.color, marker="X", markeredgecolor="white", markersize=8, label="lowest attacked")
    ]
    handles += [
        Line2D(
            [],
            [],
            color=METHOD[m].color,
            linestyle=METHOD[m].line,
            marker=METHOD[m].marker,
            markersize=4.5,
            linewidth=1.8,
            label=f"{METHOD[m].name} lower bound",
        )
        for m in view.lower
    ]
    legend_below(ax, handles)
    headline(ax, view.title, view.alt)
    return ax


def _bands(ax: Axes, view: RadiusView, last: float) -> None:
    """A strip along the top: proven, open, broken; with dashed lines at its borders."""
    end = min(view.attacked, last)
    spans = [
        (0.0, view.certified, PROVED, "proven"),
        (view.certified, end, OPEN, "open"),
        (end, last, BROKEN, "broken"),
    ]
    transform = ax.get_xaxis_transform()
    for left, right, mark, word in spans:
        if right <= left:
            continue
        ax.fill_between(
            [left, right],
            0.945,
            1.0,
            transform=transform,
            color=mark.color,
            zorder=5,
            linewidth=0,
            hatch=mark.hatch,
            edgecolor="white",
        )
        if (right - left) / last > 0.11:
            ax.text(
                (left + right) / 2,
                0.972,
                f"{mark.glyph} {word}",
                transform=transform,
                ha="center",
                va="center",
                fontsize=SMALL,
                color=INK,
                zorder=6,
                bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none"},
            )
    for border in {view.certified, end} - {0.0, last}:
        ax.axvline(border, color=FAINT, linestyle=(0, (3, 2)), linewidth=1, zorder=1)
