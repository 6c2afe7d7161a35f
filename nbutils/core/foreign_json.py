"""Read JSON that somebody else may have written."""

from __future__ import annotations

import json
import re
from typing import Any

DEEPEST = 64
"""Levels of nesting; what this package writes has fewer than ten."""

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}


def parse(text: str) -> Any:
    """`text` as JSON.

    The standard library's parser recurses, and ends the process where some package has raised the recursion limit; so
    text nested deeper than `DEEPEST` is refused before it is parsed.

    Raises:
        ValueError: no JSON, or nested too deep.
    """
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", _TEXT.sub("", text)):
        depth += _STEP[bracket]
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")
    return json.loads(text)
