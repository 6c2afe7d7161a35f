"""All exercises of the lessons, and the function that their checking cells call."""

from __future__ import annotations

from ..core import require
from . import questions_attacks_gap, questions_margins_bounds
from .checking import Exercise, holds

EXERCISES: dict[str, Exercise] = questions_margins_bounds.QUESTIONS | questions_attacks_gap.QUESTIONS
"""By name, as the checking cells call them."""


def check(name: str, answer: object) -> bool:
    """Say whether `answer` solves the exercise `name`, and where it is wrong why; returns whether it is right.

    Raises:
        ParameterError: no exercise of that name.
    """
    require(name in EXERCISES, "exercise", name, ", ".join(EXERCISES))
    exercise = EXERCISES[name]
    if answer is None or answer is ... or (exercise.example and holds(lambda f: f(*exercise.example) is None, answer)):
        print(f"{name}: not solved yet. {exercise.question}")
        return False
    if holds(exercise.right, answer):
        print(f"{name}: right.")
        return True
    hint = next(
        (text for test, text in exercise.hints if holds(test, answer)),
        "that is not it yet; try a smaller case by hand",
    )
    print(f"{name}: not yet. Hint: {hint}.")
    return False
