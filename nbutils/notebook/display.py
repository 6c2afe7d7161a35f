"""Show figures and findings in a notebook: a picture with its alt text, and the sentence that goes with it."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from typing import Any

from IPython.display import Image, Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..plots import describe, figure_training
from ..training import Step, TrainingLog, training_log


def png(drawn: Figure | Axes, *, dpi: int = 110) -> bytes:
    """The figure of `drawn` as PNG bytes; equal figures give equal bytes (no date, no software version)."""
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    assert figure is not None, "axes that were taken out of their figure"
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def show(drawn: Figure | Axes, finding: str = "") -> None:
    """Display a figure with its alt text, then `finding` (Markdown) under it.

    Goes through a plain PNG, so it looks the same in JupyterLab, under papermill and in the HTML report, whatever
    matplotlib backend is active.

    Example:
        >>> margins = class_margins(network.judge(network.normalization.to_network(images.pixels)), images.labels)
        >>> show(plots.draw_margins(margins, 17, class_names=images.class_names), "The wolf has a close rival.")
        <IPython.core.display.Image object>
        <IPython.core.display.Markdown object>
    """
    display(Image(png(drawn), alt=describe(drawn)))
    if finding:
        display(Markdown(finding))


class LiveCurves:
    """The curves of a training run in one display that is replaced while the run goes on.

    Hand `on_epoch` and `on_batch` to the trainer. Drawing is rare enough to cost a twentieth of the time at most.
    """

    def __init__(self, log: TrainingLog, *, seconds: float = 2.0) -> None:
        """Open the display with what is known of the run; `seconds` is the least time between two pictures."""
        self.log, self.seconds = log, seconds
        self.steps: list[Step] = []
        self._due = 0.0
        self._handle = display(self._picture(), display_id=True)

    def on_batch(self, step: Step) -> None:
        """Note one batch."""
        self.steps.append(step)
        self._refresh()

    def on_epoch(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Note all finished epochs."""
        self.log = training_log(self.log.config, history)
        self._refresh()

    def close(self) -> None:
        """Empty the display, to make room for the final figure."""
        self._handle.update(Markdown(""))

    def _refresh(self) -> None:
        began = time.monotonic()
        if began >= self._due:
            self._handle.update(self._picture())
            now = time.monotonic()
            self._due = now + max(self.seconds, 20 * (now - began))

    def _picture(self) -> Image:
        figure = figure_training(self.log, self.steps)
        return Image(png(figure), alt=describe(figure))
