"""The funnel: how many images each step takes, and which are left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..core import STATUSES, ImageSet, Verdict, require
from .images import badge, show_image
from .style import FAINT, INK, LABEL, SMALL, STATUS, TITLE, blank, fit, percent, plural, signed, tidy

STEPS = {
    "misclassified": "is the image classified correctly?",
    "attacked": "does an attack break it?",
    "verified": "can it be proven robust?",
    "open": "left open",
}


@dataclass(frozen=True)
class Stage:
    """One status: how many images reach its question, and how many it takes."""

    status: str
    question: str
    entered: int
    taken: int
    text: str  # count, share of all images
    split: str  # which step decided how many


@dataclass(frozen=True, eq=False)
class FunnelView:
    """The stages in order, and what is left open, hardest last."""

    title: str
    total: int
    stages: tuple[Stage, ...]
    left: tuple[tuple[str, str, np.ndarray], ...]  # class, margins, uint8 [C, H, W] of open images
    note: str  # how many open images are not shown

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        parts = [f"{self.title}."]
        for stage in self.stages:
            split = f" ({stage.split})" if stage.split else ""
            parts.append(f"{stage.status}: {stage.text}{split}.")
        if self.left:
            parts.append(f"Thumbnails of open images: {', '.join(name for name, _, _ in self.left)}.")
        return " ".join([*parts, self.note]).strip()


def funnel_view(verdicts: Sequence[Verdict], images: ImageSet | None = None, *, thumbnails: int = 10) -> FunnelView:
    """Resolve the funnel; open images are found in `images` by id and label and shown by falling attack margin.

    Raises:
        ParameterError: without a verdict, or for an open image that `images` lacks.
    """
    total = len(verdicts)
    require(total > 0, "verdicts", 0, "1 verdict or more")
    require(isinstance(thumbnails, int) and thumbnails >= 0, "thumbnails", thumbnails, "a whole number from 0")
    stages, entered = [], total
    for status in STATUSES:
        steps = Counter(verdict.decided_by for verdict in verdicts if verdict.status == status)
        taken = steps.total()
        split = (
            ", ".join(f"{count} by {step}" for step, count in steps.most_common()) if status in STATUSES[1:3] else ""
        )
        text = f"{plural(taken, 'image')}, {percent(taken, total)}"
        stages.append(Stage(status, STEPS[status], entered, taken, text, split))
        entered -= taken
    left_open = [verdict for verdict in verdicts if verdict.status == "open"]
    left_open.sort(key=lambda v: (v.attack_margin if v.attack_margin is not None else v.natural_margin, v.image_id))
    left = []
    if images is not None:
        rows = {key: row for row, key in enumerate(zip(images.ids, images.labels.tolist(), strict=True))}
        absent = [verdict.index for verdict in left_open if (verdict.image_id, verdict.label) not in rows]
        require(not absent, "images: open images that are not among them", absent, "the images the verdicts are about")
        for verdict in left_open[:thumbnails]:
            low = signed(verdict.bound), signed(verdict.attack_margin)
            row = rows[verdict.image_id, verdict.label]
            left.append((fit(images.name_of(verdict.label), 14), f"{low[0]} … {low[1]}", images.levels[row]))
    hidden = len(left_open) - len(left)
    note = f"{plural(hidden, 'further open image')} not shown." if left and hidden else ""
    count = len(left_open)
    whole = plural(total, "image")
    title = f"{count or 'None'} of {whole} {'are' if count > 1 else 'is'} left open"
    return FunnelView(title, total, tuple(stages), tuple(left), note)


def draw_funnel(verdicts: Sequence[Verdict], *, ax: Axes | None = None) -> Axes:
    """One bar a step: as long as the images that reach it, its coloured end those it takes."""
    view = funnel_view(verdicts)
    if ax is None:
        ax = blank(8.6, 3.0).subplots()
    _bars(ax, view)
    ax.set_title(view.title, loc="left", fontsize=TITLE, color=INK)
    ax.set_label(view.alt)
    return ax


def figure_funnel(verdicts: Sequence[Verdict], images: ImageSet | None = None, *, thumbnails: int = 10) -> Figure:
    """The funnel's bars above thumbnails of the images that are left open.

    Below each thumbnail: best lower bound … lowest attacked margin, logits.
    """
    view = funnel_view(verdicts, images, thumbnails=thumbnails)
    columns = 10
    rows = -(-len(view.left) // columns)
    below = rows * 1.4 + (0.3 if rows else 0.0)
    figure = blank(9.4, 3.1 + below)
    figure.set_label(view.alt)
    figure.suptitle(view.title, x=0.01, ha="left", fontsize=TITLE, color=INK)
    if not rows:
        _bars(figure.subplots(), view)
        return figure
    upper, lower = figure.subfigures(2, 1, height_ratios=[3.1, below])
    _bars(upper.subplots(), view)
    lower.suptitle(
        f"Left open (below: best lower bound … lowest attacked margin, logits). {view.note}",
        x=0.01,
        ha="left",
        fontsize=LABEL - 0.5,
        color=FAINT,
    )
    grid = lower.subplots(rows, columns, squeeze=False)
    for ax in grid.flat[len(view.left) :]:
        ax.set_axis_off()
    for ax, (name, margins, levels) in zip(grid.flat, view.left, strict=False):
        show_image(ax, levels)
        badge(ax, "open")
        ax.set_title(name, fontsize=SMALL, fontweight="bold", color=INK, pad=3)
        ax.set_xlabel(margins, fontsize=SMALL - 0.5, color=INK, labelpad=3)
    return figure


def _bars(ax: Axes, view: FunnelView) -> None:
    tidy(ax)
    for y, stage in enumerate(view.stages):
        mark = STATUS[stage.status]
        stay = stage.entered - stage.taken
        ax.barh(y, stay, height=0.62, color="#E9EDF0", linewidth=0)
        ax.barh(
            y,
            stage.taken,
            left=stay,
            height=0.62,
            color=mark.color,
            hatch=mark.hatch[:3],
            edgecolor="white",
            linewidth=0,
        )
        text = f"{mark.glyph} {stage.status}: {stage.text}" + (f"\n   {fit(stage.split, 46, 2)}" if stage.split else "")
        ax.annotate(
            text,
            (stage.entered, y),
            (7, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL + 0.5,
            color=mark.ink,
            annotation_clip=False,
        )
    ax.set_xlim(0, view.total)
    ax.set_ylim(len(view.stages) - 0.5, -0.5)
    ax.set_yticks(range(len(view.stages)), [stage.question for stage in view.stages])
    ax.tick_params(axis="y", length=0, labelsize=LABEL - 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("images", fontsize=LABEL - 0.5)
