"""The explorer on a screen: controls and pictures bound to a desk. Holds no results; every action is one call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as w
import numpy as np

from ..core import METHODS, STATUSES, WorkbenchError, class_margins, root
from . import views
from .desk import Desk
from .jobs import Job, Jobs
from .picture import Picture

TABS = ("Margins", "PGD", "Bounds", "Image", "Set", "All")
LOG = logging.getLogger("nbutils.explore")
SHOWN = 1000
"""Most thumbnails in the strip; the filter finds the others."""

_WHAT = {
    "ladder": "Bounds by IBP follow at once, CROWN-IBP in the background. Press Bound for CROWN.",
    "pgd": "Press Attack (key a) to watch PGD descend: about a second on a small network.",
    "radius": "Press Radius curve: attack and CROWN at seven radii, about 15 seconds on a small network.",
    "set": "Press Settle all: every image passes the filter, one after the other.",
}


class Panel:
    """Widgets around a desk. `widget` is what a notebook displays."""

    def __init__(self, desk: Desk, *, out: Path | str = "vnnlib/explored", auto: bool = False) -> None:
        """
        Args:
            desk: what is explored.
            out: folder of an export, below the checkout.
            auto: attack and CROWN start by themselves when another image is chosen.
        """
        self.desk, self.out = desk, Path(out)
        self.jobs = Jobs(self._job_changed)
        self.failure = ""
        self._look = views.look()
        self._sheet = views.sheet(desk.images.take(range(min(SHOWN, len(desk.images)))))
        self._quiet = False
        self.pictures = {name: Picture(name) for name in ("strip", "image", "ladder", "trajectories", "radius", "set")}
        self._controls(auto)
        self._layout()
        self._connect()
        self.show()
        self._at_once()

    # ---- what is on the screen

    def _controls(self, auto: bool) -> None:
        desk = self.desk
        wide = w.Layout(width="260px")
        self.network = w.Dropdown(options=desk.names(), value=desk.network, description="network", layout=wide)
        self.compare = w.Dropdown(options=["none", *desk.names()], description="compare", layout=wide)
        self.status = w.Dropdown(options=["all", *STATUSES], description="status", layout=w.Layout(width="180px"))
        self.find = w.Text(placeholder="find a class", layout=w.Layout(width="110px"), continuous_update=False)
        self.sort = w.Dropdown(options=["index", "margin"], description="sort by", layout=w.Layout(width="180px"))
        self.eps = w.FloatSlider(
            value=desk.eps_255, min=0.05, max=4, step=0.05, description="1/255", layout=w.Layout(width="276px")
        )
        self.eps.continuous_update = False
        small = w.Layout(width="132px")
        self.steps = w.BoundedIntText(value=desk.steps, min=1, max=1000, description="steps", layout=small)
        self.restarts = w.BoundedIntText(value=desk.restarts, min=1, max=200, description="restarts", layout=small)
        self.seed = w.BoundedIntText(value=desk.seed, min=0, max=2**31 - 1, description="seed", layout=small)
        self.method = w.Dropdown(options=METHODS, value="crown", description="method", layout=w.Layout(width="190px"))
        self.buttons = {
            name: w.Button(description=text, tooltip=tip, layout=w.Layout(width="auto"), button_style=style)
            for name, text, tip, style in (
                ("attack", "Attack", "PGD on this image (key a)", "primary"),
                ("bound", "Bound", "lower bounds by the method chosen (key b)", "primary"),
                ("curve", "Radius curve", "attack and bounds against the radius", ""),
                ("settle", "Settle all", "the filter over all images", ""),
                ("cancel", "Cancel", "end what is running (key c)", "warning"),
                ("basket", "In the basket", "put this image in or take it out (key space)", ""),
                ("export", "Export", "write the open images of the basket as a benchmark", "success"),
            )
        }
        self.auto = w.Checkbox(value=auto, description="attack and CROWN by themselves", indent=False)
        self.card, self.progress, self.basket, self.code = w.HTML(), w.HTML(), w.HTML(), w.Textarea(
            rows=4, disabled=True, layout=w.Layout(width="98%", display="none"))  # fmt: skip
        self.as_code = w.ToggleButton(value=False, description="As code", layout=w.Layout(width="auto"))

    def _layout(self) -> None:
        p = self.pictures
        p["radius"].height = p["trajectories"].height = 330
        b = self.buttons
        left = w.VBox([w.HBox([self.status, self.find]), self.sort, p["strip"], b["settle"]],
                      layout=w.Layout(width="352px", flex="0 0 auto", overflow="hidden"))  # fmt: skip
        self.pages = {
            "Margins": w.VBox([p["ladder"]]), "PGD": w.VBox([p["trajectories"]]), "Bounds": w.VBox([p["radius"]]),
            "Image": w.VBox([p["image"]]), "Set": w.VBox([p["set"]]),
            "All": w.VBox([p["ladder"], w.HBox([p["trajectories"], p["radius"]])]),
        }  # fmt: skip
        self.tabs = w.Tab(
            [self.pages[name] for name in TABS], titles=TABS, layout=w.Layout(flex="1 1 0%", min_width="360px")
        )
        right = w.VBox(
            [self.card, self.eps, w.HBox([self.steps, self.restarts]), self.seed,
             w.HBox([b["attack"], b["curve"], b["cancel"]]), w.HBox([self.method, b["bound"]]),
             self.auto, self.progress],
            layout=w.Layout(width="306px", flex="0 0 auto", padding="0 0 0 8px", overflow="hidden"),
        )  # fmt: skip
        bottom = w.VBox([w.HBox([self.basket, b["basket"], b["export"], self.as_code]), self.code])
        top = w.HBox([w.HTML("<b>nbutils explorer</b>"), self.network, self.compare])
        self.widget = w.VBox([top, w.HBox([left, self.tabs, right], layout=w.Layout(align_items="flex-start")), bottom])

        self.widget.add_class("nb-explorer")

    def _connect(self) -> None:
        on = self._guarded
        self.network.observe(on(lambda c: self._look_through(c["new"])), "value")
        self.compare.observe(on(lambda c: self._hold_beside(c["new"])), "value")
        for control in (self.status, self.find, self.sort):
            control.observe(on(lambda _: self.show("strip")), "value")
        self.eps.observe(on(lambda c: self._with_radius(c["new"])), "value")
        for control in (self.steps, self.restarts, self.seed):
            control.observe(on(lambda _: self._with_attack()), "value")
        self.as_code.observe(on(lambda c: self._show_code(c["new"])), "value")
        presses: dict[str, Callable[[], object]] = {
            "attack": self.attack, "bound": self.bound, "curve": self.radius, "settle": self.settle,
            "cancel": self.cancel, "basket": self.toggle, "export": self.export,
        }  # fmt: skip
        for name, press in presses.items():
            self.buttons[name].on_click(on(partial(_press, press)))
        for name in ("strip", "ladder", "set"):
            self.pictures[name].observe(on(lambda c: self._picked(c["new"])), "picked")

    def _guarded(self, act: Callable[[Any], object]) -> Callable[[Any], None]:
        """`act`, whose errors are shown in the panel and logged."""

        def run(change: Any) -> None:
            if self._quiet:
                return
            self.failure = ""
            try:
                act(change)
            except WorkbenchError as error:
                self._fail(error)

        return run

    def _fail(self, error: Exception) -> None:
        LOG.error("%s: %s", type(error).__name__, error)
        self.failure = f"{type(error).__name__}: {error}"
        self._facts()

    # ---- actions

    def choose(self, row: int) -> None:
        """Look at the image at `row`: image, margins and IBP at once, CROWN-IBP in the background."""
        self.desk.choose(row)
        self.show()
        self._at_once()

    def attack(self) -> Job:
        """Run PGD in the background; its curve grows."""
        self.desk.partial = np.zeros((0, 0), np.float32)
        return self._start("PGD", self.desk.attack)

    def bound(self, method: str | None = None) -> Job:
        """Compute bounds by `method` (the one chosen) in the background."""
        chosen = method or self.method.value
        return self._start(chosen, lambda job, changed: self.desk.bound(chosen, job, changed))

    def radius(self) -> Job:
        """Compute the radius curve in the background."""
        return self._start("radius curve", self.desk.radius)

    def settle(self) -> Job:
        """Settle all images in the background."""
        return self._start("settle all", self.desk.settle_all)

    def cancel(self) -> None:
        """End what runs and forget what waits."""
        self.jobs.cancel()

    def toggle(self) -> None:
        """Put the image into the basket, or take it out."""
        self.desk.toggle()
        self.show("strip", "basket")

    def export(self) -> None:
        """Write the open images of the basket."""
        report = self.desk.export(root() / self.out)
        self.progress.value = f"<b>exported</b>: {escape(report.describe())}"

    def close(self) -> None:
        """End the jobs and take the widgets away; no thread is left."""
        self.jobs.cancel()
        self.jobs.wait()
        self.widget.close()

    def _picked(self, what: dict[str, Any]) -> None:
        if "row" in what:
            self.choose(int(what["row"]))
        elif "rival" in what:
            rival = int(what["rival"])
            self.desk.follow = None if self.desk.follow == rival else rival
            self.show("ladder")
        elif "status" in what:
            self.status.value = str(what["status"])
        elif "key" in what:
            step = {"[": -0.25, "]": 0.25}.get(what["key"])
            if step is not None:
                self.eps.value = min(self.eps.max, max(self.eps.min, self.eps.value + step))
            else:
                {"a": self.attack, "b": self.bound, "c": self.cancel, " ": self.toggle, "?": self._help}[what["key"]]()

    def _help(self) -> None:
        self.progress.value = (
            "arrows choose, <b>a</b> attack, <b>b</b> bound, <b>c</b> cancel, <b>space</b> basket, <b>[ ]</b> radius"
        )

    def _look_through(self, name: str) -> None:
        self.desk.set_network(name)
        self.show()
        self._at_once()

    def _hold_beside(self, name: str) -> None:
        self.desk.set_compare(None if name == "none" else name)
        self.show("ladder")
        self._at_once()

    def _with_radius(self, eps_255: float) -> None:
        self.desk.set_radius(eps_255)
        self.show()
        self._at_once()

    def _with_attack(self) -> None:
        self.desk.set_attack(steps=self.steps.value, restarts=self.restarts.value, seed=self.seed.value)
        self.show()

    def _show_code(self, shown: bool) -> None:
        self.code.value, self.code.layout.display = self.desk.code(), "block" if shown else "none"

    # ---- jobs

    def _at_once(self) -> None:
        """Bounds that are cheap, and with `auto` the others too, for the image looked at."""
        self.jobs.cancel()
        networks = [None] + ([self.desk.compare] if self.desk.compare else [])
        for network in networks:
            for method in ("ibp", "crown-ibp"):
                known = {bounds.method for bounds in self.desk.bounds(network)}
                if method not in known:
                    self._start(method, partial(self._bound, method, network))
        if self.auto.value:
            self.attack()
            self.bound("crown")

    def _bound(self, method: str, network: str | None, job: Job, changed: Callable[[str], None]) -> None:
        self.desk.bound(method, job, changed, network)

    def _start(self, name: str, work: Callable[[Job, Callable[[str], None]], None]) -> Job:
        return self.jobs.start(Job(name, lambda job: work(job, self._news), self._ended))

    def _news(self, part: str) -> None:
        """Called in the worker thread: something that is on the screen is new."""
        pictures = {"attack": ("trajectories", "ladder", "image"), "bounds": ("ladder",), "radius": ("radius",)}
        self.show(*pictures.get(part, ("strip", "set", "basket")))
        self._facts()

    def _ended(self, job: Job) -> None:
        if job.error is not None:
            self._fail(job.error)
        self.show("trajectories", "ladder", "basket")

    def _job_changed(self, job: Job | None) -> None:
        self._facts()

    # ---- views

    def show(self, *parts: str) -> None:
        """Send the named pictures (all of them by default) anew."""
        wanted = parts or ("strip", "ladder", "trajectories", "radius", "image", "set", "basket")
        makers = {
            "strip": self._strip, "ladder": self._ladder, "trajectories": self._trajectories, "radius": self._radius,
            "image": self._image, "set": self._set,
        }  # fmt: skip
        for name in wanted:
            if name in makers:
                self.pictures[name].view = makers[name]()
        if "basket" in wanted:
            self._basket()
        self._facts()

    def _ready(
        self, data: dict[str, Any] | None, otherwise: str, message: str = "", state: str = "ready"
    ) -> dict[str, Any]:
        if data is None:
            return {"state": "empty", "message": otherwise, "data": None}
        return {"state": state, "message": message, "data": data | {"look": self._look}}

    def _strip(self) -> dict[str, Any]:
        desk, settled = self.desk, self.desk.settled()
        rows = list(range(min(SHOWN, len(desk.images))))
        if self.status.value != "all":
            keys = {key for key, verdict in settled.items() if verdict.status == self.status.value}
            rows = [row for row in rows if desk.images.keys[row] in keys]
        if text := self.find.value.strip().lower():
            rows = [row for row in rows if text in desk.images.name_of(int(desk.images.labels[row])).lower()]
        if self.sort.value == "margin":
            rows.sort(key=lambda row: float(desk.session().margins.smallest[row]))
        data = views.strip_view(desk.images, rows, settled, desk.row, desk.basket) | {
            "sheet": self._sheet,
            "alt": "images",
        }
        return self._ready(data, "", "" if rows else "no image fits the filter")

    def _ladder(self) -> dict[str, Any]:
        desk = self.desk
        session = desk.session()
        data = views.ladder_data(session.margins, desk.trace(), desk.bounds(), desk.row, desk.images, desk.follow)
        data["other"] = None
        if desk.compare:
            other = desk.session(desk.compare)
            data["other"] = views.ladder_data(
                other.margins, desk.trace(desk.compare), desk.bounds(desk.compare), desk.row, desk.images, desk.follow
            ) | {"network": desk.compare}
            data["network"] = desk.network
        return self._ready(data, "", "" if desk.bounds() or desk.trace() else _WHAT["ladder"])

    def _trajectories(self) -> dict[str, Any]:
        desk = self.desk
        trace, stale = desk.trace(), desk.stale_radius()
        if trace is not None:
            return self._ready(views.trajectory_data(desk.partial, trace, True, desk.steps), "")
        if self.jobs.running is not None and self.jobs.running.name == "PGD" and desk.partial.size:
            return self._ready(views.trajectory_data(desk.partial, None, False, desk.steps), "", "running", "running")
        if stale is not None:
            old = next(s for (name, _), s in reversed(desk._sessions.items())
                       if name == desk.network and s.known_trace(desk.row) is not None)  # fmt: skip
            data = views.trajectory_data(desk.partial, old.known_trace(desk.row), True, desk.steps)
            return self._ready(data, "", f"This is radius {stale:.2f}/255. Press Attack for the present one.", "stale")
        return self._ready(None, _WHAT["pgd"])

    def _radius(self) -> dict[str, Any]:
        curve = self.desk.curve()
        return self._ready(None if curve is None else views.radius_data(curve, self.desk.images), _WHAT["radius"])

    def _image(self) -> dict[str, Any]:
        desk, session = self.desk, self.desk.session()
        trace = desk.trace()
        attacked = None
        if trace is not None:
            attacked = int(
                class_margins(session.network.judge(trace.points), desk.images.labels[[desk.row]]).predicted[0]
            )
        box = session.box.take([desk.row])
        predicted = int(session.margins.predicted[desk.row])
        return self._ready(
            views.image_data(desk.images, desk.row, session.normalization, (box.lower[0], box.upper[0]), trace,
                             (predicted, attacked)), "",
        )  # fmt: skip

    def _set(self) -> dict[str, Any]:
        settled = list(self.desk.settled().values())
        return self._ready(views.set_data(settled, len(self.desk.images)) if settled else None, _WHAT["set"])

    def _basket(self) -> None:
        desk = self.desk
        by_index = {verdict.index: verdict for verdict in desk.settled().values()}
        names = []
        for index in desk.basket:
            row = desk.session().row_of(index)
            glyph = self._look["status"][by_index[index].status]["glyph"] if index in by_index else "not settled"
            names.append(f"[{escape(desk.images.name_of(int(desk.images.labels[row])))} {glyph}]")
        count = len(desk.open_in_basket())
        self.basket.value = (
            f"<b>basket</b>: {' '.join(names) or 'empty'} &nbsp; {count} open go into a benchmark &nbsp;"
        )

    def _facts(self) -> None:
        desk, job = self.desk, self.jobs.running
        session, row = desk.session(), desk.row
        verdict = desk.settled().get(desk.images.keys[row])
        margins, trace = session.margins, desk.trace()
        rival = int(margins.rivals[row][margins.values[row].argmin()])
        status = (
            "not settled" if verdict is None else f"{self._look['status'][verdict.status]['glyph']} {verdict.status}"
        )
        lines = [
            f"<b>{escape(desk.images.name_of(int(desk.images.labels[row])))}</b>, "
            f"image {int(desk.images.indices[row])}: {status}",
            f"at {desk.eps_255:g}/255, closest rival {escape(desk.images.name_of(rival))}",
            f"margin {margins.smallest[row]:+.2f}" + ("" if trace is None else f", PGD {trace.smallest[0]:+.2f}"),
            *(f"{b.method} {b.smallest[0]:+.2f} ({b.seconds[0]:.1f} s)" for b in desk.bounds()),
        ]
        curve = desk.curve()
        if curve is not None:
            lines.append(
                f"certified {curve.certified_radius() * 255:.2f}/255, attacked {curve.attacked_radius() * 255:.2f}/255"
            )
        self.card.value = "<br>".join(lines)
        if self.failure:
            self.progress.value = f"<b style='color:#b3261e'>{escape(self.failure)}</b>"
        elif job is not None:
            self.progress.value = f"<i>running: {escape(job.progress or job.name)}</i>"
        elif "exported" not in self.progress.value:
            self.progress.value = "<i>ready</i>"
        if self.as_code.value:
            self.code.value = desk.code()


def _press(press: Callable[[], object], _: w.Button) -> None:
    press()
