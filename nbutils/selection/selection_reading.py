"""Reading selection files: every line checked, one message naming file and line for whatever is wrong."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

from ..core import STATUSES, Normalization, ParameterError, SelectionError, Verdict, check_eps, foreign_json, require
from .selection_writing import ALPHA, COLUMNS, FORMAT, HEADER, KEPT, Selection, cell

MAX_BYTES = 50 * 10**6
_HINT = "Restore the file, or export it again: python -m nbutils select … --export"
_ID, _WHOLE, _WORDS = (
    re.compile("[0-9a-f]{64}"),
    re.compile("[0-9]{1,9}"),
    re.compile("[A-Za-z][A-Za-z0-9 ()+_-]{0,60}"),
)


def read_selection(path: Path | str, network_sha256: str | None = None) -> Selection:
    """The selection in the file `path`, every line checked.

    Args:
        network_sha256: of the ONNX file it has to be about.

    Raises:
        SelectionError: naming file and line: missing or damaged file, numbers that contradict each other, another
            network.
    """
    path = Path(path)
    hint = "Record one: python -m nbutils select NETWORK --images cifar100 --export " + str(path)
    require(path.is_file(), str(path), "no such file", "a selection file", hint, error=SelectionError)
    size = path.stat().st_size
    require(size <= MAX_BYTES, str(path), f"{size} bytes", f"at most {MAX_BYTES}", error=SelectionError)
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise SelectionError(f"{path}: cannot be read ({problem}); allowed: ASCII text. {_HINT}.") from None
    header = _read_header(path, lines)
    table = len(HEADER)
    plain, wide = ",".join(COLUMNS), ",".join([*COLUMNS, ALPHA])
    _check(len(lines) > table and lines[table] in (plain, wide), path, table, lines, plain)
    rows, alpha = range(table + 1, len(lines)), {}
    if lines[table] == wide:
        alpha = {row: bound for row in rows if (bound := _alpha(path, row, lines)) is not None}
        _check(bool(alpha), path, table, lines, f"a bound in the column {ALPHA}, or no such column")
    try:
        verdicts = tuple(_read_row(path, row, lines) for row in rows)
        bounds = {verdicts[row - table - 1].key: bound for row, bound in alpha.items()}
        selection = dataclasses.replace(_assemble(header, verdicts), alpha=bounds)
        header_again = selection.header()
    except (KeyError, TypeError, ValueError, AttributeError, ParameterError) as problem:
        raise SelectionError(
            f"{path}: found a header that says too little or something else ({problem}). {_HINT}."
        ) from None
    require(
        header_again == header,
        str(path),
        "a header with other entries",
        ", ".join(HEADER),
        _HINT,
        error=SelectionError,
    )
    _check_table(path, selection)
    require(
        network_sha256 in (None, selection.network_sha256),
        str(path),
        f"verdicts about the network file {selection.network_sha256}",
        f"the file that stands in onnx/, {network_sha256}",
        "Restore that ONNX file, or record a selection of this one",
        error=SelectionError,
    )
    return selection


def _alpha(path: Path, row: int, lines: list[str]) -> float | None:
    """Cut the last cell of a line off, and read it; only an open image has a number there, above its other bound."""
    line = lines[row]
    lines[row], _, text = line.rpartition(",")
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    good = value is None or (math.isfinite(value) and repr(value) == text and ",open," in line)
    require(good, f"{path}, line {row + 1}", line, f"a number or nothing in {ALPHA}, of an open image", _HINT,
            error=SelectionError)  # fmt: skip
    return value


def _read_header(path: Path, lines: list[str]) -> dict[str, Any]:
    header: dict[str, Any] = {}
    for row, key in enumerate(HEADER):
        start = f"# {key}: "
        _check(row < len(lines) and lines[row].startswith(start), path, row, lines, f"`{start}` and JSON")
        try:
            header[key] = foreign_json.parse(lines[row].removeprefix(start))
        except ValueError:
            _check(False, path, row, lines, f"`{start}` and JSON")
        _check(key != "format" or header[key] == FORMAT, path, row, lines, FORMAT)
    return header


def _assemble(header: dict[str, Any], verdicts: tuple[Verdict, ...]) -> Selection:
    network, counts = header["network"], header["counts"]
    channels, height, width = network["input_shape"]
    check_eps(header["settings"]["eps"])
    good = all(isinstance(counts[status], int) and counts[status] >= 0 for status in STATUSES)
    numbers = (network["classes"], channels, height, width)
    good &= all(isinstance(number, int) and number > 0 for number in numbers)
    if not (good and isinstance(header["source"], str) and _ID.fullmatch(network["sha256"])):
        raise ValueError("counts, classes, shape, hash or source")
    norm = header["normalization"]
    return Selection(
        network=network["name"],
        network_sha256=network["sha256"],
        input_shape=(channels, height, width),
        classes=network["classes"],
        dataset=network["dataset"],
        settings=header["settings"],
        normalization=Normalization(tuple(map(float, norm["mean"])), tuple(map(float, norm["std"]))),
        source=header["source"],
        counts=counts,
        packages=dict(header["packages"]),
        verdicts=verdicts,
    )


def _read_row(path: Path, row: int, lines: list[str]) -> Verdict:
    """One line of the table; the same line is written from what it says."""
    cells = dict(zip(COLUMNS, lines[row].split(","), strict=False))
    good = lines[row].count(",") == len(COLUMNS) - 1 and bool(_ID.fullmatch(cells["image_id"]))
    good = good and all(_WHOLE.fullmatch(cells[name]) for name in ("index", "label")) and cells["status"] in KEPT
    good = (
        good and bool(_WORDS.fullmatch(cells["decided_by"])) and bool(_WORDS.fullmatch(cells["bound_method"] or "no"))
    )
    _check(good, path, row, lines, "the columns " + ",".join(COLUMNS))
    try:
        natural, attack, bound = (
            float(cells[name]) if cells[name] else None for name in ("natural_margin", "attack_margin", "bound")
        )
    except ValueError:
        _check(False, path, row, lines, "margins and bounds as numbers")
    good = natural is not None and all(map(math.isfinite, (natural, attack or 0.0, bound or 0.0)))
    _check(good, path, row, lines, "finite numbers, the natural margin among them")
    assert natural is not None
    verdict = Verdict(
        image_id=cells["image_id"],
        index=int(cells["index"]),
        label=int(cells["label"]),
        predicted=int(cells["label"]),
        status=cells["status"],
        decided_by=cells["decided_by"],
        natural_margin=natural,
        attack_margin=attack,
        bound=bound,
        bound_method=cells["bound_method"] or None,
    )
    attacked = verdict.status == "attacked"
    good = attack is not None and (attack <= 0) == attacked
    good &= (bound is None) == (verdict.bound_method is None) and (attacked or bound is not None)
    _check(good, path, row, lines, "an attack margin at most 0 where attacked, above 0 and with a bound where open")
    again = ",".join(cell(getattr(verdict, name)) for name in COLUMNS)
    _check(again == lines[row], path, row, lines, f"a line that agrees with itself, {again}")
    return verdict


def _check_table(path: Path, selection: Selection) -> None:
    """Order, repetitions, labels and counts of the whole table."""
    verdicts, first = selection.verdicts, len(HEADER) + 2
    keys = [verdict.key for verdict in verdicts]
    order = [(verdict.index, verdict.key) for verdict in verdicts]
    for row, verdict in enumerate(verdicts):
        good = verdict.label < selection.classes and (row == 0 or order[row - 1] < order[row])
        allowed = f"labels below {selection.classes}, rows in ascending order of their index"
        require(good, f"{path}, line {first + row}", order[row], allowed, _HINT, error=SelectionError)
    require(len(set(keys)) == len(keys), str(path), "an image twice", "each image once", _HINT, error=SelectionError)
    for status in KEPT:
        found, said = len(selection.of(status)), selection.counts[status]
        require(
            found == said, f"{path}: {status} rows", found, f"{said}, as its header says", _HINT, error=SelectionError
        )


def _check(ok: bool, path: Path, row: int, lines: list[str], allowed: str) -> None:
    found = lines[row] if row < len(lines) else "the end of the file"
    require(ok, f"{path}, line {row + 1}", found, allowed, _HINT, error=SelectionError)
