"""Controls bound to a session: look at an image, compute its bounds, choose open images for export.

Widgets hold no results: every callback edits a trait of the session or asks it for a record, and draws. Figures go
into `Image` widgets, never through `Output`, whose context swallows exceptions. Slow work sits behind a button.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as w
import numpy as np
from matplotlib.figure import Figure
from PIL import Image as Picture

from ..core import METHODS
from ..plots import draw_ladder, draw_trajectories, new_figure
from .session import Session

_WIDTH = "160px"


def chooser(session: Session) -> w.Widget:
    """Toggle buttons with thumbnails of the open images; pressed means it will be exported.

    Two-way: `session.chosen` set from code moves the buttons.
    """
    buttons = {v.index: _toggle(session, v.index) for v in session.verdicts if v.status == "open"}
    summary = w.HTML()

    def show(*_: object) -> None:
        for index, button in buttons.items():
            button.value = index in session.chosen
            button.button_style, button.icon = ("success", "check") if button.value else ("", "")
        listed = ", ".join(map(str, session.chosen)) or "none"
        summary.value = f"<b>{len(session.chosen)} of {len(buttons)} open images chosen</b>: {listed}"

    session.observe(show, "chosen")
    show()
    tile = w.Layout(align_items="center", margin="0 6px 10px 0")
    tiles = [w.VBox([_thumbnail(session, index), button], layout=tile) for index, button in buttons.items()]
    grid = w.Box(tiles, layout=w.Layout(flex_flow="row wrap", display="flex"))
    return w.VBox([summary, grid])


def explorer(session: Session) -> w.Widget:
    """Panel for one image at a time: its margin ladder and PGD trajectories, bounds by the method of choice."""
    names = [
        f"{index}: {session.images.name_of(label)}"
        for index, label in zip(session.images.indices, session.images.labels, strict=True)
    ]
    image = w.Dropdown(options=[(name, row) for row, name in enumerate(names)], value=session.row, description="image")
    method = w.Dropdown(options=METHODS, value=session.method, description="bounds")
    attack, bound = w.Button(description="run PGD"), w.Button(description="compute bounds", button_style="primary")
    state, picture, ladder = w.HTML(), w.Image(format="png"), w.Image(format="png")
    ladder.layout.max_width = picture.layout.max_width = "100%"
    panel = w.Layout(overflow="hidden")

    def refresh(*_: object) -> None:
        image.value, method.value = session.row, session.method
        trace, bounds = session.known_trace(session.row), session.known_bounds(session.row)
        state.value = _state(session, trace is not None, [b.method for b in bounds])
        ladder.value = _png(
            lambda ax: draw_ladder(
                session.margins, trace, bounds, row=session.row, class_names=session.images.class_names, ax=ax
            )
        )
        picture.value = b"" if trace is None else _png(lambda ax: draw_trajectories(trace, ax=ax))

    def slow(work: Callable[[], object]) -> Callable[[w.Button], None]:
        def press(button: w.Button) -> None:
            attack.disabled = bound.disabled = True
            state.value = "computing ..."
            failure = ""
            try:
                work()
            except Exception as error:
                failure = f"<b>{escape(type(error).__name__)}: {escape(str(error))}</b>"
                raise
            finally:
                attack.disabled = bound.disabled = False
                refresh()
                state.value = failure or state.value

        return press

    image.observe(lambda change: session.set_trait("row", change["new"]), "value")
    method.observe(lambda change: session.set_trait("method", change["new"]), "value")
    attack.on_click(slow(session.trace))
    bound.on_click(slow(session.bounds))
    session.observe(refresh, ["row", "method"])
    refresh()
    return w.VBox([w.HBox([image, method, attack, bound]), state, w.VBox([ladder, picture], layout=panel)])


def _state(session: Session, attacked: bool, methods: list[str]) -> str:
    stale = "" if session.method in methods else f"; bounds by {session.method} not computed yet"
    done = ", ".join((["PGD"] if attacked else []) + methods) or "nothing yet"
    return f"<i>computed for this image: {done}{stale}</i>"


def _toggle(session: Session, index: int) -> w.ToggleButton:
    label = session.images.name_of(session.images.labels[session.row_of(index)])
    button = w.ToggleButton(description=f"{index}: {label}", tooltip="export this image", layout=w.Layout(width=_WIDTH))

    def pressed(change: dict) -> None:
        if change["new"] != (index in session.chosen):
            session.toggle(index)

    button.observe(pressed, "value")
    return button


def _thumbnail(session: Session, index: int) -> w.Image:
    levels = session.images.levels[session.row_of(index)].transpose(1, 2, 0)
    buffer = io.BytesIO()
    side = Picture.fromarray(np.ascontiguousarray(levels)).resize((128, 128), Picture.Resampling.NEAREST)
    side.save(buffer, format="PNG")
    return w.Image(value=buffer.getvalue(), format="png", width=128, height=128)


def _png(draw: Callable[[Any], object]) -> bytes:
    figure: Figure
    figure, ax = new_figure()
    draw(ax)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
