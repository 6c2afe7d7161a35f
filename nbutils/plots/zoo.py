"""The networks beside the published ones: clean, PGD and verified accuracy, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from ..core import require
from ..networks import ACCURACIES, Figure
from ..zoo import Entry, same_measure, signed, status, title
from .style import FAINT, INK, LABEL, SMALL, STATUS, headline, legend_below, new_axes, plural, tidy

CARD = STATUS["verified"]  # blue disc
SAMPLE = STATUS["attacked"]  # vermilion
_HEAD, _ROW, _GAP = 0.9, 1.0, 0.45  # heights of a network's name, of an accuracy, of the space after it
_APART = 0.42  # rows between the two marks of one accuracy


@dataclass(frozen=True)
class Point:
    """One accuracy, %, with its 95 % interval where one is known."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, figure: Figure | None) -> Point | None:
        """The figure as a point; None for None."""
        return None if figure is None else cls(figure.value, figure.low, figure.high)

    def __str__(self) -> str:
        spread = "" if self.low is None else f" (95 % interval {self.low:.1f} to {self.high:.1f})"
        return f"{self.value:.2f} %{spread}"


@dataclass(frozen=True)
class ZooRow:
    """One accuracy of one network: what its card says, and what was published, or what a sample gave here."""

    label: str
    card: Point | None
    published: float | None
    sample: Point | None
    note: str  # the difference, or why there is none

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        parts = [f"measured {self.card}"] if self.card else []
        parts += [f"published {self.published:.2f} %"] if self.published is not None else []
        parts += [f"on the sample {self.sample}"] if self.sample else []
        return f"{self.label}: {', '.join(parts)}{'; ' if parts else ''}{self.note}"


@dataclass(frozen=True)
class ZooView:
    """Networks with their rows, first on top."""

    title: str
    groups: tuple[tuple[str, tuple[ZooRow, ...]], ...]  # network name, its accuracies

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        texts = [f"{name}: {'; '.join(row.alt for row in rows)}." for name, rows in self.groups]
        return " ".join([f"{self.title}.", *texts])

    @property
    def height(self) -> float:
        """Sum of all heights, in rows."""
        return sum(_HEAD + _ROW * len(rows) + _GAP for _, rows in self.groups)


def zoo_view(entries: Sequence[Entry], *, sample: Mapping[str, Mapping[str, Figure]] | None = None) -> ZooView:
    """Resolve the picture.

    Args:
        sample: figures measured on a sample of images, by network and name. Only these are shown then, beside the
            card's instead of the published ones; the notes say whether the card's lies inside the sample's interval.

    Raises:
        ParameterError: without a network.
    """
    shown = [entry for entry in entries if sample is None or entry.name in sample]
    require(len(shown) > 0, "entries", 0, "1 network or more")
    groups = []
    for entry in shown:
        found = {} if sample is None else sample[entry.name]
        names = entry.steps if sample is None else tuple(name for name in ACCURACIES if name in found)
        groups.append((entry.name, tuple(_row(entry, name, found.get(name), sample is not None) for name in names)))
    return ZooView(_headline(shown, sample), tuple(groups))


def draw_zoo(
    entries: Sequence[Entry],
    *,
    sample: Mapping[str, Mapping[str, Figure]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One row an accuracy: the measured one with its interval, the published one, their difference at the right.

    Arguments as in `zoo_view`.
    """
    view = zoo_view(entries, sample=sample)
    ax = new_axes(height=1.5 + 0.27 * view.height) if ax is None else ax
    tidy(ax, grid="x")
    right = blended_transform_factory(ax.transAxes, ax.transData)
    ticks, y = [], 0.0
    for name, rows in view.groups:
        ax.text(0.006, y + 0.1, name, transform=right, fontsize=LABEL - 0.5, fontweight="bold", color=INK, va="center")
        y += _HEAD
        absent = all(row.note == rows[0].note and row.card is None for row in rows)
        for place, row in enumerate(rows):
            _draw_row(ax, row, y)
            note = row.note if place == 0 or not absent else ""  # one reason for all rows is said once
            ax.text(1.012, y, note, transform=right, fontsize=SMALL + 0.5, color=_ink(row), va="center")
            ticks.append((y, row.label))
            y += _ROW
        y += _GAP
    ax.set_yticks([place for place, _ in ticks], [label for _, label in ticks])
    ax.tick_params(axis="y", length=0, pad=8)
    ax.set_ylim(y - _GAP, -0.6)
    ax.set_xlim(0, _top(view))
    ax.set_xlabel("share of the test images, %", fontsize=LABEL)
    legend_below(ax, _handles(view), columns=4)
    headline(ax, view.title, view.alt)
    return ax


def _row(entry: Entry, name: str, found: Figure | None, sampled: bool) -> ZooRow:
    card, published = entry.measured(name), entry.published_accuracy(name)
    label = title(name, found if sampled else card)
    if not sampled:
        away = entry.difference(name)
        if away is not None:
            note = f"{signed(away)} points"
        elif card is None:
            note = status(entry, name)
        else:
            note = "none published" if published is None else "other settings"
            published = None
        return ZooRow(label, Point.of(card), published, None, note)
    if card is None or found is None:
        card, note = None, "no figure on the card"
    elif not same_measure(name, card, found):
        card, note = None, "card: other settings"
    else:
        inside = found.low is not None and found.low <= card.value <= (found.high or 0)
        note = "card inside interval" if inside else "card outside interval"
    return ZooRow(label, Point.of(card), None, Point.of(found), note)


def _headline(shown: Sequence[Entry], sample: Mapping[str, Mapping[str, Figure]] | None) -> str:
    if sample is not None:
        sizes = {figure.n for found in sample.values() for figure in found.values() if figure.n}
        count = plural(min(sizes), "image") if len(sizes) == 1 else "a few images"
        return f"{count} measured here: {plural(len(shown), 'network')}, 95 % intervals"
    compared = {entry.name: _differences(entry) for entry in shown if _differences(entry)}
    if len(compared) == 1:
        ((name, found),) = compared.items()
        return (
            f"{name}: {', '.join(f'{key} {signed(value)}' for key, value in found.items())} points from the published"
        )
    if compared:
        spans = []
        for key in dict.fromkeys(key for found in compared.values() for key in found):
            values = [found[key] for found in compared.values() if key in found]
            spans.append(f"{key} {signed(min(values))} to {signed(max(values))}")
        return f"{len(compared)} networks beside the published: {', '.join(spans)} points"
    measured = sum(any(entry.measured(name) for name in entry.steps) for entry in shown)
    return f"{plural(len(shown), 'network')}, {measured or 'none'} measured, none beside a published counterpart"


def _differences(entry: Entry) -> dict[str, float]:
    """Differences to the published by short name, points."""
    return {title(name): away for name in entry.steps if (away := entry.difference(name)) is not None}


def _draw_row(ax: Axes, row: ZooRow, y: float) -> None:
    drawn = [name for name in ("card", "sample", "published") if getattr(row, name) is not None]
    places = {name: y + _APART * (k - (len(drawn) - 1) / 2) for k, name in enumerate(drawn)}
    if row.card is not None and row.published is not None:
        ends = [row.card.value, row.published], [places["card"], places["published"]]
        ax.plot(*ends, color="#9A9A9A", linewidth=1.6, zorder=1.5)
    if row.sample is not None:
        _draw_point(ax, row.sample, places["sample"], SAMPLE.color, SAMPLE.ink, "s", 6.0)
    if row.published is not None:
        look: dict[str, Any] = {"color": "white", "markeredgecolor": INK, "markeredgewidth": 1.4, "zorder": 3}
        ax.plot(row.published, places["published"], marker="D", markersize=6, **look)
    if row.card is not None:
        _draw_point(ax, row.card, places["card"], CARD.color, CARD.ink, "o", 7.0)


def _draw_point(ax: Axes, point: Point, y: float, color: str, ink: str, marker: str, size: float) -> None:
    if point.low is not None and point.high is not None:
        ends = [[point.value - point.low], [point.high - point.value]]
        ax.errorbar(
            point.value, y, xerr=ends, fmt="none", ecolor=ink, elinewidth=1.6, capsize=4, capthick=1.6, clip_on=False
        )
    ax.plot(
        point.value, y, marker=marker, markersize=size, color=color, markeredgecolor="white", zorder=3, clip_on=False
    )


def _ink(row: ZooRow) -> str:
    return INK if row.card is not None else FAINT


def _top(view: ZooView) -> float:
    """Right end of the axis, %: the next multiple of ten after every mark."""
    marks = [0.0]
    for _, rows in view.groups:
        for row in rows:
            points = [p for p in (row.card, row.sample) if p is not None]
            marks += [p.high if p.high is not None else p.value for p in points]
            marks += [row.published] if row.published is not None else []
    return min(102.0, 10 * (max(marks) // 10 + 1))


def _handles(view: ZooView) -> list[Line2D]:
    rows = [row for _, group in view.groups for row in group]
    handles = []
    look: dict[str, Any] = {"linestyle": "", "markersize": 7}
    if any(row.card for row in rows):
        spread = ", with 95 % interval" if any(row.card and row.card.low is not None for row in rows) else ""
        handles.append(Line2D([], [], marker="o", color=CARD.color, label=f"measured, on the card{spread}", **look))
    if any(row.sample for row in rows):
        handles.append(Line2D([], [], marker="s", color=SAMPLE.color, label="on the sample, 95 % interval", **look))
    if any(row.published is not None for row in rows):
        edge: dict[str, Any] = {"color": "white", "markeredgecolor": INK, "markeredgewidth": 1.4}
        handles.append(Line2D([], [], marker="D", label="published", **edge, **look))
    return handles or [Line2D([], [], linestyle="", label="nothing measured, nothing published")]
