"""The explorer's controls and where they stand. No behaviour: `panel` binds them to a desk."""

from __future__ import annotations

from typing import Any

import ipywidgets as w

from ..core import METHODS, STATUSES
from .desk import Desk
from .picture import PICTURES, Picture

TABS = ("Margins", "PGD", "Bounds", "Image", "Set", "All")

_BUTTONS = (
    ("attack", "Attack", "PGD on this image (key a)", "primary"),
    ("bound", "Bound", "lower bounds by the method chosen (key b)", "primary"),
    ("curve", "Radius curve", "attack and bounds against the radius", ""),
    ("settle", "Settle all", "the filter over all images", ""),
    ("cancel", "Cancel", "end what is running (key c)", "warning"),
    ("basket", "In the basket", "put this image in or take it out (key space)", ""),
    ("preview", "Preview", "name the files that an export would write", ""),
    ("export", "Export", "write the open images of the basket as a benchmark", "success"),
)


def _wide(pixels: int) -> w.Layout:
    return w.Layout(width=f"{pixels}px")


def _short() -> dict[str, Any]:
    return {"layout": _wide(136), "style": {"description_width": "56px"}}


def _shrinking() -> dict[str, Any]:
    """Of a list in the left column, which is narrow where a file browser stands beside the notebook."""
    return {"layout": w.Layout(width="160px", flex="0 1 auto", min_width="0"), "style": {"description_width": "46px"}}


class Controls:
    """Every widget of the explorer; `widget` holds them all."""

    def __init__(self, desk: Desk, auto: bool) -> None:
        self.pictures = {name: Picture(name) for name in PICTURES}
        names = desk.names()
        named = {"layout": _wide(284), "style": {"description_width": "64px"}}  # room for the longest name
        self.network = w.Dropdown(options=names, value=desk.network, description="network", **named)
        self.path = w.Text(placeholder="or the path of an .onnx file", continuous_update=False, layout=_wide(200))
        self.compare = w.Dropdown(options=["none", *names], description="compare", **named)
        self.status = w.Dropdown(options=["all", *STATUSES], description="status", **_shrinking())
        self.find = w.Text(placeholder="find a class", layout=w.Layout(flex="1 1 0%", min_width="0"))
        self.find.continuous_update = False
        self.sort = w.Dropdown(options=["index", "margin", "hardness"], description="sort by", **_shrinking())
        self.eps = w.FloatSlider(value=desk.eps_255, min=0.05, max=4, step=0.05, description="1/255", layout=_wide(276))
        self.eps.continuous_update = False
        self.steps = w.BoundedIntText(value=desk.steps, min=1, max=1000, description="steps", **_short())
        self.restarts = w.BoundedIntText(value=desk.restarts, min=1, max=200, description="restarts", **_short())
        self.seed = w.BoundedIntText(value=desk.seed, min=0, max=2**31 - 1, description="seed", **_short())
        self.method = w.Dropdown(options=METHODS, value="crown", description="method", layout=_wide(190))
        self.buttons = {
            name: w.Button(description=text, tooltip=tip, layout=w.Layout(width="auto"), button_style=style)
            for name, text, tip, style in _BUTTONS
        }
        self.auto = w.Checkbox(value=auto, description="attack and CROWN by themselves", indent=False)
        self.card, self.progress, self.basket, self.log = w.HTML(), w.HTML(), w.HTML(), w.HTML()
        self.text = w.Textarea(rows=6, disabled=True, layout=w.Layout(width="98%", display="none"))
        self.as_code = w.ToggleButton(value=False, description="As code", layout=w.Layout(width="auto"))
        self.show_log = w.ToggleButton(value=False, description="Log", layout=w.Layout(width="auto"))
        self.log.layout.display = "none"
        self.widget = self._laid_out()

    def _laid_out(self) -> w.VBox:
        p, b = self.pictures, self.buttons
        p["radius"].height = p["trajectories"].height = 330
        left = w.VBox(
            [w.HBox([self.status, self.find]), self.sort, p["strip"], b["settle"]],
            layout=w.Layout(flex="1 1 272px", max_width="352px", overflow="hidden"),
        )
        pair = w.HBox([p["trajectories"], p["radius"]])
        pair.add_class("nb-pair")
        self.pages = {
            "Margins": w.VBox([p["ladder"]]), "PGD": w.VBox([p["trajectories"]]),
            "Bounds": w.VBox([p["radius"], p["layers"]]), "Image": w.VBox([p["image"]]), "Set": w.VBox([p["set"]]),
            "All": w.VBox([p["ladder"], pair]),
        }  # fmt: skip
        pages = [self.pages[name] for name in TABS]
        self.tabs = w.Tab(pages, titles=TABS, layout=w.Layout(flex="1 1 360px", min_width="0"))
        self.pages["All"].add_class("nb-all")
        wrap = w.Layout(flex_flow="row wrap")
        right = w.VBox(
            [self.card, self.eps, w.HBox([self.steps, self.restarts], layout=wrap), self.seed,
             w.HBox([b["attack"], b["curve"], b["cancel"]], layout=wrap),
             w.HBox([self.method, b["bound"]], layout=wrap),
             self.auto, self.progress],
            layout=w.Layout(width="306px", flex="0 1 auto", padding="0 0 0 8px", overflow="hidden"),
        )  # fmt: skip
        row = [self.basket, b["basket"], b["preview"], b["export"], self.as_code, self.show_log]
        top = w.HBox([w.HTML("<b>nbutils explorer</b>"), self.network, self.path, self.compare], layout=wrap)
        # in a narrow window the right column goes below the others
        middle = w.HBox([left, self.tabs, right], layout=w.Layout(align_items="flex-start", flex_flow="row wrap"))
        whole = w.VBox([top, middle, w.VBox([w.HBox(row, layout=wrap), self.text, self.log])])
        whole.add_class("nb-explorer")
        return whole
