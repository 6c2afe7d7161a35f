"""What stands in a written property file, read from the disk again and compared with what was meant.

1.0 is read by this package's reader; 2.0 by the PyPI package `vnnlib`, the parser VNN-COMP 2026 pins, which shares
no code with the writer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import vnnlib
import vnnlib.compat

from ..core import ExportError, Property, PropertyError, specification
from ..properties import read_file, read_text


def check_written(path: Path, prop: Property, version: str) -> None:
    """Compare the file at `path` with `prop`: box float32 for float32, label, number of classes.

    Raises:
        ExportError: naming the file and what differs.
    """
    try:
        text = read_file(path)
        parse = parse_1 if version == "1.0" else parse_2
        lower, upper, terms = parse(text, path.name, prop)
    except (PropertyError, vnnlib.VNNLibException) as problem:
        raise ExportError(f"{path.name}: the written file does not read back: {problem}") from None
    for side, found, meant in (("lower", lower, prop.lower), ("upper", upper, prop.upper)):
        if not np.array_equal(found, meant):
            raise ExportError(f"{path.name}: the {side} bounds read back differ from the box that was analysed.")
    meant = specification(np.array([prop.label]), prop.classes)[0]
    if sorted(map(tuple, terms)) != sorted(map(tuple, meant)):
        raise ExportError(f"{path.name}: the output constraint read back is not the one for label {prop.label}.")


def parse_1(text: str, name: str, prop: Property) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bounds float32 [n] and rows [K-1, K] of the output constraint `row . Y <= 0`, by this package's reader."""
    found = read_text(text, name=name, shape=prop.shape)
    return found.lower, found.upper, found.terms()


def parse_2(text: str, name: str, prop: Property) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bounds float64 [n] and rows [K-1, K] of the output constraint `row . Y <= 0`, by PyPI `vnnlib`.

    Raises:
        PropertyError: several boxes, several rows in one term, constants in a row, another input shape.
        vnnlib.VNNLibException: text that the standard's parser refuses.
    """
    query = vnnlib.parse_query_string(text)
    cases = vnnlib.compat.transform(query)
    if len(cases) != 1 or len(query.networks) != 1 or len(query.networks[0].inputs) != 1:
        raise PropertyError(f"{name}: found {len(cases)} boxes; allowed: one network, one input, one box.")
    if tuple(query.networks[0].inputs[0].shape) != (1, *prop.shape):
        shape = query.networks[0].inputs[0].shape
        raise PropertyError(f"{name}: found input shape {shape}; allowed: {(1, *prop.shape)}.")
    box = np.array(cases[0].input_box, dtype=np.float64)
    polytopes = cases[0].output_constraints
    if any(len(p.rhs) != 1 or p.rhs[0] != 0 for p in polytopes):
        raise PropertyError(f"{name}: found an output term that is no single comparison of two classes.")
    return box[:, 0], box[:, 1], np.array([p.coeff_matrix[0] for p in polytopes])
