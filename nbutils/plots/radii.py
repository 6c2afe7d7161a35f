"""Proven, open and broken radii of many images as a distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ..core import require
from .radius import BROKEN, OPEN, PROVED
from .style import LABEL, class_name, fit, headline, legend_below, new_axes, plural, tidy

if TYPE_CHECKING:
    from ..analysis import RadiusCurve


@dataclass(frozen=True)
class RadiusBar:
    """One image: radii in 1/255; `attacked` infinite where no counterexample was found."""

    name: str
    certified: float
    attacked: float


@dataclass(frozen=True)
class RadiiView:
    """Images by certified, then attacked radius, largest on top."""

    title: str
    bars: tuple[RadiusBar, ...]
    last: float  # largest sampled radius, 1/255

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        texts = [
            f"{bar.name}: certified {bar.certified:.3g}/255, "
            + (f"attacked {bar.attacked:.3g}/255" if bar.attacked < np.inf else "not attacked")
            for bar in self.bars[:40]
        ]
        return f"{self.title}. {'; '.join(texts)}{'; …' if len(self.bars) > 40 else ''}."


def radii_view(curves: Sequence[RadiusCurve], *, class_names: Sequence[str] | None = None) -> RadiiView:
    """Resolve the radii of many images.

    Raises:
        ParameterError: without a curve.
    """
    require(len(curves) > 0, "curves", 0, "1 curve or more")
    last = max(float(curve.eps[-1]) for curve in curves) * 255
    bars = []
    for curve in curves:
        name = fit(class_name(class_names, curve.label), 22)
        bars.append(RadiusBar(name, curve.certified_radius() * 255, curve.attacked_radius() * 255))
    bars.sort(key=lambda bar: (-bar.certified, -bar.attacked, bar.name))
    gaps = [min(bar.attacked, last) - bar.certified for bar in bars]
    median = float(np.median([bar.certified for bar in bars]))
    gap = float(np.median(gaps))
    title = f"{plural(len(bars), 'image')}: median proven radius {median:.3g}/255, median open interval {gap:.2g}/255"
    return RadiiView(title, tuple(bars), last)


def draw_radii(
    curves: Sequence[RadiusCurve], *, class_names: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """One bar an image: proven, open and broken radii, sorted."""
    view = radii_view(curves, class_names=class_names)
    count = len(view.bars)
    named = count <= 40
    ax = new_axes(height=1.7 + min(0.24 * count, 7.0)) if ax is None else ax
    tidy(ax, grid="x")
    height = 0.72 if named else 1.0
    certified = np.array([bar.certified for bar in view.bars])
    attacked = np.minimum([bar.attacked for bar in view.bars], view.last)
    borders = (np.zeros(count), certified, np.maximum(attacked, certified), np.full(count, view.last))
    for left, right, mark in zip(borders, borders[1:], (PROVED, OPEN, BROKEN), strict=False):
        hatch = mark.hatch[:2] if named else None
        ax.barh(
            range(count),
            right - left,
            left=left,
            height=height,
            color=mark.color,
            linewidth=0,
            hatch=hatch,
            edgecolor="white",
        )
    ax.set_xlim(0, view.last)
    ax.set_ylim(count - 0.4, -0.6)
    ax.set_xlabel("radius, 1/255", fontsize=LABEL)
    if named:
        ax.set_yticks(range(count), [bar.name for bar in view.bars])
        ax.tick_params(axis="y", length=0)
    else:
        ax.set_ylabel("images, sorted", fontsize=LABEL)
    texts = ((PROVED, "proven"), (OPEN, "open"), (BROKEN, "broken"))
    legend_below(
        ax,
        [
            Patch(facecolor=m.color, edgecolor="white", linewidth=0, hatch=m.hatch[:3], label=f"{m.glyph} {text}")
            for m, text in texts
        ],
    )
    headline(ax, view.title, view.alt)
    return ax
