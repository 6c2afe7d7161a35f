"""The explorer on a screen: controls and pictures bound to a desk. Holds no results; every action is one call."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as w
import numpy as np

from ..core import WorkbenchError, root
from . import tasks
from .controls import Controls
from .desk import Desk
from .jobs import Job, Jobs
from .screen import Screen

LOG = logging.getLogger("nbutils.explore")


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
        self._quiet = False
        self.step = -1  # of the replay; -1 is the last one
        self.said: list[str] = []  # errors so far, newest first
        self.controls = Controls(desk, auto)
        self.pictures, self.widget = self.controls.pictures, self.controls.widget
        self.screen = Screen(desk, self.controls, self.jobs)
        self._connect()
        self.show()
        self._at_once()

    def _connect(self) -> None:
        on = self._guarded
        self.controls.network.observe(on(lambda c: self._look_through(c["new"])), "value")
        self.controls.path.observe(on(lambda c: self._open_path(c["new"].strip())), "value")
        self.controls.compare.observe(on(lambda c: self._hold_beside(c["new"])), "value")
        for control in (self.controls.status, self.controls.find, self.controls.sort):
            control.observe(on(lambda _: self.show("strip")), "value")
        self.controls.eps.observe(on(lambda c: self._with_radius(c["new"])), "value")
        for control in (self.controls.steps, self.controls.restarts, self.controls.seed):
            control.observe(on(lambda _: self._with_attack()), "value")
        self.controls.as_code.observe(on(lambda c: self._show_code(c["new"])), "value")
        presses: dict[str, Callable[[], object]] = {
            "attack": self.attack, "bound": self.bound, "curve": self.radius, "settle": self.settle,
            "cancel": self.cancel, "basket": self.toggle, "preview": self.preview, "export": self.export,
        }  # fmt: skip
        for name, press in presses.items():
            self.controls.buttons[name].on_click(on(partial(_press, press)))
        self.controls.show_log.observe(on(lambda c: self._show_log(c["new"])), "value")
        for name in ("strip", "ladder", "set", "trajectories"):
            self.pictures[name].on_pick(on(self._picked))
        self.pictures["trajectories"].observe(on(lambda c: self._picked(c["new"])), "scrubbed")

    def _guarded(self, act: Callable[[Any], object]) -> Callable[[Any], None]:
        """`act`, whose errors are shown in the panel and logged."""

        def run(change: Any) -> None:
            if self._quiet:
                return
            self.screen.failure = ""
            try:
                act(change)
            except WorkbenchError as error:
                self._fail(error)
                self._name_networks()

        return run

    def _fail(self, error: Exception) -> None:
        LOG.error("%s: %s", type(error).__name__, error)
        self.screen.failure = f"{type(error).__name__}: {error}"
        self.said = [f"{time.strftime('%H:%M:%S')} {self.screen.failure}", *self.said[:19]]
        self._show_log(self.controls.show_log.value)
        self.screen.facts()

    # ---- actions

    def choose(self, row: int) -> None:
        """Look at the image at `row`: image, margins and IBP at once, CROWN-IBP in the background."""
        self.desk.choose(row)
        self.show()
        self._at_once()

    def attack(self) -> Job:
        """Run PGD in the background; its curve grows."""
        self.step = self.pictures["trajectories"].step = -1
        self.desk.partial = np.zeros((0, 0), np.float32)
        return self._start("PGD", partial(tasks.attack, self.desk))

    def bound(self, method: str | None = None) -> Job:
        """Compute bounds by `method` (the one chosen) in the background."""
        chosen = method or self.controls.method.value
        return self._start(chosen, partial(tasks.bound, self.desk, chosen))

    def radius(self) -> Job:
        """Compute the radius curve in the background."""
        return self._start("radius curve", partial(tasks.radius, self.desk))

    def settle(self) -> Job:
        """Settle all images in the background."""
        return self._start("settle all", partial(tasks.settle_all, self.desk))

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
        self.controls.progress.value = f"<b>exported</b>: {escape(report.describe())}"

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
            self.controls.status.value = str(what["status"])
        elif "key" in what:
            step = {"[": -0.25, "]": 0.25}.get(what["key"])
            if step is not None:
                self.controls.eps.value = min(
                    self.controls.eps.max, max(self.controls.eps.min, self.controls.eps.value + step)
                )
            else:
                presses: dict[str, Callable[[], object]] = {
                    "a": self.attack, "b": self.bound, "c": self.cancel, " ": self.toggle, "?": self._help,
                    ",": partial(self._replay, -1), ".": partial(self._replay, 1),
                }  # fmt: skip
                presses[what["key"]]()
        elif "within" in what:
            kind, low, high = what["within"]
            self.screen.filter_by((str(kind), float(low), float(high)))
        elif "step" in what:
            self.step = int(what["step"])

    def _show_log(self, shown: bool) -> None:
        lines = "<br>".join(map(escape, self.said)) or "no error so far"
        self.controls.log.value, self.controls.log.layout.display = lines, "block" if shown else "none"

    def _help(self) -> None:
        keys = {"arrows": "choose", "a": "attack", "b": "bound", "c": "cancel", "space": "basket", "[ ]": "radius",
                ", .": "step"}  # fmt: skip
        self.controls.progress.value = ", ".join(f"<b>{key}</b> {what}" for key, what in keys.items())

    def _look_through(self, name: str) -> None:
        self.desk.set_network(name)
        self.show()
        self._at_once()

    def _open_path(self, path: str) -> None:
        """Look through a network that is not in onnx/; it joins the two lists."""
        if not path:
            return
        self.desk.set_network(path)
        self._name_networks()
        self.show()
        self._at_once()

    def _name_networks(self) -> None:
        """Let the two lists name and choose the networks as the desk does, also after one was refused."""
        names, c = self.desk.names(), self.controls
        self._quiet = True
        try:
            c.network.options, c.network.value = names, self.desk.network
            c.compare.options, c.compare.value = ["none", *names], self.desk.compare or "none"
        finally:
            self._quiet = False

    def _hold_beside(self, name: str) -> None:
        self.desk.set_compare(None if name == "none" else name)
        self.show("ladder")
        self._at_once()

    def _with_radius(self, eps_255: float) -> None:
        self.desk.set_radius(eps_255)
        self.show()
        self._at_once()

    def _with_attack(self) -> None:
        self.desk.set_attack(
            steps=self.controls.steps.value, restarts=self.controls.restarts.value, seed=self.controls.seed.value
        )
        self.show()

    def _show_code(self, shown: bool) -> None:
        self._text(self.desk.code() if shown else "")

    def preview(self) -> None:
        """Name the files that an export would write."""
        self.controls.as_code.value = False
        self._text(self.desk.preview())

    def _text(self, text: str) -> None:
        self.controls.text.value, self.controls.text.layout.display = text, "block" if text else "none"

    def _replay(self, by: int) -> None:
        """Step back or forth in the replay of the attack."""
        trace = self.desk.trace()
        if trace is not None:
            last = int(np.isfinite(trace.margins[0]).any(axis=1).sum()) - 1
            self.step = max(0, min(last, (last if self.step < 0 else self.step) + by))
            self.pictures["trajectories"].step = self.step

    # ---- jobs

    def _at_once(self) -> None:
        """Bounds that are cheap, and with `auto` the others too, for the image looked at."""
        self.jobs.cancel()
        networks = [None] + ([self.desk.compare] if self.desk.compare else [])
        for network in networks:
            for method in ("ibp", "crown-ibp"):
                known = {bounds.method for bounds in self.desk.bounds(network)}
                if method not in known:
                    self._start(method, partial(tasks.bound, self.desk, method, network=network))
        if self.controls.auto.value:
            self.attack()
            self.bound("crown")

    def _start(self, name: str, work: Callable[[Job, Callable[[str], None]], None]) -> Job:
        return self.jobs.start(Job(name, lambda job: work(job, self._news), self._ended))

    def _news(self, part: str) -> None:
        """Called in the worker thread: something that is on the screen is new."""
        pictures = {
            "attack": ("trajectories", "ladder", "image"), "plane": ("trajectories",), "bounds": ("ladder", "layers"),
            "radius": ("radius",),
        }  # fmt: skip
        self.show(*pictures.get(part, ("strip", "set", "basket")))
        self.screen.facts()

    def _ended(self, job: Job) -> None:
        if job.error is not None:
            self._fail(job.error)
        self.show("trajectories", "ladder", "basket")

    def _job_changed(self, job: Job | None) -> None:
        self.screen.facts()

    def show(self, *parts: str) -> None:
        """Send the named pictures (all of them by default) anew."""
        self.screen.show(*parts)


def _press(press: Callable[[], object], _: w.Button) -> None:
    press()
