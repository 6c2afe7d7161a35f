"""What a network is fed in training: images, their augmented form, their adversarial points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from ..core import require
from .images import CAPTION, show_image
from .style import INK, LABEL, SMALL, TIMES, TITLE, blank, fit, plural, radius_text

if TYPE_CHECKING:
    from ..training import Fed

TILE = 1.25  # inches


@dataclass(frozen=True, eq=False)
class FedView:
    """Rows of pictures, one column an image."""

    title: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, np.ndarray], ...]  # text and pictures [N, C, H, W], uint8 or float in [0, 1]
    largest: float  # change of a channel, 1/255

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        return (
            f"{self.title}. One column an image ({', '.join(' '.join(name.split()) for name in self.names)}), rows from"
            f" top to bottom: {', '.join(' '.join(text.split()) for text, _ in self.rows)}. The largest change of a"
            f" channel is {self.largest:.2g}/255."
        )


def fed_view(fed: Fed, count: int = 6) -> FedView:
    """Resolve the first `count` images of a batch.

    Raises:
        ParameterError: for less than one image.
    """
    require(isinstance(count, int) and count >= 1, "count", count, "a whole number from 1")
    kept = slice(0, count)
    images, config = fed.images.take(range(len(fed.images))[kept]), fed.config
    change = (fed.points[kept] - fed.pixels[kept]) * 255
    largest = float(np.abs(change).max())
    span = largest or 1.0
    side = fed.pixels.shape[-1]
    shrunk = "" if side == images.levels.shape[-1] else f",\n{side} x {side} pixels"
    rows = (
        ("image", images.levels),
        (f"augmented\n({config.augment}{shrunk})", fed.pixels[kept]),
        ("adversarial\npoint", np.clip(fed.points[kept], 0, 1)),
        (f"difference\n{TIMES} {127.5 / span:.0f}", np.clip(0.5 + change / (2 * span), 0, 1)),
    )
    radius = radius_text(config.eps * config.attack_eps)
    title = (
        f"{plural(len(images), 'image')} of the first batch ({images.source}): {config.augment}, then"
        f" {plural(config.attack_steps, 'attack step')} within {radius}"
    )
    return FedView(title, tuple(fit(images.name_of(label), CAPTION, 2) for label in images.labels), rows, largest)


def figure_fed(fed: Fed, count: int = 6) -> Figure:
    """Images of one batch as they are, augmented, attacked, and the attack's change amplified around grey."""
    view = fed_view(fed, count)
    columns = len(view.names)
    figure = blank(max(1.2 + columns * TILE, 5.6), 0.75 + len(view.rows) * (TILE + 0.04))
    figure.set_label(view.alt)
    figure.suptitle(fit(view.title, int(12 * figure.get_figwidth()), 2), x=0.01, ha="left", fontsize=TITLE, color=INK)
    grid = figure.subplots(len(view.rows), columns, squeeze=False)
    for axes, (text, pictures) in zip(grid, view.rows, strict=True):
        for ax, picture in zip(axes, pictures, strict=True):
            show_image(ax, picture)
            for spine in ax.spines.values():
                spine.set(color="#BBBBBB", linewidth=0.8)
        axes[0].set_ylabel(text, fontsize=LABEL, color=INK, rotation=0, ha="right", va="center", labelpad=8)
    for ax, name in zip(grid[0], view.names, strict=True):
        ax.set_title(name, fontsize=SMALL, fontweight="bold", color=INK, pad=3)
    return figure
