"""A slider over a figure. Without a front end the figure stands there, drawn for the first value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as w
from IPython.display import Image, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..plots import describe
from .display import png


def slide(draw: Callable[[float], Figure | Axes], values: Sequence[float], name: str, start: float) -> None:
    """Show `draw(start)`, and a slider over `values` that redraws it.

    The first figure is an output of the cell, so a report or a printed page has it; the slider replaces it in place.

    Args:
        draw: gives the figure for a value.
        values: what the slider stops at, ascending.
        name: what the slider moves, with its unit.
        start: one of `values`.
    """
    handle = display(_picture(draw, start), display_id=True)
    slider = w.SelectionSlider(
        options=[(f"{value:g}", value) for value in values], value=start, description=name, continuous_update=False,
        style={"description_width": "initial"}, layout=w.Layout(width="420px"),
    )  # fmt: skip
    slider.observe(lambda change: handle.update(_picture(draw, change["new"])), "value")
    display(slider)


def _picture(draw: Callable[[float], Figure | Axes], value: float) -> Image:
    drawn = draw(value)
    return Image(png(drawn), alt=describe(drawn))
