"""Which operators can be opened and bounded: python tests/benchmarks/operators.py [--seeds N] [--write FILE]

Each operator in each form is a small network (`tests/bounds/operator_forms.py`). It is opened, each method is checked,
and the bounds of those that hold are compared with the margins of points of the box, computed by onnxruntime.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nbutils.bounds import margin_bounds, method_checks
from nbutils.core import METHODS, BoundsConfig, Box, WorkbenchError, class_margins
from nbutils.networks import open_network

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bounds"))
from operator_forms import INPUT, Form, cases, network

RADII = (0.01, 0.3)
POINTS = 60
SLACK = 1e-3  # relative to the margin (1 if smaller): float32 sums in another order


@dataclass
class Row:
    """What became of one form at one place, over some seeds."""

    form: str
    place: str
    opens: bool = True
    held: tuple[str, ...] = ()
    reason: str = ""  # why it does not open, or why the first method that is refused is
    wrong: str = ""  # a bound above a margin


def tried(form: Form, place: str, seeds: Iterable[int], folder: Path) -> Row:
    """One row of the table."""
    row = Row(form.name, place)
    for seed in seeds:
        try:
            net = open_network(network(form, place, seed, folder), device="cpu")
        except WorkbenchError as error:
            row.opens, row.reason = False, short(str(error))
            return row
        checks = method_checks(net)
        held = tuple(check.method for check in checks if check.holds)
        row.held = held if seed == 0 else tuple(method for method in row.held if method in held)
        row.reason = row.reason or next((short(check.reason) for check in checks if not check.holds), "")
        row.wrong = row.wrong or overstated(net, held, seed)
    return row


def overstated(net: object, methods: Iterable[str], seed: int) -> str:
    """The first bound found above a margin that onnxruntime computes in the box; empty if there is none."""
    rng = np.random.default_rng(seed)
    for radius in RADII:
        center = rng.normal(0, 1, (1, *INPUT)).astype(np.float32)
        box = Box(center - np.float32(radius), center + np.float32(radius), center)
        share = rng.random((POINTS, *INPUT), dtype=np.float32)
        share[::2] = share[::2].round()
        points = np.clip(box.lower + (box.upper - box.lower) * share, box.lower, box.upper)
        label = int(net.judge(center)[0].argmax())
        seen = np.concatenate([class_margins(net.judge(p[None]), np.array([label])).values for p in points])
        for method in methods:
            try:
                lower = margin_bounds(net, box, np.array([label]), BoundsConfig(method=method, alpha_steps=3)).lower
            except WorkbenchError as error:  # the guard of proofs, or a failure that the check did not meet
                return f"{method} passes the check, then: {short(str(error))}"
            over = (lower - seen.min(0)).max()
            if over > SLACK * max(1.0, float(np.abs(seen).max())):
                return f"{method} is {over:.3g} above a margin, seed {seed}, radius {radius}"
    return ""


def short(text: str) -> str:
    """The reason without the name of the network, in one line of a table."""
    text = text.split(": ", 1)[-1] if ".onnx" in text.split(": ", 1)[0] else text
    return " ".join(text.split()).replace("|", "/")[:110]


def table(rows: list[Row], seeds: int) -> str:
    """The page `docs/operators.md`."""
    opened = [row for row in rows if row.opens]
    counts = ", ".join(f"{sum(method in row.held for row in opened)} by {method}" for method in METHODS)
    lines = [
        "# Operators",
        "",
        "Which ONNX operators can be opened, and which of them each bound method can bound. Written by",
        f"`python tests/benchmarks/operators.py --seeds {seeds} --write docs/operators.md`. A method is refused for a",
        "network on which it fails or disagrees with the network; the others stay. *Reads* says what the operator is",
        "given: the image, a convolution or a ReLU.",
        "",
        f"{len(rows)} forms: {len(opened)} open; bounded: {counts}; wrong: {sum(bool(row.wrong) for row in rows)}.",
        "",
        f"| operator | reads | {' | '.join(METHODS)} | reason |",
        f"|---|---|{'---|' * len(METHODS)}---|",
    ]
    for row in rows:
        marks = ["yes" if method in row.held else ("no" if row.opens else "-") for method in METHODS]
        reason = f"WRONG: {row.wrong}" if row.wrong else (row.reason if row.opens else f"does not open: {row.reason}")
        lines.append(f"| {row.form} | {row.place} | {' | '.join(marks)} | {reason} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="networks of each form")
    parser.add_argument("--write", type=Path, help="file for the table; by default it is printed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [tried(form, place, range(args.seeds), Path(folder)) for form, place in cases()]
    page = table(rows, args.seeds)
    print(page) if args.write is None else args.write.write_text(page, encoding="utf-8")
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
