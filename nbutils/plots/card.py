"""The card of one image: image, adversarial twin, perturbation, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..core import ImageError, ImageSet, Margins, Verdict, require
from .images import badge, show_image
from .style import FAINT, INK, LABEL, MINUS, SMALL, STATUS, TIMES, TITLE, blank, check_row, fit, signed

PANEL = 2.15  # inches an image of the card is wide


@dataclass(frozen=True, eq=False)
class CardView:
    """One image with its adversarial twin; `change` is the perturbation in 1/255 pixel steps."""

    title: str
    status: str | None
    facts: tuple[tuple[str, str], ...]  # name and value, one a line
    image: np.ndarray  # uint8 [C, H, W]
    twin: np.ndarray | None  # float32 [C, H, W], pixels of the adversarial point
    twin_title: str
    change: np.ndarray | None  # float32 [C, H, W], twin - image in 1/255
    scale: float  # largest absolute change, 1/255
    amplification: float  # change x amplification fills the range from black to white

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        text = f"{self.title}. " + "; ".join(f"{name}: {value}" for name, value in self.facts) + "."
        if self.twin is not None:
            text += (
                f" Beside it its adversarial twin and their difference, amplified {self.amplification:.0f} times;"
                f" the largest change of a channel is {self.scale:.2g}/255."
            )
        return text


def card_view(
    images: ImageSet,
    row: int,
    *,
    margins: Margins | None = None,
    verdict: Verdict | None = None,
    point: np.ndarray | None = None,
) -> CardView:
    """Resolve what `figure_card` draws.

    Args:
        images: the set that holds the image.
        row: its row in `images` and in `margins`.
        margins: class margins at the images themselves.
        verdict: what the funnel says of this image.
        point: adversarial point float32 [C, H, W] in network input space; `verdict.point` where left out.

    Raises:
        ParameterError: for a row outside the set or a verdict of another image.
        ImageError: for a point of another shape than the image.
    """
    row = check_row(row, len(images))
    key = images.ids[row], int(images.labels[row])
    found = None if verdict is None else (verdict.image_id, verdict.label)
    require(found in (None, key), "verdict: image and label", found, f"{key}, as row {row} of the images")
    label = int(images.labels[row])
    facts = [("true class", images.name_of(label))]
    predicted, natural, attacked, rival = None, None, None, None
    if margins is not None:
        predicted, natural = int(margins.predicted[row]), float(margins.smallest[row])
    if verdict is not None:
        predicted, natural = verdict.predicted, verdict.natural_margin
        attacked, rival = verdict.attack_margin, verdict.attack_rival
        point = verdict.point if point is None else point
    if predicted is not None:
        facts += [("predicted", images.name_of(predicted)), ("margin", f"{signed(natural)} logits")]
    if attacked is not None:
        against = f"\nagainst {fit(images.name_of(rival), 16)}" if rival is not None else ""
        facts.append(("attacked margin", f"{signed(attacked)} logits{against}"))
    if verdict is not None and verdict.bound is not None:
        facts.append(("lower bound", f"{signed(verdict.bound)} logits"))
    twin = change = None
    twin_title, scale = "", 0.0
    if point is not None:
        require(
            point.shape == images.levels.shape[1:],
            "adversarial point",
            point.shape,
            f"{images.levels.shape[1:]}, the shape of the image",
            error=ImageError,
        )
        assert images.normalization is not None
        twin = np.clip(images.normalization.to_pixels(point), 0, 1)
        change = (twin - images.pixels_of([row])[0]) * 255
        scale = float(np.abs(change).max())
        fooled = attacked is not None and attacked <= 0 and rival is not None
        twin_title = "adversarial image" if fooled else "strongest attack point"
    status = verdict.status if verdict is not None else None
    return CardView(
        title=f"Image {int(images.indices[row])} ({images.source}): {images.name_of(label)}"
        + (f" is {status}" if status else ""),
        status=status,
        facts=tuple(facts),
        image=images.levels[row],
        twin=twin,
        twin_title=twin_title,
        change=change,
        scale=scale,
        amplification=127.5 / scale if scale else 1.0,
    )


def figure_card(
    images: ImageSet,
    row: int,
    *,
    margins: Margins | None = None,
    verdict: Verdict | None = None,
    point: np.ndarray | None = None,
) -> Figure:
    """Image, adversarial image and amplified perturbation beside the facts; arguments as in `card_view`."""
    view = card_view(images, row, margins=margins, verdict=verdict, point=point)
    panels = 1 if view.twin is None else 3
    title = fit(view.title, 60 if panels == 1 else 100, 2)
    height = PANEL + (1.05 if panels == 3 else 0.75) + 0.2 * title.count("\n")
    figure = blank(max(panels * PANEL + 3.0, 6.0), height)
    figure.set_label(view.alt)
    figure.suptitle(title, x=0.01, ha="left", fontsize=TITLE, color=INK)
    axes = figure.subplots(1, panels + 1, width_ratios=[1] * panels + [1.25])
    _panel(axes[0], "image", view.image)
    if view.status:
        badge(axes[0], view.status, size=LABEL + 2)
    if view.twin is not None and view.change is not None:
        _panel(axes[1], view.twin_title, view.twin)
        span = view.scale or 1.0
        _panel(axes[2], f"difference {TIMES} {view.amplification:.0f}", np.clip(0.5 + view.change / (2 * span), 0, 1))
        shades, below = ScalarMappable(Normalize(-span, span), "gray"), axes[2].inset_axes((0, -0.1, 1, 0.045))
        bar = figure.colorbar(shades, cax=below, orientation="horizontal", ticks=[-span, 0, span], format=_tick)
        bar.set_label("change of each channel, 1/255", fontsize=SMALL, color=INK)
        bar.ax.tick_params(labelsize=SMALL, length=2)
        cast(Any, bar.outline).set_linewidth(0.4)
    _facts(axes[-1], view)
    return figure


def _tick(value: float, _: int) -> str:
    return "0" if value == 0 else f"{value:+.2g}".replace("-", MINUS)


def _panel(ax: Axes, title: str, image: np.ndarray) -> None:
    show_image(ax, image)
    ax.set_anchor("N")
    ax.set_title(title, fontsize=LABEL, color=INK, pad=5)
    for spine in ax.spines.values():
        spine.set(color="#BBBBBB", linewidth=0.8)


def _facts(ax: Axes, view: CardView) -> None:
    ax.set_axis_off()
    y = 0.97
    if view.status:
        mark = STATUS[view.status]
        ax.text(
            0.04,
            y,
            f"{mark.glyph}  {view.status}",
            transform=ax.transAxes,
            va="top",
            fontsize=TITLE + 1,
            fontweight="bold",
            color=mark.ink,
        )
        y -= 0.2
    for name, value in view.facts:
        value = "\n".join(fit(line, 22, 2) for line in value.split("\n"))
        ax.text(0.04, y, name, transform=ax.transAxes, va="top", fontsize=SMALL, color=FAINT)
        ax.text(0.46, y, value, transform=ax.transAxes, va="top", fontsize=SMALL + 0.5, color=INK)
        y -= 0.13 + 0.085 * value.count("\n")
