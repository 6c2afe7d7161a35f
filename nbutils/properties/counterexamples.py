"""Counterexamples: the text solvers write, and their replay on the network.

Text 1.0 is VNN-COMP's `((X_0 v) … (Y_0 v) …)`; text 2.0 is the command-line assignment format of the VNN-LIB 2.0
standard (section 5.3): a line `X float32 [1,3,32,32]`, then one value a line in row-major order, then Y the same.

Replay judges as VNN-COMP 2026 scores: the network is run anew by onnxruntime on the CPU, the outputs in the text are
ignored, inputs may leave the box by 1e-4, outputs get no tolerance.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from ..core import Property, PropertyError, class_margins, require
from .s_expressions import Form, Source, fault, number, read_file
from .vnnlib_read import Declared
from .vnnlib_write import VERSIONS, decimal

INPUT_TOLERANCE = 1e-4
"""How far a counterexample may leave the box, absolute, network input space (VNN-COMP 2026 scoring)."""

_VARIABLE = re.compile(r"([XY])_([0-9]{1,9})")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_HEADER = re.compile(r"(\S+)\s+(float32|real)\s+\[([0-9]{1,9}(?:\s*,\s*[0-9]{1,9})*)\]", re.IGNORECASE)


class Judge(Protocol):
    """What replay needs of a network."""

    def judge(self, x: np.ndarray) -> np.ndarray:
        """Logits float32 [N, K] of `x` float32 [N, C, H, W], by onnxruntime on the file."""


@dataclass(frozen=True, eq=False)
class Replay:
    """What a network makes of a claimed counterexample."""

    verdict: Literal["correct", "correct_with_tolerance", "wrong"]
    reason: str  # one sentence
    margin: float  # logits, smallest margin of the label; at most 0 means a rival is level or ahead
    rival: int  # the class with that margin
    outside: float  # largest distance of an input from the box, 0 inside
    logits: np.ndarray  # float32 [K], as judged


def write_counterexample(
    x: np.ndarray, logits: np.ndarray, version: str = "1.0", declared: Sequence[Declared] = ()
) -> str:
    """Text of the point `x` float32 [C, H, W] (network input space) with its `logits` float32 [K].

    Args:
        version: of VNN-LIB.
        declared: the variables of the property, as in `Property.declared`; empty takes those that this package writes.

    Raises:
        ParameterError: for another version.
    """
    require(version in VERSIONS, "version", version, " or ".join(VERSIONS))
    inputs, outputs = np.float32(x).ravel(), np.float32(logits).ravel()
    if version == "1.0":
        pairs = [f"(X_{i} {value!r})" for i, value in enumerate(inputs.tolist())]
        pairs += [f"(Y_{j} {value!r})" for j, value in enumerate(outputs.tolist())]
        return "(" + "\n".join(pairs) + ")\n"
    lines = []
    for variable, array in zip(declared or _usual(np.shape(x), len(outputs)), (inputs, outputs), strict=True):
        lines.append(_variable(*variable))
        lines += [decimal(value) for value in array]
    return "\n".join(lines) + "\n"


def read_counterexample(path: Path | str, prop: Property) -> np.ndarray:
    """The point float32 [C, H, W] in a counterexample file for `prop`, plain or gzipped; see `parse_counterexample`."""
    return parse_counterexample(read_file(path), prop, name=Path(path).name)


def parse_counterexample(text: str, prop: Property, *, name: str) -> np.ndarray:
    """The point float32 [C, H, W] that `text` (1.0 or 2.0, a leading line `sat` allowed) gives for `prop`.

    Outputs are checked for form and otherwise ignored, as replay computes them anew.

    Raises:
        PropertyError: naming file and line, for text of another form, missing or repeated values, wrong sizes.
    """
    lines = text.split("\n")
    first = next((row for row, line in enumerate(lines) if line.strip()), None)
    if first is not None and lines[first].strip() == "sat":
        lines[first] = ""
        first = next((row for row, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise fault(name, "no values", "a counterexample, ((X_0 v) … (Y_0 v) …) or VNN-LIB 2.0 assignments")
    read = _values_1 if lines[first].lstrip().startswith("(") else _values_2
    values = read(lines, prop, name)
    with np.errstate(over="ignore"):
        point = np.asarray(values, np.float32)
    if not np.isfinite(point).all():
        raise fault(name, f"X_{int(np.flatnonzero(~np.isfinite(point))[0])} too large", "numbers that float32 can hold")
    return point.reshape(prop.shape)


def competition_reads(text: str) -> str:
    """What the competition's own reader of 1.0 text would fail on, as a sentence; empty where it reads `text`.

    It takes one list of pairs, X_0, X_1, … and then Y_0, Y_1, …, with nothing before it. 2.0 text is not looked at.
    """
    words = text.strip()
    if words.startswith("sat"):
        return "The competition's own reader fails on the line `sat`: leave it out."
    names = re.findall(r"\(\s*([XY])_(\d+)\s", words) if words.startswith("(") else []
    wanted = sorted(names, key=lambda name: (name[0], int(name[1])))
    if names != wanted:
        first = next(one for one, other in zip(names, wanted, strict=True) if one != other)
        return (
            f"The competition's own reader fails on the order of the values: {'_'.join(first)} stands where "
            "X_0, X_1, … and then Y_0, Y_1, … are expected."
        )
    return ""


def replay(network: Judge, prop: Property, x: np.ndarray) -> Replay:
    """Judge the point `x` float32 [C, H, W] (network input space) against `prop` on `network`.

    Returns:
        Replay: `correct` in the box with a rival level or ahead; `correct_with_tolerance` at most 1e-4 outside;
        else `wrong`.

    Raises:
        PropertyError: for a point of another shape, or not finite.
    """
    shown = tuple(x.shape) if x.shape != prop.shape else "NaN or infinity"
    require(
        x.shape == prop.shape and bool(np.isfinite(x).all()),
        f"{prop.name}: counterexample",
        shown,
        f"finite numbers of shape {prop.shape}",
        error=PropertyError,
    )
    x = np.ascontiguousarray(x, dtype=np.float32)
    flat = x.ravel().astype(np.float64)
    outside = max(0.0, float((prop.lower - flat).max()), float((flat - prop.upper).max()))
    slack, x32 = np.float32(INPUT_TOLERANCE), x.ravel()  # the scorer compares in float32, edges included
    tolerated = bool(((x32 >= prop.lower - slack) & (x32 <= prop.upper + slack)).all())
    logits = network.judge(x[None])
    require(
        logits.shape == (1, prop.classes),
        f"{prop.name}: outputs of the network",
        logits.shape,
        f"(1, {prop.classes}), as the property has {prop.classes} classes",
        error=PropertyError,
    )
    margin, rival, what = _lowest(prop, logits[0])
    ahead = margin <= 0  # False for NaN
    where = "inside the box" if outside == 0 else f"{outside:.3g} outside the box (tolerance {INPUT_TOLERANCE:g})"
    verdict: Literal["correct", "correct_with_tolerance", "wrong"] = "wrong"
    if ahead and outside == 0:
        verdict = "correct"
    elif ahead and tolerated:
        verdict = "correct_with_tolerance"
    return Replay(verdict, f"The point is {where}; {what}, margin {margin:.6g}.", margin, rival, outside, logits[0])


def _lowest(prop: Property, logits: np.ndarray) -> tuple[float, int, str]:
    """Margin that decides `prop` at `logits` [K], the rival it belongs to, and who is ahead, in words."""
    if prop.group:
        rival, best = prop.rivals[0], max(prop.group, key=lambda k: float(logits[k]))
        margin = float(logits[best] - logits[rival])
        everyone = "all others" if len(prop.group) == prop.classes - 1 else f"{len(prop.group)} classes"
        ahead = f"class {rival} is level with or ahead of {everyone}"
        return margin, rival, ahead if margin <= 0 else f"class {best} still leads class {rival}"
    margins = class_margins(logits[None], np.array([prop.label]))
    named = np.isin(margins.rivals[0], prop.rivals) if prop.rivals else np.ones(prop.classes - 1, dtype=bool)
    values, rivals = margins.values[0][named], margins.rivals[0][named]
    column = int(values.argmin())
    margin, rival = float(values[column]), int(rivals[column])
    if margin <= 0:
        return margin, rival, f"class {rival} is level with or ahead of label {prop.label}"
    return margin, rival, f"label {prop.label} still leads" + (f" class {rival}" if prop.rivals else "")


def _output(item: str | Form) -> float | None:
    """Value of an output, as `number`, but nan and inf too: the competition ignores outputs."""
    return float(item) if type(item) is str and _NOT_FINITE.fullmatch(item) else number(item)


def _values_1(lines: list[str], prop: Property, name: str) -> list[float]:
    """Inputs of `((X_0 v) … (Y_0 v) …)` in order of their index."""
    source = Source("\n".join(lines), name)
    if len(source.forms) != 1:
        raise source.fail(source.forms[-1].line, "one list ((X_0 v) … (Y_0 v) …)")
    sizes = {"X": len(prop.lower), "Y": prop.classes}
    found: dict[str, dict[int, float]] = {"X": {}, "Y": {}}
    for pair in source.forms[0]:
        line = getattr(pair, "line", source.forms[0].line)
        match = _VARIABLE.fullmatch(pair[0]) if not isinstance(pair, str) and len(pair) == 2 and pair.head else None
        value = (_output(pair[1]) if match[1] == "Y" else number(pair[1])) if match else None
        if match is None or value is None:
            raise source.fail(line, "pairs (X_i v) and (Y_j v) with finite numbers v")
        letter, index = match[1], int(match[2])
        if index >= sizes[letter] or index in found[letter]:
            allowed = f"{letter}_0 to {letter}_{sizes[letter] - 1}, each once, as {prop.name} declares"
            raise source.fail(line, allowed)
        found[letter][index] = value
    gap = next((i for i in range(sizes["X"]) if i not in found["X"]), None)
    if gap is not None:
        raise fault(name, f"no value of X_{gap}", f"values of X_0 to X_{sizes['X'] - 1}")
    return [found["X"][i] for i in range(sizes["X"])]


def _usual(shape: tuple[int, ...], classes: int) -> tuple[Declared, Declared]:
    """The variables that properties of this package declare."""
    return ("X", "float32", (1, *shape)), ("Y", "float32", (1, classes))


def _variable(name: str, kind: str, dims: tuple[int, ...]) -> str:
    return f"{name} {kind} [{','.join(map(str, dims))}]"


def _values_2(lines: list[str], prop: Property, name: str) -> list[float]:
    """Inputs of the first of two blocks, each a header line and its values; headers say what the property declares."""
    declared = prop.declared or _usual(prop.shape, prop.classes)
    blocks: list[tuple[int, str, list[float]]] = []  # line of the header, what it declares, values
    for row, line in enumerate(lines, 1):
        word = line.strip()
        if not word:
            continue
        if header := _HEADER.fullmatch(word):
            dims = tuple(int(n) for n in header[3].split(","))
            blocks.append((row, _variable(header[1], header[2].lower(), dims), []))
        elif blocks and (value := (number if len(blocks) == 1 else _output)(word)) is not None:
            blocks[-1][2].append(value)
        else:
            raise fault(f"{name}, line {row}", word, "`X float32 [1,C,H,W]`, then one finite number a line, then Y")
    for (row, said, values), variable, size in zip(blocks, declared, (len(prop.lower), prop.classes), strict=False):
        if said != _variable(*variable):  # the scorer compares name, type and shape, input before output
            hint = "VNN-COMP calls a counterexample with other variables malformed"
            raise fault(f"{name}, line {row}", said, f"{_variable(*variable)}, as {prop.name} declares", hint)
        if len(values) != size:
            raise fault(f"{name}, line {row}", f"{len(values)} values", f"{size}, as {prop.name} declares")
    if len(blocks) != 2:
        raise fault(name, f"{len(blocks)} variables", "two, the input and the output")
    return blocks[0][2]
