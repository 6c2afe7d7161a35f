"""The measured numbers on a network's card: what each says, and the names under which accuracies are looked up.

`figure_name` is the only place that spells those names: `evaluate` writes them, `zoo` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..core import METHODS, NetworkError, require

_TEXTS = ("unit", "measured_on", "source")
_KNOWN = ("low", "high", "n", "eps", "steps", "restarts")


def figure_name(step: str) -> str:
    """Name on a card of the share of images that pass `step`: `clean`, `pgd` or a bound method."""
    return f"{step} {'accuracy' if step in ('clean', 'pgd') else 'verified'}"


CLEAN, PGD, CROWN = (figure_name(step) for step in ("clean", "pgd", "crown"))
ACCURACIES: tuple[str, ...] = (CLEAN, PGD, *map(figure_name, METHODS))
"""Every accuracy a card can state, in per cent of the images it was measured on; loose to tight."""


@dataclass(frozen=True)
class Figure:
    """One measured number. Who quotes it quotes `measured_on` with it."""

    value: float
    unit: str  # "%", "s", …
    measured_on: str  # which images and how many, which machine where it matters
    source: str  # the command or the record it comes from
    low: float | None = None  # 95 % interval, in `unit`; both ends or none
    high: float | None = None
    n: int | None = None  # number of images measured
    eps: float | None = None  # radius, L-infinity, pixel units; None where there is none, or where nobody noted it
    steps: int | None = None  # of the attack; both or none, as the interval's ends
    restarts: int | None = None

    def __str__(self) -> str:
        ends = (self.low, self.high)
        interval = f"95 % interval {ends[0]:g} to {ends[1]:g}; " if None not in ends else ""
        return f"{self.value:g} {self.unit} ({interval}{self.measured_on})"

    def as_dict(self) -> dict[str, Any]:
        """The fields as a card holds them: what is not known is left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def is_number(value: object) -> bool:
    """A finite int or float; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def read_figures(entries: object, path: Path) -> Mapping[str, Figure]:
    """The figures in a card's JSON; `path` is the card's, for messages.

    Raises:
        NetworkError: naming the figure and what is wrong with it.
    """
    require(isinstance(entries, dict), f"{path}: figures", entries, "an object of figures", error=NetworkError)
    figures = {}
    for key, entry in entries.items():  # type: ignore[attr-defined]
        where = f"{path}: figure {key}"
        known = ", ".join(_KNOWN)
        allowed = f"value (a number), unit, measured_on, source (texts), and where known {known} (numbers)"
        ok = isinstance(entry, dict) and {"value", *_TEXTS} <= set(entry) <= {"value", *_TEXTS, *_KNOWN}
        numbers = [entry[name] for name in ("value", *_KNOWN) if name in entry] if ok else []
        ok = ok and all(map(is_number, numbers)) and all(isinstance(entry[text], str) for text in _TEXTS)
        require(ok, where, entry, allowed, error=NetworkError)
        figures[key] = Figure(**entry)
        _check_numbers(figures[key], key, where)
    return MappingProxyType(figures)


def _check_numbers(figure: Figure, name: str, where: str) -> None:
    ends = (figure.low, figure.high)
    low, high = ends
    whole = ends == (None, None) or (low is not None and high is not None and low <= figure.value <= high)
    require(whole, f"{where}: low, high", ends, f"both ends of an interval around {figure.value:g}", error=NetworkError)
    count = figure.n is None or (isinstance(figure.n, int) and figure.n >= 1)
    require(count, f"{where}: n", figure.n, "a number of images, 1 or more", error=NetworkError)
    attack = (figure.steps, figure.restarts)
    steps, restarts = attack
    counted = isinstance(steps, int) and isinstance(restarts, int) and steps >= 0 and restarts >= 1
    require(
        attack == (None, None) or counted,
        f"{where}: steps, restarts",
        attack,
        "whole numbers, steps from 0 and restarts from 1, both or none",
        error=NetworkError,
    )
    radius = figure.eps is None or 0 < figure.eps < 1
    require(radius, f"{where}: eps", figure.eps, "a radius in pixel units, above 0 and below 1", error=NetworkError)
    if name in ACCURACIES:
        values = [value for value in (figure.value, *ends) if value is not None]
        share = figure.unit == "%" and all(0 <= value <= 100 for value in values)
        require(
            share, where, f"{figure.value:g} {figure.unit}", "a share of the images, 0 to 100 %", error=NetworkError
        )
