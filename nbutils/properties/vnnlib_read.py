"""Reading VNN-LIB 1.0 and 2.0: one box of inputs, and a comparison of classes (`claims`).

Taken are files of this package, of the published benchmark and of others that state the same kind of property in
other words (order of bounds, `<=` for `>=`, `and` or an `or` of one around or not, exponents, `(- 0.5)`). A property of
another kind is refused by naming the line, never approximated.

Numbers become the nearest float32, as competition replay compares them (VNN-COMP 2026 scoring).
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from ..core import Property
from .claims import ALLOWED, Claim, Logits, question
from .s_expressions import Form, Source, fault, number, read_file

Declared = tuple[str, str, tuple[int, ...]]

MAX_INPUTS = 2_000_000
_VARIABLE = re.compile(r"[XY]_(0|[1-9][0-9]{0,8})")
_TENSOR = re.compile(r"(float32|real|Real)\[([0-9]{1,9}(?:,[0-9]{1,9})*)\]")
_ONE_BOX = "one box: X_i between two numbers, asserted on its own or in an `and`"


def read_property(
    path: Path | str,
    shape: tuple[int, ...] | None = None,
    *,
    logits: Logits | None = None,
    declared: tuple[int, ...] | None = None,
) -> Property:
    """The property in a file, plain or gzipped; `name` is the file name without folder and `.gz`.

    Arguments are those of `read_text`.

    Raises:
        PropertyError: for a file that cannot be read or is no property of this kind; see `read_text`.
    """
    path = Path(path)
    name = path.name.removesuffix(".gz")
    return read_text(read_file(path), name=name, shape=shape, logits=logits, declared=declared)


def read_text(
    text: str,
    *,
    name: str,
    shape: tuple[int, ...] | None = None,
    logits: Logits | None = None,
    declared: tuple[int, ...] | None = None,
) -> Property:
    """The property that VNN-LIB `text` states, version told by the text itself.

    Args:
        text: VNN-LIB 1.0 or 2.0.
        name: of the property, used in messages too.
        shape: (C, H, W). Without it: the shape declared in 2.0; in 1.0 a square image of three channels or one.
        logits: of the network, for text that names no label.
        declared: input shape of the network's file without the batch, where that is not `shape` (a flat input).

    Raises:
        PropertyError: naming file, line, what was found and what is allowed.
    """
    source = Source(text, name)
    if not source.forms:
        raise fault(name, "no forms", "VNN-LIB text, version 1.0 or 2.0", "The file is empty or holds comments only")
    if source.forms[0].head == "vnnlib-version":
        variables, inputs, outputs = _declared_2(source)
        whole = variables[0][2]
        dims = whole[1:] if len(whole) > 1 and whole[0] == 1 else whole  # without the batch
    else:
        variables = ()
        dims, inputs, outputs = _declared_1(source)
    draft = _Draft(source, inputs, outputs)
    for form in source.forms:
        if form.head == "assert":
            if len(form) != 2:
                raise source.fail(form.line, "one formula in an assert")
            draft.add(form[1], form.line)
    lower, upper = draft.box()
    asked = question(draft.claims, source, len(outputs))
    wanted = tuple(declared or shape or dims)
    if variables and dims != wanted:  # the order of the elements may be another
        hint = "A verifier hands the values to the network as they are declared"
        raise fault(f"{name}: declared shape of the input", variables[0][2], f"{(1, *wanted)}, the network's", hint)
    shape = _shape(name, dims, shape)
    middle = ((lower.astype(np.float64) + upper) / 2).astype(np.float32).reshape(1, *shape)
    label, group = asked.labelled(middle, logits, name)
    return Property(
        lower, upper, label, len(outputs), shape, name, declared=variables, rivals=asked.rivals, group=group
    )


class _Draft:
    """What the assertions of one file said so far."""

    def __init__(self, source: Source, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        self.source = source
        self.inputs = inputs  # variable as written -> flat index
        self.outputs = outputs
        self.lower = [-math.inf] * len(inputs)
        self.upper = [math.inf] * len(inputs)
        self.claims: list[Claim] = []

    def add(self, formula: str | Form, line: int) -> None:
        """Take one asserted formula: bounds, conjunctions of bounds, or the claim on the outputs."""
        todo = [formula]
        while todo:
            item = todo.pop()
            if type(item) is not Form:
                raise self.source.fail(line, _ONE_BOX + "; " + ALLOWED)
            head = item.head
            if head == "and" or (head == "or" and len(item) == 2):  # an `or` of one box is that box
                todo.extend(reversed(item[1:]))
            elif head == "or":
                self.claims.append(Claim(item.line, frozenset(self._pair(term, item.line) for term in item[1:])))
            elif not self._bound(item):
                self.claims.append(Claim(item.line, frozenset([self._pair(item, item.line)])))

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """float32 lower and upper bounds, once every input has both."""
        name, variables = self.source.name, list(self.inputs)
        for side, bounds, end in (("lower", self.lower, -math.inf), ("upper", self.upper, math.inf)):
            if end in bounds:
                raise fault(name, f"no {side} bound of {variables[bounds.index(end)]}", "two bounds for every input")
        for i, (low, high) in enumerate(zip(self.lower, self.upper, strict=True)):
            if low > high:
                raise fault(f"{name}: {variables[i]}", f"lower bound {low} above upper bound {high}", "lower <= upper")
        with np.errstate(over="ignore"):
            lower, upper = np.asarray(self.lower, np.float32), np.asarray(self.upper, np.float32)
        beyond = np.flatnonzero(~(np.isfinite(lower) & np.isfinite(upper)))
        if len(beyond):
            i = int(beyond[0])
            raise fault(f"{name}: {variables[i]}", (self.lower[i], self.upper[i]), "bounds that float32 can hold")
        return lower, upper

    def _bound(self, item: Form) -> bool:
        """Take `item` if it bounds one input by a number; False if it compares outputs only."""
        if item.head not in ("<=", ">=") or len(item) != 3:
            raise self.source.fail(item.line, _ONE_BOX + "; " + ALLOWED)
        small, large = (item[1], item[2]) if item[0] == "<=" else (item[2], item[1])
        if (i := self._find(self.inputs, small)) is not None:
            if (value := number(large)) is None:
                raise self.source.fail(item.line, _ONE_BOX, "Write numbers as -0.5, 1 or 1e-5")
            self.upper[i] = min(self.upper[i], value)
            return True
        if (i := self._find(self.inputs, large)) is not None:
            if (value := number(small)) is None:
                raise self.source.fail(item.line, _ONE_BOX, "Write numbers as -0.5, 1 or 1e-5")
            self.lower[i] = max(self.lower[i], value)
            return True
        return False

    def _pair(self, term: str | Form, line: int) -> tuple[int, int]:
        """(rival, label) of `(>= Y_rival Y_label)`, bare or alone in an `and`."""
        while type(term) is Form and term.head == "and" and len(term) == 2:
            term = term[1]
        if type(term) is not Form or term.head not in ("<=", ">=") or len(term) != 3:
            raise self.source.fail(getattr(term, "line", line), ALLOWED, "Several boxes or sums are not supported")
        label, rival = (term[1], term[2]) if term[0] == "<=" else (term[2], term[1])
        a, b = self._find(self.outputs, rival), self._find(self.outputs, label)
        if a is None or b is None:
            hint = f"{len(self.inputs)} inputs and {len(self.outputs)} outputs are declared"
            raise self.source.fail(term.line, ALLOWED, hint)
        return a, b

    @staticmethod
    def _find(variables: dict[str, int], item: str | Form) -> int | None:
        if type(item) is not str:
            return None
        index = variables.get(item)
        return variables.get(re.sub(r"\s", "", item)) if index is None else index


def _declared_1(source: Source) -> tuple[tuple[int, ...], dict[str, int], dict[str, int]]:
    """Number of inputs, inputs and outputs of `(declare-const X_i Real)` lines."""
    found: dict[str, dict[str, int]] = {"X": {}, "Y": {}}
    for form in source.forms:
        if form.head == "assert":
            continue
        declared = form.head == "declare-const" and len(form) == 3 and form[2] == "Real" and type(form[1]) is str
        if not declared or not _VARIABLE.fullmatch(form[1]):
            raise source.fail(form.line, "(declare-const X_i Real), (declare-const Y_j Real) or (assert …)")
        if form[1] in (seen := found[form[1][0]]):
            raise source.fail(form.line, "each variable declared once")
        seen[form[1]] = int(form[1][2:])
    for letter, seen in found.items():
        _counted(source.name, letter, len(seen))
        gap = next((i for i in range(len(seen)) if f"{letter}_{i}" not in seen), None)
        if gap is not None:
            raise fault(source.name, f"no {letter}_{gap}", f"{letter}_0 to {letter}_{len(seen) - 1}, all declared")
    return (len(found["X"]),), found["X"], found["Y"]


def _declared_2(source: Source) -> tuple[tuple[Declared, ...], dict[str, int], dict[str, int]]:
    """Name, type and shape of input and output of the one network declared, and the elements of both."""
    if list(source.forms[0]) != ["vnnlib-version", "<2.0>"]:
        raise source.fail(source.forms[0].line, "(vnnlib-version <2.0>)")
    networks = [form for form in source.forms[1:] if form.head != "assert"]
    if len(networks) != 1 or networks[0].head != "declare-network":
        line = networks[min(1, len(networks) - 1)].line if networks else 1
        raise source.fail(line, "one (declare-network …) and assertions")
    network = networks[0]
    allowed = "a network with one (declare-input X float32 […]) and one (declare-output Y float32 […])"
    tensors = [part for part in network[2:] if type(part) is Form]
    if len(tensors) != len(network) - 2 or [part.head for part in tensors] != ["declare-input", "declare-output"]:
        raise source.fail(network.line, allowed)
    variables: list[Declared] = []
    elements: list[dict[str, int]] = []
    for part in tensors:
        words = [re.sub(r"\s", "", word) if type(word) is str else "" for word in part[1:]]
        match = _TENSOR.fullmatch(words[1]) if len(words) in (2, 3) else None  # the third names the ONNX tensor
        if not match or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", words[0]):
            raise source.fail(part.line, allowed)
        dims = tuple(int(n) for n in match[2].split(","))
        _counted(source.name, words[0], math.prod(dims))
        variables.append((words[0], match[1].lower(), dims))
        names = (f"{words[0]}[{','.join(map(str, index))}]" for index in np.ndindex(dims))
        elements.append({variable: i for i, variable in enumerate(names)})
    if tensors[0][1] == tensors[1][1]:
        raise source.fail(tensors[1].line, "different names for input and output")
    return tuple(variables), elements[0], elements[1]


def _counted(name: str, variable: str, count: int) -> None:
    if not 0 < count <= MAX_INPUTS:
        raise fault(f"{name}: {variable}", f"{count} elements declared", f"1 to {MAX_INPUTS:,}")


def _shape(name: str, dims: tuple[int, ...], shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """(C, H, W): `shape` if given, else three declared dimensions, else a square image."""
    size = math.prod(dims)
    if shape is not None:
        if math.prod(shape) != size:
            raise fault(f"{name}: inputs", size, f"{math.prod(shape)}, as shape {tuple(shape)} asks")
        return tuple(shape)
    if len(dims) == 3:
        return dims
    for channels in (3, 1):
        side = math.isqrt(size // channels)
        if channels * side * side == size:
            return (channels, side, side)
    raise fault(f"{name}: inputs", size, "a square image of 3 channels or 1", "Pass shape=(C, H, W)")
