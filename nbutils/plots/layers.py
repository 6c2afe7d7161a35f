"""Bounds layer by layer: how wide they are and how many neurons they leave unstable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from ..core import MarginBounds, require
from .style import (
    INK,
    LABEL,
    METHOD,
    MINUS,
    TITLE,
    blank,
    check_row,
    fit,
    legend_below,
    method_order,
    new_axes,
    plural,
    thousands,
    tidy,
)


@dataclass(frozen=True, eq=False)
class LayersView:
    """Means over images, or one image's own numbers; layers from the input on."""

    title: str
    names: tuple[str, ...]
    neurons: tuple[int, ...]
    width: dict[str, np.ndarray]  # method -> float64 [L], mean upper - lower of the pre-activations
    unstable: dict[str, np.ndarray]  # method -> float64 [L], share of neurons with lower < 0 < upper

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        texts = [
            f"{METHOD[m].name}: width {self.width[m][0]:.2g} to {self.width[m][-1]:.2g},"
            f" unstable {self.unstable[m][0]:.0%} to {self.unstable[m][-1]:.0%}"
            for m in self.width
        ]
        return f"{self.title}. From the first of {plural(len(self.names), 'layer')} to the last: {'; '.join(texts)}."


def layers_view(bounds: Sequence[MarginBounds], row: int | None = None) -> LayersView:
    """Resolve the layers of several methods, for image `row` or as means over all images.

    Raises:
        ParameterError: without bounds, for bounds without layers or over different layers, a method given twice, or a
            row outside the records.
    """
    require(len(bounds) > 0, "bounds", 0, "the bounds of 1 method or more")
    for record in bounds:
        require(
            len(record.layers) > 0,
            f"{record.method}: layers",
            0,
            "bounds of every layer",
            "call margin_bounds with layers=True",
        )
        same = [layer.neurons for layer in record.layers] == [layer.neurons for layer in bounds[0].layers]
        require(
            same,
            f"{record.method}: layers",
            [layer.neurons for layer in record.layers],
            "the same layers for every method",
        )
    if row is not None:
        row = check_row(row, len(bounds[0].labels))
    by_method = {record.method: record for record in bounds}
    methods = method_order([record.method for record in bounds])

    def numbers(method: str, field: str) -> np.ndarray:
        values = np.array([getattr(layer, field) for layer in by_method[method].layers], dtype=np.float64)
        return values.mean(axis=1) if row is None else values[:, row]

    width = {method: numbers(method, "width") for method in methods}
    unstable = {method: numbers(method, "unstable") for method in methods}
    whole = f"mean of {plural(len(bounds[0].labels), 'image')}" if row is None else "one image"
    loose, tight = methods[0], methods[-1]
    if len(methods) > 1:
        factor = width[loose][-1] / max(width[tight][-1], 1e-12)
        names = METHOD[loose].name, METHOD[tight].name
        compared = f"{thousands(factor)} times" if factor >= 1.05 else "just"
        title = f"In the last layer {names[0]} is {compared} as wide as {names[1]} ({whole})"
    else:
        title = f"{METHOD[tight].name} leaves {unstable[tight].max():.0%} of a layer unstable at most ({whole})"
    layers = bounds[0].layers
    return LayersView(title, tuple(x.name for x in layers), tuple(x.neurons for x in layers), width, unstable)


def draw_widths(bounds: Sequence[MarginBounds], row: int | None = None, *, ax: Axes | None = None) -> Axes:
    """Mean width of the pre-activation bounds by layer and method, logarithmic."""
    view = layers_view(bounds, row)
    ax = new_axes() if ax is None else ax
    _lines(ax, view, view.width)
    ax.set_yscale("log")
    ax.set_title(f"mean width of the bounds, upper {MINUS} lower", loc="left", fontsize=LABEL, color=INK)
    ax.set_label(view.alt)
    return ax


def draw_unstable(bounds: Sequence[MarginBounds], row: int | None = None, *, ax: Axes | None = None) -> Axes:
    """Share of neurons that may be on or off in the box, by layer and method."""
    view = layers_view(bounds, row)
    ax = new_axes() if ax is None else ax
    _lines(ax, view, view.unstable)
    ax.set_ylim(0, max(1e-3, 1.08 * max(float(v.max()) for v in view.unstable.values())))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    ax.set_title("share of unstable neurons", loc="left", fontsize=LABEL, color=INK)
    ax.set_label(view.alt)
    return ax


def figure_layers(bounds: Sequence[MarginBounds], row: int | None = None) -> Figure:
    """Widths beside unstable shares."""
    view = layers_view(bounds, row)
    figure = blank(9.4, 3.9)
    figure.set_label(view.alt)
    figure.suptitle(fit(view.title, 95, 2), x=0.01, ha="left", fontsize=TITLE, color=INK)
    left, right = figure.subplots(1, 2)
    draw_widths(bounds, row, ax=left)
    draw_unstable(bounds, row, ax=right)
    right.get_legend().remove()
    return figure


def _lines(ax: Axes, view: LayersView, values: dict[str, np.ndarray]) -> None:
    tidy(ax, grid="y")
    places = np.arange(1, len(view.names) + 1)
    handles = []
    for method, numbers in values.items():
        stroke = METHOD[method]
        look: dict[str, Any] = {
            "color": stroke.color,
            "linestyle": stroke.line,
            "marker": stroke.marker,
            "markersize": 5.5,
        }
        ax.plot(places, numbers, **look)
        handles.append(Line2D([], [], label=stroke.name, **look))
    ax.set_xticks(places)
    ax.set_xlabel("nonlinear layer, from the input on", fontsize=LABEL)
    legend_below(ax, handles, columns=4)
