"""What stands on the explorer's screen: every picture, the card and the basket, resolved anew from the desk."""

from __future__ import annotations

from html import escape
from typing import Any

from ..core import class_margins
from . import views
from .controls import Controls
from .desk import Desk
from .jobs import Jobs
from .picture import PICTURES
from .strip import Filter, Sheets, shown_rows

_OF_RESULTS = ("ladder", "trajectories", "layers", "image")
_WHAT = {
    "ladder": "Bounds by IBP follow at once, CROWN-IBP in the background. Press Bound for CROWN.",
    "pgd": "Press Attack (key a) to watch PGD descend: about a second on a small network.",
    "radius": "Press Radius curve: attack and CROWN at seven radii, about 15 seconds on a small network.",
    "set": "Press Settle all: every image passes the filter, one after the other.",
}


class Screen:
    """Fills the widgets of `controls` from `desk`; holds no results."""

    def __init__(self, desk: Desk, controls: Controls, jobs: Jobs) -> None:
        self.desk, self.controls, self.jobs = desk, controls, jobs
        self.within: tuple[str, float, float] | None = None  # margin or hardness, from, to: a filter of the strip
        self.failure = ""  # what went wrong last, shown until the next action
        self._look = views.look()
        self._drawn: tuple[object, ...] = ()  # what was known when pictures were last sent
        self._sheets = Sheets(desk.images)

    def show(self, *parts: str) -> None:
        """Send the named pictures (all of them by default) anew, and those that a notebook's cell made out of date."""
        known = self._known()
        others = () if known == self._drawn else _OF_RESULTS
        self._drawn = known
        wanted = dict.fromkeys((*parts, *others) if parts else (*PICTURES, "basket"))
        makers = {
            "strip": self._strip, "ladder": self._ladder, "trajectories": self._trajectories, "radius": self._radius,
            "layers": self._layers, "image": self._image, "set": self._set,
        }  # fmt: skip
        for name in wanted:
            if name in makers:
                picture = self.controls.pictures[name]
                with picture.hold_sync():  # thumbnails and what stands on them arrive together
                    picture.view = makers[name]()
        if "basket" in wanted:
            self._basket()
        self.facts()

    def _known(self) -> tuple[object, ...]:
        """Which results of the image are known. Cells of the notebook compute in the same session."""
        desk = self.desk
        return desk.place(), desk.trace() is not None, tuple(record.method for record in desk.bounds())

    def _ready(
        self, data: dict[str, Any] | None, otherwise: str, message: str = "", state: str = "ready"
    ) -> dict[str, Any]:
        if data is None:
            return {"state": "empty", "message": otherwise, "data": None}
        return {"state": state, "message": message, "data": data | {"look": self._look}}

    def _strip(self) -> dict[str, Any]:
        desk, controls = self.desk, self.controls
        images, settled = desk.images, desk.settled()
        wanted = Filter(controls.status.value, controls.find.value, self.within, controls.sort.value)
        smallest = desk.session().margins.smallest if wanted.sort == "margin" else None
        rows, fit = shown_rows(images, smallest, settled, wanted)
        sheet = self._sheets.of(rows)
        controls.pictures["strip"].sheet = sheet.png
        data = views.strip_view(images, rows, sheet, settled, desk.row, desk.basket.indices) | {"alt": "images"}
        said = [] if rows else ["no image fits the filter"]
        if self.within is not None:
            kind, low, high = self.within
            said.append(f"only {kind} from {low:.2f} to {high:.2f}; click the bar in Set again to see all")
        if fit > len(rows):
            said.append(f"the first {len(rows):,} of {fit:,}; the filters search all")
        return self._ready(data, "", "; ".join(said))

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
        trace, stale = desk.trace(), desk.stale()
        if trace is not None:
            plane = desk.plane()
            data = views.trajectory_data(desk.partial, trace, True, desk.steps)
            return self._ready(data | {"plane": None if plane is None else views.plane_data(plane)}, "")
        if self.jobs.running is not None and self.jobs.running.name == "PGD" and desk.partial.size:
            return self._ready(views.trajectory_data(desk.partial, None, False, desk.steps), "", "running", "running")
        if stale is not None:
            eps, attack = stale.config.eps, stale.config.attack
            what = f"radius {eps * 255:.2f}/255"
            if eps == desk.config.eps:
                what = f"an attack of {attack.steps} steps and {attack.restarts} restarts, seed {attack.seed}"
            data = views.trajectory_data(desk.partial, stale.known_trace(desk.row), True, desk.steps)
            return self._ready(data, "", f"This is {what}. Press Attack for what is set now.", "stale")
        return self._ready(None, _WHAT["pgd"])

    def _radius(self) -> dict[str, Any]:
        curve = self.desk.curve()
        return self._ready(None if curve is None else views.radius_data(curve, self.desk.images), _WHAT["radius"])

    def _layers(self) -> dict[str, Any]:
        bounds = [record for record in self.desk.bounds() if record.layers]
        return self._ready(views.layers_data(bounds) if bounds else None, _WHAT["ladder"])

    def _image(self) -> dict[str, Any]:
        desk, session = self.desk, self.desk.session()
        trace = desk.trace()
        attacked = None
        if trace is not None:
            attacked = int(
                class_margins(session.network.judge(trace.points), desk.images.labels[[desk.row]]).predicted[0]
            )
        box = session.box_of(desk.row)
        predicted = int(session.margins.predicted[desk.row])
        return self._ready(
            views.image_data(desk.images, desk.row, session.normalization, (box.lower[0], box.upper[0]), trace,
                             (predicted, attacked)), "",
        )  # fmt: skip

    def _set(self) -> dict[str, Any]:
        settled = list(self.desk.settled().values())
        if not settled:
            return self._ready(None, _WHAT["set"])
        data = views.set_data(settled, len(self.desk.images))
        return self._ready(data | {"within": views.plain(self.within)}, "")

    def filter_by(self, within: tuple[str, float, float]) -> None:
        """Show only images whose margin or hardness lies in a range; the same range once more shows all."""
        self.within = None if self.within is not None and self.within[:2] == within[:2] else within
        self.show("strip", "set")

    def _basket(self) -> None:
        desk = self.desk
        by_index = {verdict.index: verdict for verdict in desk.settled().values()}
        names = []
        for index in desk.basket.indices:
            row = desk.session().row_of(index)
            glyph = self._look["status"][by_index[index].status]["glyph"] if index in by_index else "not settled"
            names.append(f"[{escape(desk.images.name_of(int(desk.images.labels[row])))} {glyph}]")
        count = len(desk.open_in_basket())
        self.controls.basket.value = (
            f"<b>basket</b>: {' '.join(names) or 'empty'} &nbsp; {count} open go into a benchmark &nbsp;"
        )

    def facts(self) -> None:
        """Write the card anew, and what is running."""
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
        self.controls.card.value = "<br>".join(lines)
        if self.failure:
            self.controls.progress.value = f"<b style='color:#b3261e'>{escape(self.failure)}</b>"
        elif job is not None:
            self.controls.progress.value = f"<i>running: {escape(job.progress or job.name)}</i>"
        elif "exported" not in self.controls.progress.value:
            self.controls.progress.value = "<i>ready</i>"
        if self.controls.as_code.value:
            self.controls.text.value = desk.code()
