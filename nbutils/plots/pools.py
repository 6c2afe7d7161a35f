"""What a test set is made of for each network: verified, open, attacked, misclassified, measured beside published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ..core import require
from ..networks import CLEAN, CROWN, PGD
from ..zoo import Entry, measure_note, same_radius
from .style import INK, LABEL, SMALL, STATUS, headline, legend_below, new_axes, tidy

_NAME, _BAR = 1.05, 0.72  # steps down to a network's name and to each of its bars
_ORDER = ("verified", "open", "attacked", "misclassified")


@dataclass(frozen=True)
class Bar:
    """The shares of one network, %, in the order of `_ORDER`; they sum to 100."""

    network: str
    whose: str  # measured or published
    shares: tuple[float, ...]

    @property
    def open(self) -> float:
        """Share of images that are open, of all."""
        return self.shares[1]


@dataclass(frozen=True)
class PoolsView:
    """Bars network by network, the measured one above the published."""

    title: str
    bars: tuple[Bar, ...]

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        texts = [
            f"{bar.network}, {bar.whose}: "
            + ", ".join(f"{name} {share:.1f} %" for name, share in zip(_ORDER, bar.shares, strict=True))
            for bar in self.bars
        ]
        return f"{self.title}. {'; '.join(texts)}."


def pools_view(entries: Sequence[Entry]) -> PoolsView:
    """Resolve the bars: verified = CROWN, open = PGD - CROWN, attacked = clean - PGD, misclassified = 100 - clean.

    A measured bar needs all three figures, at one radius and of as many images; a network without gives none.
    """
    bars = []
    for entry in entries:
        clean, pgd, crown = (entry.measured(name) for name in (CLEAN, PGD, CROWN))
        if clean is not None and pgd is not None and crown is not None:
            same = same_radius(pgd.eps, crown.eps) and clean.n == pgd.n == crown.n
            if same and clean.value >= pgd.value >= crown.value:
                whose = f"measured {measure_note(PGD, pgd)}".rstrip()
                bars.append(Bar(entry.name, whose, _shares(clean.value, pgd.value, crown.value)))
        if (known := entry.published) is not None:
            bars.append(Bar(entry.name, "published", _shares(known.clean, known.pgd, known.crown)))
    spans = [
        f"{_span([bar.open for bar in bars if (bar.whose == 'published') == published])} {word}"
        for published, word in ((False, "measured"), (True, "published"))
        if any((bar.whose == "published") == published for bar in bars)
    ]
    title = f"Open between attack and proof: {', '.join(spans)}"
    return PoolsView(title, tuple(bars))


def draw_pools(entries: Sequence[Entry], *, ax: Axes | None = None) -> Axes:
    """One bar a network and origin, as long as the test set; `open` is what instances are drawn from.

    Raises:
        ParameterError: no network has a bar.
    """
    view = pools_view(entries)
    allowed = "networks with clean, PGD and CROWN accuracy of the same images"
    require(len(view.bars) > 0, "entries", [entry.name for entry in entries], allowed)
    names = list(dict.fromkeys(bar.network for bar in view.bars))
    ax = new_axes(height=1.6 + 0.36 * (_BAR * len(view.bars) + _NAME * len(names))) if ax is None else ax
    tidy(ax)
    y, ticks = -_NAME, []
    for name in names:
        y += _NAME
        ax.text(0, y, name, fontsize=LABEL - 0.5, fontweight="bold", color=INK, va="center")
        for bar in (bar for bar in view.bars if bar.network == name):
            y += _BAR
            _draw_bar(ax, bar, y)
            ticks.append((y, bar.whose))
    ax.set_yticks([place for place, _ in ticks], [whose for _, whose in ticks])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(y + 0.6, -0.5)
    ax.set_xlim(0, 100)
    ax.set_xlabel("share of the test images, %", fontsize=LABEL)
    legend_below(ax, [_patch(name) for name in _ORDER], columns=4)
    headline(ax, view.title, view.alt)
    return ax


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return f"{low} %" if low == high else f"{low} to {high} %"


def _shares(clean: float, pgd: float, crown: float) -> tuple[float, ...]:
    return crown, pgd - crown, clean - pgd, 100 - clean


def _draw_bar(ax: Axes, bar: Bar, y: float) -> None:
    left = 0.0
    for name, share in zip(_ORDER, bar.shares, strict=True):
        mark = STATUS[name]
        ax.barh(y, share, left=left, height=0.6, color=mark.color, hatch=mark.hatch[:2], edgecolor="white", linewidth=0)
        if name == "open" and share >= 4:
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
            ax.text(left + share / 2, y, f"{share:.1f}", fontsize=SMALL, color=INK, ha="center", va="center", bbox=box)
        left += share


def _patch(name: str) -> Patch:
    mark = STATUS[name]
    return Patch(
        facecolor=mark.color, hatch=mark.hatch[:3], edgecolor="white", linewidth=0, label=f"{mark.glyph} {name}"
    )
