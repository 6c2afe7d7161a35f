"""What the explorer looks at and everything it can do, without widgets: one network or two, images, a radius, a basket.

A session (`Session`) is kept for every network and setting that was looked at, so that what was computed is there at
once when one comes back to it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis import RadiusCurve, Slice, box_slice
from ..attacks import run_attack
from ..benchmark import ExportReport, export_benchmark
from ..bounds import margin_bounds
from ..core import (
    METHODS,
    AttackConfig,
    AttackTrace,
    ImageSet,
    MarginBounds,
    SelectionConfig,
    Verdict,
    WorkbenchError,
    eps_from_255,
    require,
)
from ..networks import Network, list_networks, open_network
from ..properties import VERSIONS, write_text
from ..selection import Ledger, decide, instances_of, run_key
from .jobs import Job
from .session import Session

RADII = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Radii of the curve, as multiples of the one that is set."""

Changed = Callable[[str], None]
"""Is told, in the thread that computes, which part is new: attack, bounds, radius, status."""


class Desk:
    """State of an exploration. Setters refuse what does not fit and then leave everything as it was."""

    def __init__(
        self,
        network: str | Network,
        images: ImageSet,
        *,
        eps_255: float = 1.0,
        steps: int = 100,
        restarts: int = 20,
        seed: int = 0,
        ledger: Path | str | None = None,
        device: str = "auto",
    ) -> None:
        """
        Args:
            network: opened, or a name in onnx/ or a path.
            images: what is explored; an `ImageSet` that fits the network.
            eps_255: radius in 1/255 pixel steps.
            steps, restarts, seed: of PGD.
            ledger: file in which "settle all" finds and leaves verdicts of the first network at these settings.
            device: of networks that are opened here.
        """
        self._device = device
        self._networks: dict[str, Network] = {}
        self._sessions: dict[tuple[str, str], Session] = {}
        self._curves: dict[tuple[str, str, str], RadiusCurve] = {}
        self._planes: dict[tuple[str, str, str], Slice] = {}
        self._held: Session | None = None
        self._base = SelectionConfig()
        self.images = images
        self.eps_255, self.steps, self.restarts, self.seed = eps_255, steps, restarts, seed
        self.network = self._opened(network)
        self.compare: str | None = None
        self.row = 0
        self.follow: int | None = None  # rival followed in every view
        self.verdicts: dict[tuple[str, str], dict[str, Verdict]] = {}
        self.basket: list[int] = []
        self.partial = np.zeros((0, 0), np.float32)  # margins of an attack that runs, [S+1, R]
        self.row = self.session().closest_call()
        self._ledger = None if ledger is None else (self.network, self.config.digest, Path(ledger))
        if ledger is not None:
            with self._opened_ledger() as known:
                self.settled().update(known.verdicts(self.images.keys))

    @classmethod
    def holding(cls, session: Session) -> Desk:
        """A desk around a session: its network, images, settings and results; the basket is the session's choice.

        Put an open image into the basket or take it out, and `session.chosen` follows.
        """
        attack = session.config.attack
        desk = cls(session.network, session.images, eps_255=round(session.config.eps * 255, 9), steps=attack.steps,
                   restarts=attack.restarts, seed=attack.seed)  # fmt: skip
        desk._base, desk._held = session.config, session
        desk._sessions = {(session.network.name, desk.config.digest): session}
        desk.settled().update({verdict.key: verdict for verdict in session.verdicts})
        desk.basket = list(session.chosen)
        desk.row = session.row
        session.observe(lambda change: desk._follow_choice(change["new"]), "chosen")
        return desk

    def _follow_choice(self, chosen: tuple[int, ...]) -> None:
        """The held session's choice was set elsewhere: the basket keeps what is not open, and takes the new choice."""
        is_open = {verdict.index for verdict in self.settled().values() if verdict.status == "open"}
        kept = [index for index in self.basket if index in chosen or index not in is_open]
        self.basket = kept + [index for index in chosen if index not in kept]

    # ---- what is looked at

    @property
    def config(self) -> SelectionConfig:
        """Settings of the filter at the radius that is set."""
        attack = replace(self._base.attack, steps=self.steps, restarts=self.restarts, seed=self.seed)
        return replace(self._base, eps=eps_from_255(self.eps_255), attack=attack)

    def session(self, network: str | None = None) -> Session:
        """The session of a network (the one looked at) at the present settings."""
        name = network or self.network
        key = (name, self.config.digest)
        if key not in self._sessions:
            self._sessions[key] = Session(self._networks[name], self.images, self.config)
        return self._sessions[key]

    def choose(self, row: int) -> None:
        """Look at the image at `row`."""
        require(0 <= row < len(self.images), "row", row, f"0 to {len(self.images) - 1}")
        self.row, self.follow = int(row), None

    def set_radius(self, eps_255: float) -> None:
        """Take another radius, in 1/255 pixel steps."""
        eps_from_255(eps_255)
        self.eps_255 = float(eps_255)

    def set_attack(self, *, steps: int, restarts: int, seed: int) -> None:
        """Take other settings of PGD."""
        AttackConfig(steps=steps, restarts=restarts, seed=seed)
        self.steps, self.restarts, self.seed = steps, restarts, seed

    def set_network(self, network: str) -> None:
        """Look through another network, named or by path."""
        known = set(self._networks)
        name = self._opened(network)
        try:
            Session(self._networks[name], self.images, self.config)  # refuses images that do not fit
        except WorkbenchError:
            if name not in known:
                del self._networks[name]
            raise
        self.network = name
        if self.compare == name:
            self.compare = None

    def set_compare(self, network: str | None) -> None:
        """Hold a second network beside the first; None takes it away."""
        self.compare = None if network in (None, "", self.network) else self._opened(network)

    def names(self) -> list[str]:
        """Networks in onnx/, and those opened by path; one that does not fit the images is refused when it is taken."""
        return list(dict.fromkeys([self.network, *list_networks(), *self._networks]))

    def _opened(self, network: str | Network) -> str:
        if isinstance(network, Network):
            self._networks[network.name] = network
            return network.name
        if network not in self._networks:
            opened = open_network(network, device=self._device)
            self._networks[opened.name] = opened
            return opened.name
        return network

    # ---- what is known

    def trace(self, network: str | None = None) -> AttackTrace | None:
        """PGD on the image, where it was run at these settings."""
        return self.session(network).known_trace(self.row)

    def bounds(self, network: str | None = None) -> list[MarginBounds]:
        """Bounds of the image computed at this radius, cheapest first."""
        return self.session(network).known_bounds(self.row)

    def curve(self) -> RadiusCurve | None:
        """The radius curve of the image, where it was computed."""
        return self._curves.get(self._curve_key())

    def plane(self) -> Slice | None:
        """The plane through the box and PGD's best end points, where the image was attacked."""
        return self._planes.get(self._curve_key())

    def stale_radius(self) -> float | None:
        """Another radius, 1/255, at which this image was attacked; None where it was at this one, or never."""
        if self.trace() is not None:
            return None
        for (name, _), session in reversed(self._sessions.items()):
            if name == self.network and session.known_trace(self.row) is not None:
                return session.config.eps * 255
        return None

    def settled(self) -> dict[str, Verdict]:
        """Verdicts by image key, of the network and settings looked at."""
        return self.verdicts.setdefault((self.network, self.config.digest), {})

    # ---- jobs: each is handed a `Job` and reports to it

    def attack(self, job: Job, changed: Changed) -> None:
        """PGD on the image, with every iterate; the margins so far are in `partial` after each step."""
        session, row, place = self.session(), self.row, self._curve_key()
        seen: list[np.ndarray] = []

        def watch(step: int, margins: np.ndarray) -> None:
            seen.append(margins[0])
            job.report(f"PGD, step {step} of {self.steps}")
            if step % 4 == 0:
                self.partial = np.stack(seen)
                changed("attack")

        config = replace(session.config.attack, early_stop=False)
        key = self.images.ids[row]
        trace = run_attack(
            session.network, session.box.take([row]), self.images.labels[[row]], (key,), config, keep_paths=True,
            watch=watch,
        )  # fmt: skip
        session.keep(row, trace=trace)
        changed("attack")
        job.report("the plane through the box")
        label = int(self.images.labels[row])
        self._planes[place] = box_slice(session.network, session.box.take([row]), label, trace, 0)
        changed("plane")

    def bound(self, method: str, job: Job, changed: Changed, network: str | None = None) -> None:
        """Bounds of the image by `method`."""
        require(method in METHODS, "method", method, ", ".join(METHODS))
        session, row = self.session(network), self.row

        def watch(word: str, number: int, total: int) -> None:
            job.report(f"{method}, {word} {number} of {total}")

        config = session.config.bounds.by(method)
        bounds = margin_bounds(
            session.network, session.box.take([row]), self.images.labels[[row]], config, layers=True, watch=watch
        )
        session.keep(row, bounds=bounds)
        changed("bounds")

    def radius(self, job: Job, changed: Changed) -> None:
        """Attack and CROWN at the radii in `RADII` times the one that is set."""
        key, session, row = self._curve_key(), self.session(), self.row
        session.method = "crown"
        self._curves[key] = session.radius_curve(row, RADII, watch=lambda *_: job.report("radius curve"))
        changed("radius")

    def settle_all(self, job: Job, changed: Changed) -> None:
        """The funnel over all images, one after the other; those that are settled are left alone."""
        session, known = self.session(), self.settled()
        with self._opened_ledger() as ledger:
            for row, key in enumerate(self.images.keys):
                if key not in known:
                    job.report(f"settling image {row + 1} of {len(self.images)}")
                    verdict = decide(session.network, self.images, row, session.config, session.normalization)
                    known[key] = verdict
                    if ledger is not None:
                        ledger.add(verdict)
                    changed("status")

    def _opened_ledger(self) -> AbstractContextManager[Any]:
        """The ledger, where one was named for what is looked at; a ledger belongs to one network and its settings."""
        session = self.session()
        if self._ledger is None or self._ledger[:2] != (self.network, self.config.digest):
            return nullcontext()
        run = run_key(session.network.card.sha256, session.config, session.normalization)
        return Ledger(self._ledger[2], run)

    # ---- the basket

    def toggle(self) -> None:
        """Put the image into the basket, or take it out."""
        index = int(self.images.indices[self.row])
        if index in self.basket:
            self.basket.remove(index)
        else:
            self.basket.append(index)
        if self._held is not None:
            self._held.chosen = tuple(verdict.index for verdict in self.open_in_basket())

    def open_in_basket(self) -> list[Verdict]:
        """Verdicts of the images in the basket that are open: only those go into a benchmark."""
        by_index = {verdict.index: verdict for verdict in self.settled().values()}
        found = [by_index[index] for index in self.basket if index in by_index]
        return [verdict for verdict in found if verdict.status == "open"]

    def export(self, out: Path, *, timeout: float = 200.0) -> ExportReport:
        """Write the open images of the basket as a benchmark, both versions, atomically and read back.

        Raises:
            ParameterError: when none of them is open.
            ExportError: as `export_benchmark`.
        """
        chosen = self.open_in_basket()
        hint = "Settle the images first; misclassified, attacked and verified ones are no open questions"
        require(bool(chosen), "basket", f"{len(self.basket)} images, none of them open", "one open image or more", hint)
        session = self.session()
        instances = instances_of(chosen, self.images, session.network, session.config, timeout)
        return export_benchmark(instances, out, manifest=session.manifest(made_by="notebooks/explore.ipynb"))

    def preview(self) -> str:
        """Names of the files that an export would write, and the first property's head."""
        chosen = self.open_in_basket()
        if not chosen:
            return "No open image is in the basket: nothing would be written."
        session = self.session()
        instances = instances_of(chosen, self.images, session.network, session.config, 200.0)
        names = [f"{version}/vnnlib/{item.property.name}" for version in VERSIONS for item in instances]
        files = ["manifest.json", *(f"{version}/instances.csv" for version in VERSIONS), *names]
        files += [f"{version}/onnx/{session.network.name}.onnx" for version in VERSIONS]
        head = "\n".join(write_text(instances[0].property, "2.0").splitlines()[:9])
        return "\n".join(sorted(files)) + f"\n\n{instances[0].property.name}, version 2.0, begins:\n{head}"

    def code(self) -> str:
        """The calls that repeat what is on the screen."""
        return (
            "from nbutils.explore import Desk, Jobs, Job\n"
            f"desk = Desk({self.network!r}, images, eps_255={self.eps_255:g}, steps={self.steps}, "
            f"restarts={self.restarts}, seed={self.seed})\n"
            f"desk.choose({self.row})\n"
            "trace = desk.session().trace(desk.row)\n"
            "bounds = [desk.session().bounds(desk.row, method) for method in "
            f"{[b.method for b in self.bounds()] or ['ibp']}]"
        )

    def _curve_key(self) -> tuple[str, str, str]:
        return self.network, self.config.digest, self.images.ids[self.row]
