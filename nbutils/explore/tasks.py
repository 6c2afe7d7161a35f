"""What the explorer computes in the background. Each task is handed the desk, a `Job` to report to, and who is told."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..analysis import box_slice
from ..attacks import run_attack
from ..bounds import margin_bounds
from ..core import METHODS, require
from ..selection import decide
from .desk import Desk
from .jobs import Job

RADII = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Radii of the curve, as multiples of the one that is set."""

PAUSE = 0.3
"""Seconds between two drawings of the strip while images are settled, which may be a thousand a second."""

Changed = Callable[[str], None]
"""Is told, in the thread that computes, which part is new: attack, bounds, radius, status."""


def attack(desk: Desk, job: Job, changed: Changed) -> None:
    """PGD on the image, with every iterate; the margins so far are in `desk.partial` after each step."""
    session, row, place = desk.session(), desk.row, desk.place()
    seen: list[np.ndarray] = []

    def watch(step: int, margins: np.ndarray) -> None:
        seen.append(margins[0])
        job.report(f"PGD, step {step} of {desk.steps}")
        if step % 4 == 0:
            desk.partial = np.stack(seen)
            changed("attack")

    config = replace(session.config.attack, early_stop=False)
    box, labels, key = session.box_of(row), desk.images.labels[[row]], desk.images.ids[row]
    trace = run_attack(session.network, box, labels, (key,), config, keep_paths=True, watch=watch)
    session.keep(row, trace=trace)
    changed("attack")
    job.report("the plane through the box")
    desk.planes[place] = box_slice(session.network, box, int(labels[0]), trace, 0)
    changed("plane")


def bound(desk: Desk, method: str, job: Job, changed: Changed, network: str | None = None) -> None:
    """Bounds of the image by `method`, through the network looked at or another that is held."""
    require(method in METHODS, "method", method, ", ".join(METHODS))
    session, row = desk.session(network), desk.row

    def watch(word: str, number: int, total: int) -> None:
        job.report(f"{method}, {word} {number} of {total}")

    box, labels, config = session.box_of(row), desk.images.labels[[row]], session.config.bounds.by(method)
    session.keep(row, bounds=margin_bounds(session.network, box, labels, config, layers=True, watch=watch))
    changed("bounds")


def radius(desk: Desk, job: Job, changed: Changed) -> None:
    """Attack and CROWN at the radii in `RADII` times the one that is set."""
    place, session, row = desk.place(), desk.session(), desk.row
    session.method = "crown"
    desk.curves[place] = session.radius_curve(row, RADII, watch=lambda *_: job.report("radius curve"))
    changed("radius")


def settle_all(desk: Desk, job: Job, changed: Changed) -> None:
    """The funnel over all images, one after the other; those that are settled are left alone."""
    session, known, told = desk.session(), desk.settled(), -math.inf
    with desk.opened_ledger() as ledger:
        try:
            for row, key in enumerate(desk.images.keys):
                if key not in known:
                    job.report(f"settling image {row + 1} of {len(desk.images)}")
                    verdict = decide(session.network, desk.images, row, session.config, session.normalization)
                    known[key] = verdict
                    if ledger is not None:
                        ledger.add(verdict)
                    if time.monotonic() - told > PAUSE:
                        changed("status")
                        told = time.monotonic()
        finally:  # cancelled, too
            changed("status")
