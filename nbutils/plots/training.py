"""A training run as curves: losses, accuracies, and beside them how the certified loss grows into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .style import FAINT, INK, LABEL, METHOD, SMALL, STATUS, TITLE, blank, compact, fit, plural, tidy

if TYPE_CHECKING:
    from ..training import Step, TrainingLog

STEEP = 30  # largest by smallest value from which on a loss is drawn logarithmically


@dataclass(frozen=True)
class Look:
    """How one curve is drawn and named."""

    label: str
    color: str
    line: object
    marker: str


TOTAL = Look("total, what is descended", INK, "-", "")
BASE = Look("ordinary cross entropy", STATUS["attacked"].color, (0, (4, 1.5)), "X")
BOUND = Look("certified", METHOD["crown"].color, "-", "o")
TRAIN = Look("trained on, while training", STATUS["attacked"].color, (0, (4, 1.5)), "X")
CLEAN = Look("set aside, clean", METHOD["crown"].color, "-", "o")
PGD = Look("set aside, under PGD", METHOD["alpha-crown"].color, (0, (6, 1.2, 1, 1.2)), "D")
WEIGHT = Look("certified weight / {:g}", METHOD["crown"].color, "-", "o")
BOX = Look("its box / ({:g} eps)", STATUS["open"].ink, (0, (4, 1.5)), "s")
RATE = Look("learning rate / {:g}", FAINT, (0, (1, 1.2)), "")


@dataclass(frozen=True, eq=False)
class CurvesView:
    """Curves by panel; x is the number of epochs done, losses in nats, accuracies in %."""

    title: str
    epochs: np.ndarray  # float64 [E]
    total: int  # epochs of the schedule
    losses: tuple[tuple[Look, np.ndarray], ...]
    accuracies: tuple[tuple[Look, np.ndarray], ...]
    schedule: tuple[tuple[Look, np.ndarray], ...]  # as shares of what the labels name
    steps: np.ndarray  # float64 [B, 2], epochs done and total loss after single batches
    logarithmic: bool  # the losses' axis

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""

        def ends(panel: tuple[tuple[Look, np.ndarray], ...]) -> str:
            texts = []
            for look, values in panel:
                known = values[np.isfinite(values)]
                if len(known):
                    texts.append(f"{look.label} from {compact(known[0])} to {compact(known[-1])}")
            return ", ".join(texts) or "nothing yet"

        return (
            f"{self.title}. Three panels against the epoch. Losses: {ends(self.losses)}. Accuracy in per cent:"
            f" {ends(self.accuracies)}. Schedule: {ends(self.schedule)}."
        )


def curves_view(log: TrainingLog, steps: Sequence[Step] = ()) -> CurvesView:
    """Resolve the curves of a run, finished or not; `steps` are batches seen since the last epoch or before."""
    config, done = log.config, log.epochs
    certified = np.where(log.weight > 0, log.certified, np.nan)
    losses = [(TOTAL, log.loss), (BASE, log.base)]
    schedule = [_share(RATE, log.lr, config.lr)]
    if config.loss != "none":
        losses.append((BOUND, certified))
        box = np.where(log.weight > 0, log.box, np.nan)
        schedule = [_share(WEIGHT, log.weight, config.weight), _share(BOX, box, config.box), *schedule]
    accuracies = [(TRAIN, log.accuracy)]
    for look, values in ((CLEAN, log.validation_clean), (PGD, log.validation_pgd)):
        if np.isfinite(values).any():
            accuracies.append((look, values))
    batches = np.array([(step.at, step.loss) for step in steps], dtype=np.float64).reshape(-1, 2)
    seen = np.concatenate([*(values for _, values in losses), batches[:, 1]])
    seen = seen[np.isfinite(seen) & (seen > 0)]
    title = f"{config.network}, {done} of {plural(config.epochs, 'epoch')}"
    if done:
        title += f": loss {compact(log.loss[0])} to {compact(log.loss[-1])}"
        right = log.validation_pgd[-1]
        title += f", of the images set aside {right:.3g} % right under PGD" if np.isfinite(right) else ""
    return CurvesView(
        title,
        np.arange(1, done + 1, dtype=np.float64),
        config.epochs,
        tuple(losses),
        tuple(accuracies),
        tuple(schedule),
        batches,
        bool(len(seen)) and seen.max() > STEEP * seen.min(),
    )


def _share(look: Look, values: np.ndarray, full: float) -> tuple[Look, np.ndarray]:
    """`values` as a share of `full`, which the label names."""
    return replace(look, label=look.label.format(full)), values / full if full > 0 else values


def figure_training(log: TrainingLog, steps: Sequence[Step] = ()) -> Figure:
    """Losses, accuracies and schedule of a run below each other.

    Args:
        log: the run so far.
        steps: single batches, drawn as a thin line of the total loss.
    """
    view = curves_view(log, steps)
    figure = blank(8.8, 6.8)
    figure.set_label(view.alt)
    figure.suptitle(fit(view.title, 92, 2), x=0.01, ha="left", fontsize=TITLE, color=INK)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=[1.25, 1, 0.9])
    if len(view.steps):
        top.plot(*view.steps.T, color="#B4B4B4", linewidth=0.7, zorder=1)
    panels = (
        (top, view.losses, "loss"),
        (middle, view.accuracies, "right, %"),
        (bottom, view.schedule, "share of full"),
    )
    for ax, curves, name in panels:
        _panel(ax, view, curves)
        ax.set_ylabel(name, fontsize=LABEL)
    if view.logarithmic:
        top.set_yscale("log")
        top.set_ylabel("loss, log scale", fontsize=LABEL)
    if not len(view.epochs) and not len(view.steps):
        top.set_yticks([])
    middle.set_ylim(-3, 103)
    bottom.set_ylim(-0.04, 1.04)
    bottom.set_xlabel("epochs done", fontsize=LABEL)
    bottom.set_xlim(0, view.total)
    bottom.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    return figure


def _panel(ax: Axes, view: CurvesView, curves: tuple[tuple[Look, np.ndarray], ...]) -> None:
    tidy(ax, grid="y")
    handles = []
    every = max(1, len(view.epochs) // 12)
    for look, values in curves:
        drawn: dict[str, Any] = {"color": look.color, "linestyle": look.line, "marker": look.marker, "markersize": 4.5}
        ax.plot(view.epochs, values, markevery=every, linewidth=1.6, **drawn)
        handles.append(Line2D([], [], linewidth=1.6, label=look.label, **drawn))
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=SMALL)
