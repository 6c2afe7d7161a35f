"""Properties as VNN-LIB text, versions 1.0 and 2.0, plain and gzipped.

1.0 is byte for byte what the published generator writes for the same float32 bounds (VNN-COMP 2022,
CIFAR100_TinyImageNet_ResNet); 2.0 follows the standard of December 2025 (vnnlib.org), one network with input
`X[0,c,h,w]` and output `Y[0,k]`. Both state the same float32 values.

Sign: a property asks for a counterexample, so the text says `Y_j >= Y_label` for some rival j. The flip from
"all margins positive" to "some margin at most zero" happens here.
"""

from __future__ import annotations

import gzip
import io
import itertools
from collections.abc import Iterable

import numpy as np

from ..core import Property, require

VERSIONS: tuple[str, ...] = ("1.0", "2.0")
"""The versions of VNN-LIB that can be written and read."""

GZIP_LEVEL = 9


def write_text(prop: Property, version: str = "1.0") -> str:
    """`prop` as VNN-LIB text, ASCII, lines ending in a newline.

    Numbers give back the float32 bounds exactly: in 1.0 as Python's `repr` of the float64 value, in 2.0 the same
    digits without an exponent.

    Raises:
        ParameterError: for another version.
    """
    require(version in VERSIONS, "version", version, " or ".join(VERSIONS))
    lines = _lines_1(prop) if version == "1.0" else _lines_2(prop)
    return "\n".join(lines) + "\n"


def decimal(value: np.floating | float) -> str:
    """Shortest decimal of the float64 value: no exponent, always with a point, as 2.0 asks of float constants."""
    return np.format_float_positional(np.float64(value), unique=True, trim="0")


def gzip_bytes(data: str | bytes) -> bytes:
    """`data` gzipped without name or time, so equal data give equal bytes (with the same zlib)."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=buffer, mtime=0) as stream:
        stream.write(data.encode("ascii") if isinstance(data, str) else data)
    return buffer.getvalue()


def _pairs(prop: Property) -> list[tuple[int, int]]:
    """(rival, label) of each comparison."""
    if prop.group:
        return [(prop.rivals[0], k) for k in prop.group]
    return [(j, prop.label) for j in prop.rivals or range(prop.classes) if j != prop.label]


def _claim(prop: Property, terms: Iterable[str]) -> Iterable[str]:
    """Assertions of which one `terms` has to hold, or all of them where the property has a group."""
    if prop.group:
        return (f"(assert {term.strip()})" for term in terms)
    return itertools.chain(("(assert (or",), terms, ("))",))


def _who(prop: Property) -> str:
    if prop.group:
        return f"class {prop.rivals[0]} is level with or ahead of {len(prop.group)} others"
    return f"{'one of the classes named' if prop.rivals else 'some other class'} is level with it or ahead"


def _lines_1(prop: Property) -> Iterable[str]:
    """The published generator's lines; its header names CIFAR100 whatever the data set."""
    bounds = zip(prop.lower.tolist(), prop.upper.tolist(), strict=True)  # float64 values, so repr is the text
    return itertools.chain(
        (f"; CIFAR100 property with label: {prop.label}.", ""),
        (f"(declare-const X_{i} Real)" for i in range(len(prop.lower))),
        ("", ""),
        (f"(declare-const Y_{j} Real)" for j in range(prop.classes)),
        ("", "; Input constraints:"),
        (f"(assert (<= X_{i} {upper!r}))\n(assert (>= X_{i} {lower!r}))\n" for i, (lower, upper) in enumerate(bounds)),
        ("", "; Output constraints:"),
        _claim(prop, (f"\t(and (>= Y_{j} Y_{k}))" for j, k in _pairs(prop))),
    )


def _lines_2(prop: Property) -> Iterable[str]:
    dims = ",".join(str(n) for n in (1, *prop.shape))
    elements = (",".join(str(n) for n in (0, *index)) for index in np.ndindex(prop.shape))
    bounds = zip(elements, prop.lower, prop.upper, strict=True)
    return itertools.chain(
        (
            "(vnnlib-version <2.0>)",
            f"; Counterexample to label {prop.label}: in the box, {_who(prop)}.",
            "",
            "(declare-network N",
            f"\t(declare-input X float32 [{dims}])",
            f"\t(declare-output Y float32 [1,{prop.classes}])",
            ")",
            "",
            "; Input constraints:",
        ),
        (f"(assert (<= X[{e}] {decimal(upper)}))\n(assert (>= X[{e}] {decimal(lower)}))" for e, lower, upper in bounds),
        ("", "; Output constraints:"),
        _claim(prop, (f"\t(>= Y[0,{j}] Y[0,{k}])" for j, k in _pairs(prop))),
    )
