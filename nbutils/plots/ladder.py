"""Class margins of one image: as they are, and as a ladder with attack and lower bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..errors import require
from ..records import AttackTrace, MarginBounds, Margins
from .style import (
    BREACH,
    FAINT,
    INK,
    LABEL,
    METHOD,
    SMALL,
    STATUS,
    check_row,
    class_name,
    fit,
    headline,
    legend_below,
    method_order,
    new_axes,
    plural,
    signed,
    tidy,
)

NAME = 22  # characters of a class name beside a row
ROOM = 1.5  # how much farther left than the tightest bounds the picture may reach
STATES = {"proven": "verified", "broken": "attacked", "open": "open"}  # state of a rival -> mark of a status


@dataclass(frozen=True)
class Rung:
    """One rival. Margins in logits; `lower` has one bound a method, from loose to tight."""

    rival: int
    name: str
    natural: float
    attacked: float | None
    lower: tuple[float, ...]
    state: str | None  # proven, broken, open; None where neither attack nor bounds are known

    @property
    def seen(self) -> float:
        """Lowest margin anyone has seen in the box."""
        return self.natural if self.attacked is None else min(self.natural, self.attacked)


@dataclass(frozen=True)
class LadderView:
    """The rungs of one image, the weakest margin seen on top."""

    title: str
    methods: tuple[str, ...]
    rungs: tuple[Rung, ...]
    note: str  # what is not shown
    limits: tuple[float, float]  # logits; bars that go on to the left are cut here

    @property
    def alt(self) -> str:
        lines = []
        for rung in self.rungs:
            texts = [f"natural {signed(rung.natural)}"]
            if rung.attacked is not None:
                texts.append(f"attacked {signed(rung.attacked)}")
            texts += [
                f"{METHOD[method].name} at least {signed(bound)}"
                for method, bound in zip(self.methods, rung.lower, strict=True)
            ]
            lines.append(f"{rung.name}: {', '.join(texts)}" + (f" ({rung.state})" if rung.state else ""))
        return f"{self.title}. Margins in logits. {'; '.join(lines)}. {self.note}".strip()


def ladder_view(
    margins: Margins,
    trace: AttackTrace | None = None,
    bounds: Sequence[MarginBounds] = (),
    *,
    row: int = 0,
    top: int = 12,
    class_names: Sequence[str] | None = None,
) -> LadderView:
    """Resolve margins, attack and bounds of image `row` into rungs.

    `trace` and `bounds` are about the images of `margins` in the same order, or about image `row` alone. A rival is
    `broken` where a margin of 0 or less was seen, `proven` where some method's bound is above its
    tolerance, else `open`. Of more than `top` rivals those with the lowest margin seen are kept.

    Raises:
        ParameterError: for a row outside the records, records of other images, or a method given twice.
    """
    row = check_row(row, len(margins.labels))
    require(isinstance(top, int) and top >= 1, "top", top, "a whole number from 1")
    methods = tuple(method_order([b.method for b in bounds]))
    by_method = {b.method: (b.lower[_row_in(b, b.method, margins, row)], b.tolerance) for b in bounds}
    lows = [by_method[method][0] for method in methods]
    proofs = [by_method[method][0] > by_method[method][1] for method in methods]
    values = None if trace is None else trace.values[_row_in(trace, "trace", margins, row)]
    rungs = []
    for column, rival in enumerate(margins.rivals[row]):
        natural = float(margins.values[row, column])
        attacked = None if values is None else float(values[column])
        state = None
        if trace is not None or bounds:
            proven = any(bool(proof[column]) for proof in proofs)
            broken = natural <= 0 or (attacked is not None and attacked <= 0)
            state = "broken" if broken else "proven" if proven else "open"
        lower = tuple(float(low[column]) for low in lows)
        name = fit(class_name(class_names, int(rival)), NAME)
        rungs.append(Rung(int(rival), name, natural, attacked, lower, state))
    rungs.sort(key=lambda rung: (rung.seen, rung.rival))
    shown, rest = tuple(rungs[:top]), rungs[top:]
    return LadderView(_title(margins, row, rungs, class_names), methods, shown, _note(rest), _limits(shown))


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


def _row_in(record: AttackTrace | MarginBounds, name: str, margins: Margins, row: int) -> int:
    """Row of the image in `record`: `row` itself, or 0 where the record is about this image alone."""
    own = 0 if len(record.rivals) == 1 else row
    same = len(record.rivals) in (1, len(margins.rivals)) and np.array_equal(record.rivals[own], margins.rivals[row])
    require(
        same,
        f"{name}: rivals of image {row}",
        "other rivals than in margins",
        "a record of the same images or of it alone",
    )
    return own


def _title(margins: Margins, row: int, rungs: Sequence[Rung], class_names: Sequence[str] | None) -> str:
    label = fit(class_name(class_names, int(margins.labels[row])), NAME + 8)
    first = rungs[0]
    if first.state is None:
        verb = "leads every rival; closest is" if first.natural > 0 else "does not lead:"
        return f"{label} {verb} {first.name} at {signed(first.natural)}"
    count = {state: sum(rung.state == state for rung in rungs) for state in STATES}
    total = plural(len(rungs), "rival")
    if count["broken"]:
        return f"{label}: {first.name} comes level or ahead, {signed(first.seen)} logits"
    if count["open"]:
        return f"{label}: {count['open']} of {total} open, neither broken nor proven"
    return f"{label}: proven ahead of {'all ' if len(rungs) > 1 else ''}{total} everywhere in the box"


def _note(rest: Sequence[Rung]) -> str:
    if not rest:
        return ""
    parts = [f"{n} {state}" for state in STATES if (n := sum(rung.state == state for rung in rest))]
    states = f": {', '.join(parts)}" if parts else ""
    return f"{plural(len(rest), 'further rival')} from {signed(rest[0].seen)} up{states}"


def _limits(rungs: Sequence[Rung]) -> tuple[float, float]:
    """The tightest bounds are always inside; loose ones may stretch the picture by `ROOM` at most."""
    right = max(0.0, *(max(rung.natural, rung.seen) for rung in rungs), *(rung.attacked or 0.0 for rung in rungs))
    tight = min(0.0, *(max(rung.lower, default=rung.seen) for rung in rungs), *(rung.seen for rung in rungs))
    loose = min(tight, *(min(rung.lower, default=tight) for rung in rungs))
    span = max(right - tight, 1e-3)
    left = max(loose, right - ROOM * span)
    return left - (0.12 if min(rung.natural for rung in rungs) < 0 else 0.04) * span, right + 0.1 * span


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
