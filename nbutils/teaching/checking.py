"""What an exercise is: which answers are right, and what the usual wrong ones have misunderstood.

An answer is a number, some numbers or a function. A check never compares with one form of the answer: any list, tuple
or array of the right numbers is right, and a function is judged by what it gives on drawn inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Test = Callable[[Any], bool]


@dataclass(frozen=True)
class Exercise:
    """One exercise: its question in a line, what is right, and hints for typical wrong answers, the first that fits."""

    question: str
    right: Test
    hints: tuple[tuple[Test, str], ...]
    example: tuple[Any, ...] = ()  # arguments of a function that is asked for; one that gives None is not written yet


def holds(test: Test, answer: object) -> bool:
    """Whether `answer` passes; what a test cannot take does not."""
    try:
        return bool(test(answer))
    except Exception:  # an answer of any kind may come
        return False


def near(*values: float, tolerance: float = 5e-3) -> Test:
    """Whether an answer is these numbers, in any container, to `tolerance`."""
    wanted = np.array(values)

    def test(answer: object) -> bool:
        found = np.asarray(answer, float).ravel()
        return found.shape == wanted.shape and bool((np.abs(found - wanted) <= tolerance).all())

    return test


def gives(reference: Callable[..., Any], cases: Sequence[tuple[Any, ...]]) -> Test:
    """Whether a function gives what `reference` gives, on every case."""

    def test(answer: Callable[..., Any]) -> bool:
        return all(np.allclose(answer(*case), reference(*case), atol=1e-6) for case in cases)

    return test
