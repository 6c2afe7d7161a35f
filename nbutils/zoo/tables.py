"""The zoo as tables: aligned text for terminals, CSV for other programs, Markdown for the notebook."""

from __future__ import annotations

import csv
import html
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..core import METHODS, ExportError
from ..networks import CLEAN, CROWN, PGD, Figure, figure_name, training_runs
from .entries import PUBLISHED_MEASURE, Entry, same_attack, same_radius

NONE, MINUS, TO = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{EN DASH}"
CSV_COLUMNS = (
    "network", "figure", "status", "eps", "steps", "restarts", "measured", "low", "high", "images", "published",
    "difference",
)  # fmt: skip
_TITLES = {CLEAN: "clean", PGD: "PGD"} | {
    figure_name(method): method.upper().replace("ALPHA", "\N{GREEK SMALL LETTER ALPHA}") for method in METHODS
}


def title(name: str, figure: Figure | None = None) -> str:
    """Short name of an accuracy: `clean`, `PGD`, `CROWN`; and radius and attack that are not the published ones."""
    note = measure_note(name, figure)
    return _TITLES[name] + (f" ({note})" if note else "")


def measure_note(name: str, figure: Figure | None) -> str:
    """Radius and size of the attack that `figure` was measured with, where they are not the published ones."""
    if figure is None or name == CLEAN:
        return ""
    notes = []
    if not same_radius(figure.eps, PUBLISHED_MEASURE.eps):
        notes.append("radius unknown" if figure.eps is None else f"at {figure.eps * 255:.3g}/255")
    if name == PGD and not same_attack(figure, PUBLISHED_MEASURE):
        known = None not in (figure.steps, figure.restarts)
        notes.append(f"{figure.steps} x {figure.restarts} steps" if known else "steps unknown")
    return ", ".join(notes)


def status(entry: Entry, name: str) -> str:
    """`measured`, `not measured`, or `not trained yet` where there is no ONNX file."""
    if entry.file is None:
        return "not trained yet"
    return "not measured" if entry.measured(name) is None else "measured"


def accuracy_csv(entries: Iterable[Entry]) -> str:
    """A row for each network and accuracy: per cent, radius in pixel units, size of PGD, empty where unknown."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for entry in entries:
        for name in entry.steps:
            f, difference = entry.measured(name), entry.difference(name)
            numbers = (f.eps, f.steps, f.restarts, f.value, f.low, f.high, f.n) if f else (None,) * 7
            away = None if difference is None else round(difference, 2)
            writer.writerow(
                [entry.name, name, status(entry, name), *numbers, entry.published_accuracy(name), away]
            )  # fmt: skip
    return buffer.getvalue()


def write_csv(path: Path, entries: Iterable[Entry]) -> Path:
    """Write `accuracy_csv` to `path`; the file appears whole or not at all.

    Raises:
        ExportError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(accuracy_csv(entries), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written ({error.strerror}). Choose another file.") from None
    return path


def accuracy_text(entries: Iterable[Entry]) -> str:
    """The same rows aligned for a terminal, network by network."""
    head = ("network", "accuracy, %", "measured", "95 % interval", "images", "published", "difference")
    rows = [head]
    for entry in entries:
        for row, name in enumerate(entry.steps):
            f, state = entry.measured(name), status(entry, name)
            value = state if f is None else f"{f.value:.2f}"
            published, difference = entry.published_accuracy(name), entry.difference(name)
            rows.append(
                (
                    entry.name if row == 0 else "",
                    title(name, f),
                    value,
                    interval(f, "-").replace(TO, "to"),
                    f"{f.n:,}" if f and f.n else "-",
                    "-" if published is None else f"{published:.2f}",
                    "-" if difference is None else f"{difference:+.2f}",
                )
            )
    return _aligned(rows, left=2)


def accuracy_markdown(entries: Iterable[Entry]) -> str:
    """A row a network: clean, PGD and CROWN accuracy, each measured, published and the difference in points."""
    steps = (CLEAN, PGD, CROWN)
    rows = []
    for entry in entries:
        cells = [f"**{plain(entry.name)}**"]
        for name in steps:
            f = entry.measured(name)
            where = f", {note}" if (note := measure_note(name, f)) else ""
            spread = f" ({interval(f)})" if f is not None and f.low is not None else ""
            cells.append(status(entry, name) if f is None else f"{f.value:.2f}{spread}{where}")
            published = entry.published_accuracy(name)
            cells += [NONE if published is None else f"{published:.2f}", signed(entry.difference(name))]
        rows.append(cells)
    head = ["network", *(word for name in steps for word in (f"{title(name)}, %", "published", "difference"))]
    return _markdown(head, rows, left=1)


def architecture_markdown(entries: Iterable[Entry]) -> str:
    """A row a network: input, parameters, layers and size of the ONNX file beside the published."""
    rows = []
    for entry in entries:
        file, published = entry.file, entry.published
        shape = NONE if file is None else " x ".join(map(str, file.input_shape))
        pairs = (
            (file and f"{file.parameters:,}", published and f"{published.network.parameters:,}"),
            (file and f"{file.layers}", published and f"{published.layers}"),
            (file and f"{file.megabytes:.1f}", published and f"{published.megabytes:.1f}"),
        )
        same = {True: "yes", False: "**no**", None: NONE}[entry.as_published]
        rows.append([f"**{plain(entry.name)}**", shape, *(cell or NONE for pair in pairs for cell in pair), same])
    head = ["network", "input", "parameters", "published", "layers", "published", "ONNX, MB", "published", "same build"]
    return _markdown(head, rows, left=2)


def recipes_markdown(entries: Iterable[Entry]) -> str:
    """How each network here was trained, its last run first, and where its figures come from, as its card says."""
    parts = []
    for entry in entries:
        if entry.file is None:
            continue
        runs = [plain(run) for run in training_runs(entry.file.recipe)]
        recipe = "\n".join(f"1. {run}" for run in runs) or "The card does not say how it was trained."
        dataset = plain(entry.file.dataset or "unknown")
        lines = [f"### {plain(entry.name)}", "", f"Data set {dataset}, SHA-256 `{entry.file.sha256}`", "", recipe, ""]
        origins: dict[tuple[str, str], list[str]] = {}
        for name in entry.steps:
            if (f := entry.measured(name)) is not None:
                origins.setdefault((f.measured_on, f.source), []).append(f"{title(name, f)} {f.value:g} %")
        lines += [f"- {', '.join(shown)}: {plain(on)}; {plain(source)}" for (on, source), shown in origins.items()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) or "No network is here yet."


def interval(figure: Figure | None, missing: str = NONE) -> str:
    """The 95 % interval of `figure` as text, `36.0–37.8`."""
    if figure is None or figure.low is None or figure.high is None:
        return missing
    return f"{figure.low:.1f} {TO} {figure.high:.1f}"


def signed(value: float | None) -> str:
    """A difference in points with its sign; a dash for None."""
    return NONE if value is None else f"{value:+.2f}".replace("-", MINUS)


def plain(text: str) -> str:
    """`text` of a stranger's card so that Markdown shows it as it is: no markup, no HTML, one line."""
    return re.sub(r"([\\`*_\[\]#|~$])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int) -> str:
    rule = ["---"] * left + ["--:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def _aligned(rows: Sequence[Sequence[str]], *, left: int) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for cells in rows:
        padded = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
