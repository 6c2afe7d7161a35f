"""What every figure shares: palette, marks of statuses and methods, wording of numbers, empty figures, alt text.

Colours are those of Okabe & Ito (Color Universal Design, 2008) or tints of them, with lightness apart; every colour
comes with a glyph, a marker or a hatch, so nothing is said by colour alone.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import ScaledTranslation

from ..core import METHODS, require

INK = "#222222"
FAINT = "#6B6B6B"
GRID = "#E4E4E4"
BREACH = "#FBE9E0"  # background of the region where a rival is level or ahead
TITLE, LABEL, SMALL = 11.5, 10.0, 8.5  # points
DPI = 120
EDGE = 0.07  # inches left free around a figure
MINUS, TIMES, DASH = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"


@dataclass(frozen=True)
class Mark:
    """How one status looks: fill colour, darker ink for text, glyph, marker, hatch, and its word for one rival."""

    color: str
    ink: str
    glyph: str
    marker: str
    hatch: str
    rival_word: str = ""


STATUS: dict[str, Mark] = {
    "misclassified": Mark("#C6C6C6", "#5A5A5A", "≠", "s", "...."),
    "attacked": Mark("#D55E00", "#A84300", "✗", "X", "xxxx", "broken"),
    "verified": Mark("#00619A", "#00507F", "✓", "o", "", "proven"),
    "open": Mark("#F0B323", "#7A5200", "?", "D", "////", "open"),
}


@dataclass(frozen=True)
class Stroke:
    """How one bound method looks: light to dark from loose to tight."""

    name: str
    color: str
    marker: str
    line: Any  # a line style of matplotlib
    height: float  # of its bar, as a share of a row


METHOD: dict[str, Stroke] = dict(
    zip(
        METHODS,
        (
            Stroke("IBP", "#B9CFDF", "s", (0, (1, 1.2)), 0.74),
            Stroke("CROWN-IBP", "#6FA8D0", "^", (0, (4, 1.5)), 0.54),
            Stroke("CROWN", "#1F6FA8", "o", "-", 0.36),
            Stroke("\N{GREEK SMALL LETTER ALPHA}-CROWN", "#0B3A5B", "D", (0, (6, 1.2, 1, 1.2)), 0.2),
        ),
        strict=True,
    )
)


def method_order(methods: Sequence[str]) -> list[str]:
    """`methods` from loose to tight, each once.

    Raises:
        ParameterError: for a method that is unknown or given twice.
    """
    for method in methods:
        require(method in METHOD, "method", method, ", ".join(METHOD))
    require(len(set(methods)) == len(methods), "methods", list(methods), "each method once")
    return sorted(methods, key=list(METHOD).index)


def check_row(row: object, count: int) -> int:
    """`row` itself, once it is the number of one of `count` images."""
    ok = isinstance(row, int) and not isinstance(row, bool) and 0 <= row < count
    require(ok, "row", row, f"a whole number from 0 to {count - 1}, one for each image of the record")
    return int(row)  # type: ignore[call-overload]


def signed(value: float | None, *, plus: bool = True) -> str:
    """`value` with its sign and as many decimals as help: `+0.83`, `−12.4`, `−213`; a dash for None and NaN."""
    if value is None or math.isnan(value):
        return DASH
    decimals = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    text = f"{value:{'+' if plus else ''}.{decimals}f}" if abs(value) < 1e6 else f"{value:+.1e}"
    return text.replace("-", MINUS)


def radius_text(eps: float) -> str:
    """A radius in pixel units as text: `3/255`, `1.5/255`."""
    return f"{eps * 255:.3g}/255"


def percent(part: int, whole: int) -> str:
    """Share of `part` in `whole`: `37 %`, with a decimal where `whole` is large enough to carry one."""
    return f"{100 * part / whole:.{1 if whole >= 1000 else 0}f} %"


def plural(count: int, word: str) -> str:
    """`1 image`, `2 images`; thousands set apart."""
    return f"{thousands(count)} {word}{'' if count == 1 else 's'}"


def thousands(value: float) -> str:
    """A positive number with two digits or more, thousands set apart: `1.8`, `5 440`."""
    return f"{value:,.{0 if value >= 10 or value == int(value) else 1}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def compact(value: float) -> str:
    """A number of any size with two or three digits: `0.418`, `108`, `3.1·10¹¹`; a dash for NaN."""
    if math.isnan(value):
        return DASH
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}".replace("-", MINUS) if abs(value) < 1000 else f"{value:.0f}".replace("-", MINUS)
    digits, power = f"{value:.1e}".split("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits.replace('-', MINUS)}\N{MIDDLE DOT}10{raised}"


def class_name(class_names: Sequence[str] | None, number: int) -> str:
    """Class `number` in words; `class 7` where no names are known."""
    return class_names[number].replace("_", " ") if class_names is not None else f"class {number}"


def fit(text: str, width: int, lines: int = 1) -> str:
    """`text` broken into at most `lines` lines of `width` characters, the rest replaced by an ellipsis."""
    rows = textwrap.wrap(text, width, break_on_hyphens=False)
    if lines > 1 and any(len(word) > width for word in text.split()):
        rows = textwrap.wrap(text, width)
    if len(rows) > lines:
        cut = " ".join(rows[lines - 1 :])
        rows = [*rows[: lines - 1], cut[: width - 1].rstrip(" -") + "…"]
    return "\n".join(rows)


def blank(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches that pyplot does not know.

    It is shown by ending a notebook cell with it and freed with its last reference, so none can leak.
    """
    x, y = EDGE / width, EDGE / height
    layout = ConstrainedLayoutEngine(rect=(x, y, 1 - 2 * x, 1 - 2 * y))
    return Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")


def new_figure(width: float = 8.6, height: float = 4.0) -> tuple[Figure, Axes]:
    """A `blank` figure with one panel."""
    figure = blank(width, height)
    return figure, figure.subplots()


def new_axes(width: float = 8.6, height: float = 4.0) -> Axes:
    """The panel of a new figure, reached through `ax.figure`."""
    return new_figure(width, height)[1]


def tidy(ax: Axes, *, grid: str | None = None) -> None:
    """Remove what carries no information; `grid` is `x`, `y` or None."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#9A9A9A")
    ax.tick_params(labelsize=SMALL + 0.5, colors=INK, length=3)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=cast(Any, grid), color=GRID, linewidth=0.8)


def _figure(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    assert figure is not None  # axes are made by a figure
    return figure


def headline(ax: Axes, title: str, alt: str) -> None:
    """Set the finding as title, left, broken to the width of `ax`, and attach the alt text."""
    inches = ax.get_position().width * _figure(ax).get_figwidth()
    ax.set_title(textwrap.fill(title, max(24, int(11.4 * inches))), loc="left", fontsize=TITLE, color=INK, pad=9)
    ax.set_label(alt)


def legend_below(ax: Axes, handles: Sequence[Artist], *, columns: int = 3, inches: float = 0.5) -> None:
    """A legend without frame, `inches` below `ax`, whatever the height of the axes."""
    drop = ax.transAxes + ScaledTranslation(0, -inches, _figure(ax).dpi_scale_trans)
    ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=drop,
        borderaxespad=0.0,
        ncols=min(columns, len(handles)),
        frameon=False,
        fontsize=SMALL,
        borderpad=0.2,
    )


def describe(drawn: Figure | Axes) -> str:
    """Alt text of a figure or axes drawn here; empty for anything else.

    A figure without a text of its own is described by those of its axes. In a notebook:
    `display(figure, metadata={"image/png": {"alt": describe(figure)}})`.
    """
    text = str(drawn.get_label() or "")
    if text or isinstance(drawn, Axes):
        return "" if text.startswith("<") else text
    return " ".join(filter(None, (describe(ax) for ax in drawn.axes)))
