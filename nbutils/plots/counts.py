"""The funnel of a recorded selection, of which only counts by status are known."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes

from ..core import STATUSES, require
from .funnel import STEPS, FunnelView, Stage, _bars
from .style import INK, TITLE, blank, percent, plural


def counts_view(counts: Mapping[str, int], *, name: str = "") -> FunnelView:
    """Resolve the funnel of `counts`, images by status; `name` of the network, for the title.

    Raises:
        ParameterError: a status is missing, or no image was counted.
    """
    require(set(counts) == set(STATUSES), "counts", sorted(counts), ", ".join(STATUSES))
    total = sum(counts.values())
    require(total > 0, "counts", 0, "1 image or more")
    stages, entered = [], total
    for status in STATUSES:
        taken = counts[status]
        stages.append(
            Stage(status, STEPS[status], entered, taken, f"{plural(taken, 'image')}, {percent(taken, total)}", "")
        )
        entered -= taken
    left = counts["open"]
    title = f"{name}: " if name else ""
    title += f"{left or 'none'} of {plural(total, 'image')} {'is' if left == 1 else 'are'} left open"
    return FunnelView(title, total, tuple(stages), (), "")


def draw_counts(counts: Mapping[str, int], *, name: str = "", ax: Axes | None = None) -> Axes:
    """One bar a step, as `draw_funnel` draws it; arguments as in `counts_view`."""
    view = counts_view(counts, name=name)
    ax = blank(8.6, 2.8).subplots() if ax is None else ax
    _bars(ax, view)
    ax.set_title(view.title, loc="left", fontsize=TITLE, color=INK)
    ax.set_label(view.alt)
    return ax
