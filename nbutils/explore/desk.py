"""What the explorer looks at and everything it can do, without widgets: one network or two, images, a radius, a basket.

A session (`Session`) is kept for every network and setting that was looked at, so that what was computed is there at
once when one comes back to it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis import RadiusCurve, Slice
from ..benchmark import ExportReport
from ..core import (
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
from ..networks import Network
from ..selection import Ledger, run_key
from .basket import Basket
from .opened import OpenedNetworks
from .session import Session

TIMEOUT = 200.0
"""Seconds a solver gets for each exported instance, where nobody says otherwise."""


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
        session: Session | None = None,
    ) -> None:
        """
        Args:
            network: opened, or a name in onnx/ or a path.
            images: what is explored; an `ImageSet` that fits the network.
            eps_255: radius in 1/255 pixel steps.
            steps, restarts, seed: of PGD.
            ledger: file in which "settle all" finds and leaves verdicts of the first network at these settings.
            device: of networks that are opened here.
            session: of this network, images and settings, see `holding`.
        """
        self._networks = OpenedNetworks(device)
        self._sessions: dict[tuple[str, str], Session] = {}
        self.curves: dict[tuple[str, str, str], RadiusCurve] = {}
        self.planes: dict[tuple[str, str, str], Slice] = {}
        self._held = session
        self._base = SelectionConfig() if session is None else session.config
        self.images = images
        self.eps_255, self.steps, self.restarts, self.seed = eps_255, steps, restarts, seed
        self.network = self._networks.open(network)
        self.compare: str | None = None
        self.row = 0
        self.follow: int | None = None  # rival followed in every view
        self.verdicts: dict[tuple[str, str], dict[str, Verdict]] = {}
        self.basket = Basket(session.chosen if session is not None else ())
        self.partial = np.zeros((0, 0), np.float32)  # margins of an attack that runs, [S+1, R]
        if session is not None:
            self._sessions[self.network, self.config.digest] = session
            self.settled().update({verdict.key: verdict for verdict in session.verdicts})
        self.row = self.session().closest_call()
        self._ledger = None if ledger is None else (self.network, self.config.digest, Path(ledger))
        if ledger is not None:
            with self.opened_ledger() as known:
                self.settled().update(known.verdicts(self.images.keys))

    @classmethod
    def holding(cls, session: Session) -> Desk:
        """A desk around a session: its network, images, settings and results; the basket is the session's choice.

        Put an open image into the basket or take it out, and `session.chosen` follows.
        """
        attack = session.config.attack
        desk = cls(session.network, session.images, eps_255=round(session.config.eps * 255, 9), steps=attack.steps,
                   restarts=attack.restarts, seed=attack.seed, session=session)  # fmt: skip
        desk.row = session.row
        session.observe(lambda change: desk.basket.follow(change["new"], desk.settled().values()), "chosen")
        return desk

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
            held = [session for (of, _), session in self._sessions.items() if of == name]
            held.sort(key=lambda session: session.config.eps != self.config.eps)  # bounds of the same radius first
            made = held[0].at(self.config) if held else Session(self._networks[name], self.images, self.config)
            self._sessions[key] = made
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
        self.network = self._fitting(network)
        if self.compare == self.network:
            self.compare = None

    def set_compare(self, network: str | None) -> None:
        """Hold a second network, named or by path, beside the first; None takes it away."""
        name = self._fitting(network) if network else self.network
        self.compare = None if name == self.network else name

    def names(self) -> list[str]:
        """Networks in onnx/, and those opened by path; one that does not fit the images is refused when it is taken."""
        return list(dict.fromkeys([self.network, *self._networks.names()]))

    def _fitting(self, network: str) -> str:
        """The name of a network that is opened where it is not yet; one that does not fit the images is let go."""
        name = self._networks.open(network)
        try:
            self.session(name)
        except WorkbenchError:
            self._networks.forget(name)  # one that was looked at before fits
            raise
        return name

    # ---- what is known

    def trace(self, network: str | None = None) -> AttackTrace | None:
        """PGD on the image, where it was run at these settings."""
        return self.session(network).known_trace(self.row)

    def bounds(self, network: str | None = None) -> list[MarginBounds]:
        """Bounds of the image computed at this radius, cheapest first."""
        return self.session(network).known_bounds(self.row)

    def curve(self) -> RadiusCurve | None:
        """The radius curve of the image, where it was computed."""
        return self.curves.get(self.place())

    def plane(self) -> Slice | None:
        """The plane through the box and PGD's best end points, where the image was attacked."""
        return self.planes.get(self.place())

    def stale(self) -> Session | None:
        """The latest session at other settings in which this image was attacked; None where it was at these."""
        if self.trace() is not None:
            return None
        mine = [session for (name, _), session in reversed(self._sessions.items()) if name == self.network]
        return next((session for session in mine if session.known_trace(self.row) is not None), None)

    def settled(self) -> dict[str, Verdict]:
        """Verdicts by image key, of the network and settings looked at."""
        return self.verdicts.setdefault((self.network, self.config.digest), {})

    def opened_ledger(self) -> AbstractContextManager[Any]:
        """The ledger, where one was named for what is looked at; a ledger belongs to one network and its settings."""
        session = self.session()
        if self._ledger is None or self._ledger[:2] != (self.network, self.config.digest):
            return nullcontext()
        run = run_key(session.network.card.sha256, session.config, session.normalization)
        return Ledger(self._ledger[2], run)

    # ---- the basket

    def toggle(self) -> None:
        """Put the image into the basket, or take it out."""
        self.basket.toggle(int(self.images.indices[self.row]))
        if self._held is not None:
            self._held.chosen = tuple(verdict.index for verdict in self.open_in_basket())

    def open_in_basket(self) -> list[Verdict]:
        """Verdicts of the images in the basket that are open: only those go into a benchmark."""
        return self.basket.open(self.settled().values())

    def export(self, out: Path, *, timeout: float = TIMEOUT) -> ExportReport:
        """Write the open images of the basket as a benchmark, both versions, atomically and read back.

        Raises:
            ParameterError: when none of them is open.
            ExportError: as `export_benchmark`.
        """
        return self.basket.export(self.session(), self.settled().values(), out, timeout)

    def preview(self) -> str:
        """Names of the files that an export would write, and the first property's head."""
        return self.basket.preview(self.session(), self.settled().values(), TIMEOUT)

    def code(self) -> str:
        """The calls that repeat what is on the screen."""
        network = self._networks.reference(self.network)
        return (
            "from nbutils.explore import Desk\n"
            f"desk = Desk({network!r}, images, eps_255={self.eps_255:g}, steps={self.steps}, "
            f"restarts={self.restarts}, seed={self.seed})\n"
            f"desk.choose({self.row})\n"
            "trace = desk.session().trace(desk.row)\n"
            "bounds = [desk.session().bounds(desk.row, method) for method in "
            f"{[b.method for b in self.bounds()] or ['ibp']}]"
        )

    def place(self) -> tuple[str, str, str]:
        """Network, settings and image that are looked at: the key of curves and planes."""
        return self.network, self.config.digest, self.images.keys[self.row]
