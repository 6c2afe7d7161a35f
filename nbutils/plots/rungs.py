"""Rivals of one image resolved into rungs: natural margin, attacked margin, lower bounds, state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core import AttackTrace, MarginBounds, Margins, require
from .style import METHOD, check_row, class_name, fit, method_order, plural, signed

NAME = 22  # characters of a class name beside a row
ROOM = 1.5  # how much farther left than the tightest bounds the picture may reach
REACH = 6.0  # widths of the margins seen that the picture may have: bounds below are cut, or no margin could be read
STATES = ("proven", "broken", "open")


@dataclass(frozen=True)
class Rung:
    """One rival. Margins in logits; `lower` has one bound a method, from loose to tight."""

    rival: int
    name: str
    natural: float
    attacked: float | None
    lower: tuple[float, ...]
    state: str | None  # proven, broken, open; None where neither attack nor bounds are known

    @property
    def seen(self) -> float:
        """Lowest margin anyone has seen in the box."""
        return self.natural if self.attacked is None else min(self.natural, self.attacked)


@dataclass(frozen=True)
class LadderView:
    """The rungs of one image, the weakest margin seen on top."""

    title: str
    methods: tuple[str, ...]
    rungs: tuple[Rung, ...]
    note: str  # what is not shown
    limits: tuple[float, float]  # logits; bars that go on to the left are cut here

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        lines = []
        for rung in self.rungs:
            texts = [f"natural {signed(rung.natural)}"]
            if rung.attacked is not None:
                texts.append(f"attacked {signed(rung.attacked)}")
            texts += [
                f"{METHOD[method].name} at least {signed(bound)}"
                for method, bound in zip(self.methods, rung.lower, strict=True)
            ]
            lines.append(f"{rung.name}: {', '.join(texts)}" + (f" ({rung.state})" if rung.state else ""))
        return f"{self.title}. Margins in logits. {'; '.join(lines)}. {self.note}".strip()


def ladder_view(
    margins: Margins,
    trace: AttackTrace | None = None,
    bounds: Sequence[MarginBounds] = (),
    *,
    row: int = 0,
    top: int = 12,
    class_names: Sequence[str] | None = None,
) -> LadderView:
    """Resolve margins, attack and bounds of image `row` into rungs.

    `trace` and `bounds` are about the images of `margins` in the same order, or about image `row` alone. A rival is
    `broken` where a margin of 0 or less was seen, `proven` where some method's bound is above its
    tolerance, else `open`. Of more than `top` rivals those with the lowest margin seen are kept.

    Raises:
        ParameterError: for a row outside the records, records of other images, or a method given twice.
    """
    row = check_row(row, len(margins.labels))
    require(isinstance(top, int) and top >= 1, "top", top, "a whole number from 1")
    methods = tuple(method_order([b.method for b in bounds]))
    by_method = {b.method: (b.lower[_row_in(b, b.method, margins, row)], b.tolerance) for b in bounds}
    lows = [by_method[method][0] for method in methods]
    proofs = [by_method[method][0] > by_method[method][1] for method in methods]
    values = None if trace is None else trace.values[_row_in(trace, "trace", margins, row)]
    rungs = []
    for column, rival in enumerate(margins.rivals[row]):
        natural = float(margins.values[row, column])
        attacked = None if values is None else float(values[column])
        state = None
        if trace is not None or bounds:
            proven = any(bool(proof[column]) for proof in proofs)
            broken = natural <= 0 or (attacked is not None and attacked <= 0)
            state = "broken" if broken else "proven" if proven else "open"
        lower = tuple(float(low[column]) for low in lows)
        name = fit(class_name(class_names, int(rival)), NAME)
        rungs.append(Rung(int(rival), name, natural, attacked, lower, state))
    rungs.sort(key=lambda rung: (rung.seen, rung.rival))
    shown, rest = tuple(rungs[:top]), rungs[top:]
    return LadderView(_title(margins, row, rungs, class_names), methods, shown, _note(rest), _limits(shown))


def _row_in(record: AttackTrace | MarginBounds, name: str, margins: Margins, row: int) -> int:
    """Row of the image in `record`: `row` itself, or 0 where the record is about this image alone."""
    own = 0 if len(record.rivals) == 1 else row
    same = len(record.rivals) in (1, len(margins.rivals)) and np.array_equal(record.rivals[own], margins.rivals[row])
    require(
        same,
        f"{name}: rivals of image {row}",
        "other rivals than in margins",
        "a record of the same images or of it alone",
    )
    return own


def _title(margins: Margins, row: int, rungs: Sequence[Rung], class_names: Sequence[str] | None) -> str:
    label = fit(class_name(class_names, int(margins.labels[row])), NAME + 8)
    first = rungs[0]
    if first.state is None:
        verb = "leads every rival; closest is" if first.natural > 0 else "does not lead:"
        return f"{label} {verb} {first.name} at {signed(first.natural)}"
    count = {state: sum(rung.state == state for rung in rungs) for state in STATES}
    total = plural(len(rungs), "rival")
    if count["broken"]:
        return f"{label}: {first.name} comes level or ahead, {signed(first.seen)} logits"
    if count["open"]:
        return f"{label}: {count['open']} of {total} open, neither broken nor proven"
    return f"{label}: proven ahead of {'all ' if len(rungs) > 1 else ''}{total} everywhere in the box"


def _note(rest: Sequence[Rung]) -> str:
    if not rest:
        return ""
    parts = [f"{n} {state}" for state in STATES if (n := sum(rung.state == state for rung in rest))]
    states = f": {', '.join(parts)}" if parts else ""
    return f"{plural(len(rest), 'further rival')} from {signed(rest[0].seen)} up{states}"


def _limits(rungs: Sequence[Rung]) -> tuple[float, float]:
    """Every margin seen is inside, the tightest bounds within `REACH` too; loose ones add `ROOM` at most."""
    right = max(0.0, *(max(rung.natural, rung.seen) for rung in rungs), *(rung.attacked or 0.0 for rung in rungs))
    seen = min(0.0, *(rung.seen for rung in rungs))
    tight = min(seen, *(max(rung.lower, default=rung.seen) for rung in rungs))
    loose = min(tight, *(min(rung.lower, default=tight) for rung in rungs))
    far = right - REACH * max(right - seen, 1e-3)
    span = max(right - max(tight, far), 1e-3)
    left = max(loose, right - ROOM * span, far)
    return left - (0.12 if min(rung.natural for rung in rungs) < 0 else 0.04) * span, right + 0.1 * span
