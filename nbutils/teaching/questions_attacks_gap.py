"""The exercises of lessons 2 and 4: attacks, and the gap between attacks and bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .branching import smallest_margin_in
from .checking import Exercise, gives, near
from .small_network import TOY


def pgd_step(x: np.ndarray, gradient: np.ndarray, step: float, center: np.ndarray, radius: float) -> np.ndarray:
    """One step down the sign of the margin's gradient, back into the box."""
    return np.clip(x - step * np.sign(gradient), center - radius, center + radius)


def is_counterexample(logits: np.ndarray, label: int) -> bool:
    """Whether some rival is level with the label or ahead."""
    return bool(np.delete(logits, label).max() >= logits[label])


def _steps() -> list[tuple[np.ndarray, np.ndarray, float, np.ndarray, float]]:
    rng = np.random.default_rng(2)
    cases = []
    for _ in range(8):
        center, radius = rng.normal(size=2), float(rng.uniform(0.3, 1))
        x = center + radius * rng.uniform(-1, 1, 2)
        cases.append((x, rng.normal(size=2) * 3, float(rng.uniform(0.3, 0.9)) * radius, center, radius))
    return cases


def _answers() -> list[tuple[np.ndarray, int]]:
    cases = [
        ([1.0, 2.0, 0.0], 0),
        ([2.0, 1.0, 0.0], 0),
        ([1.0, 1.0, 0.0], 0),
        ([0.0, 1.0, 1.0], 2),
        ([3.0, 1.0, 2.0], 2),
    ]
    return [(np.array(logits), label) for logits, label in cases]


def _one_of(*values: float) -> Callable[[object], bool]:
    return lambda answer: any(near(value, tolerance=0.3)(answer) for value in values)


QUESTIONS: dict[str, Exercise] = {
    "gradient": Exercise(
        "The gradient (d/du, d/dv) at (0, 0) of the smallest margin of class 0.",
        near(0, 2),
        (
            (near(2, 0), "that is the gradient of the margin over class 2; the smallest margin is over class 1"),
            (near(0, -2), "this is the way down; the gradient points up"),
            (near(1, 1), "that is the gradient of h1 alone; the margin over class 1 is h1 - h2 + 2.75"),
            (near(0, 0), "both ReLUs are on at (0, 0): h1 = u + v + 1 and h2 = u - v + 1"),
        ),
    ),
    "fgsm_margin": Exercise(
        "The margin over class 1 where one step of FGSM ends, from (0, 0) in the box of radius 1.5.",
        near(0.25),
        (
            (near(-0.25), "that is what the line 2v + 2.75 promises; but h1 stops at 0 when v falls below -1"),
            (near(2.75), "that is the margin at the start; the step goes to (0, -1.5)"),
            (near(5.25), "the step went up; an attack goes against the gradient, to (0, -1.5)"),
            (near(1.75), "a step of FGSM goes to the border of the box, v = -1.5"),
        ),
    ),
    "pgd_step": Exercise(
        "A function of x, gradient, step, center, radius that gives the next point of PGD.",
        gives(pgd_step, _steps()),
        (
            (gives(lambda x, g, s, c, r: np.clip(x + s * np.sign(g), c - r, c + r), _steps()),
             "this climbs; the attack wants the margin lower"),
            (gives(lambda x, g, s, c, r: x - s * np.sign(g), _steps()), "the point may leave the box: project it back"),
            (gives(lambda x, g, s, c, r: np.clip(x - s * g, c - r, c + r), _steps()),
             "in the maximum norm the steepest step is along the sign of the gradient, not the gradient"),
            (gives(lambda x, g, s, c, r: np.clip(x - s * np.sign(g), -r, r), _steps()),
             "the box lies around the center, not around 0"),
            (gives(lambda x, g, s, c, r: np.clip(c - s * np.sign(g), c - r, c + r), _steps()),
             "every step begins where the last one ended, at x"),
        ),
        (np.zeros(2), np.ones(2), 0.5, np.zeros(2), 1.0),
    ),
    "silent_margin": Exercise(
        "The margin, in whole logits, from which on float32's exp(-margin) is 0.",
        near(104, tolerance=0.6),
        (
            (_one_of(87, 87.3, 88),
             "that is where the normal numbers of float32 end; smaller ones follow, down to 1.4e-45"),
            (_one_of(16, 17, 16.6), "there 1 + exp(-margin) becomes 1, but exp(-margin) itself is not 0 yet"),
            (_one_of(745, 746), "that is float64; networks compute in float32"),
        ),
    ),
    "restarts": Exercise(
        "Random starts that hit the needle's hundredth of the box at least once with probability 1/2.",
        near(69, tolerance=0.6),
        (
            (near(50), "half of 100 would be right if no start fell where another one was; they are independent"),
            (near(100), "that many hit once on average, and at least once with probability 0.63"),
            (near(35, tolerance=0.6), "that is for two hundredths; the needle's half-width is 0.01, the box 2 wide"),
            (near(459, tolerance=1), "that is for a probability of 0.99"),
        ),
    ),
    "pattern_count": Exercise(
        "How many of the four patterns of the two ReLUs have an area in the box u, v in [-1, 1].",
        near(3),
        (
            (near(4), "both are off only where u < -1"),
            (near(2), "draw u + v = -1 and u - v = -1: each cuts off a corner"),
            (near(1), "both are on in the middle, but not in the corners"),
        ),
    ),
    "pattern_minimum": Exercise(
        "The smallest margin over class 1 in the part of the box where h1 is off and h2 is on.",
        near(smallest_margin_in(TOY, 0, (0.0, 0.0), 1.0)),
        (
            (near(-0.25), "h2 = 3 would need u = 1, v = -1, where h1 is on; stay where u + v <= -1"),
            (near(2.75), "that is with h2 = 0; the attacker wants h2 large"),
            (near(0.25), "that is CROWN's bound over the whole box; here nothing bends, so the minimum is at a corner"),
            (near(1.75), "at (-1, 0) h2 is not 1 but 0, and it is larger at another corner"),
        ),
    ),
    "gap_radii": Exercise(
        "The radius up to which CROWN proves the toy at (0, 0), and that from which a counterexample exists.",
        near(13 / 12, 11 / 8),
        (
            (near(11 / 8, 13 / 12), "the proven radius comes first; it is the smaller one"),
            (near(7 / 8, 11 / 8), "7/8 is what intervals prove"),
            (near(13 / 12, 13 / 12), "between the two lies a gap: neither proved nor attacked"),
            (near(1, 1.5), "these are radii that were tried; solve 3.25 - 3 r = 0 and 2.75 - 2 r = 0"),
        ),
    ),
    "is_counterexample": Exercise(
        "A function of logits and label: is this point a counterexample?",
        gives(is_counterexample, _answers()),
        (
            (gives(lambda z, y: bool(np.delete(z, y).max() > z[y]), _answers()),
             "level counts too: the property says >="),
            (gives(lambda z, y: bool((np.delete(z, y) >= z[y]).all()), _answers()),
             "one rival is enough; the property joins them with `or`"),
            (gives(lambda z, y: not is_counterexample(z, y), _answers()),
             "this says when the label wins; a property asks for the opposite"),
            (gives(lambda z, y: int(np.argmax(z)) != y, _answers()),
             "argmax takes the first of two that are level, so a tie goes unseen"),
        ),
        (np.array([1.0, 0.0]), 0),
    ),
}  # fmt: skip
"""Of lessons 2 and 4, by name."""
