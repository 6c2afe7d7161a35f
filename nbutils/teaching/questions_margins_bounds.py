"""The exercises of lessons 1 and 3: margins and bounds."""

from __future__ import annotations

import numpy as np

from .checking import Exercise, gives, near
from .small_network import TOY


def _logit_cases() -> list[tuple[np.ndarray, int]]:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=5), int(rng.integers(5))) for _ in range(8)]


def smallest_margin(logits: np.ndarray, label: int) -> float:
    """Logit of the label minus the largest other."""
    return float(logits[label] - np.delete(logits, label).max())


def _interval_cases() -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)
    cases = []
    for _ in range(6):
        center, half = rng.normal(size=2), rng.uniform(0.1, 1, 2)
        cases.append((rng.normal(size=(3, 2)), rng.normal(size=3), center - half, center + half))
    return cases


def interval_layer(W: np.ndarray, b: np.ndarray, low: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of W x + b for x between `low` and `up`: by centre and half-width."""
    center, half = (low + up) / 2, (up - low) / 2
    return W @ center + b - np.abs(W) @ half, W @ center + b + np.abs(W) @ half


def _both_ends(W: np.ndarray, b: np.ndarray, low: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return W @ low + b, W @ up + b


def _no_bias(W: np.ndarray, b: np.ndarray, low: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return interval_layer(W, 0 * b, low, up)


def _swapped(W: np.ndarray, b: np.ndarray, low: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lower, upper = interval_layer(W, b, low, up)
    return upper, lower


QUESTIONS: dict[str, Exercise] = {
    "margins_at_origin": Exercise(
        "The two margins of class 0 at (0, 0).",
        near(*TOY.margins(np.zeros(2), 0)),
        (
            (near(-2.75, -3), "the sign: a margin is the logit of the true label minus that of the rival"),
            (near(-1.75, -2), "these are the rivals' logits; subtract them from the logit of class 0"),
            (near(3, 2.75), "the order: rivals come by class number, class 1 first"),
            (near(1, 1), "these are the hidden values; go on to the logits"),
        ),
    ),
    "smallest_margin": Exercise(
        "A function of logits and label that gives the smallest margin.",
        gives(smallest_margin, _logit_cases()),
        (
            (gives(lambda z, y: -smallest_margin(z, y), _logit_cases()), "the sign: label minus rival"),
            (gives(lambda z, y: float(z[y] - z.max()), _logit_cases()),
             "the label is among the rivals here, and its margin to itself is 0; leave it out"),
            (gives(lambda z, y: float(z[y] - np.delete(z, y).min()), _logit_cases()),
             "this is the margin of the weakest rival; the strongest one has the largest logit"),
            (gives(lambda z, y: float(np.sort(z)[-1] - np.sort(z)[-2]), _logit_cases()),
             "this is the lead of the winner, whichever class that is; take the true label"),
        ),
        (np.zeros(3), 0),
    ),
    "half_width": Exercise(
        "Half the width of a box of radius 1/255 after normalisation with std 0.2673.",
        near(1 / 255 / 0.2673, tolerance=2e-5),
        (
            (near(1 / 255, tolerance=2e-5),
             "that is the radius in pixels; the network gets pixels divided by the std"),
            (near(1 / 255 * 0.2673, tolerance=2e-5), "normalising divides by the std"),
            (near((1 / 255 - 0.5071) / 0.2673, tolerance=2e-3),
             "a width is a difference of two inputs, so the mean drops out"),
            (near(2 / 255 / 0.2673, tolerance=2e-5), "that is the whole width; the half was asked for"),
        ),
    ),
    "interval_layer": Exercise(
        "A function of W, b, low, up that bounds W x + b.",
        gives(interval_layer, _interval_cases()),
        (
            (gives(_both_ends, _interval_cases()),
             "a negative weight turns the ends around: split W by sign, or use |W|"),
            (gives(_no_bias, _interval_cases()), "the bias is missing"),
            (gives(_swapped, _interval_cases()), "lower bounds come first, then upper ones"),
        ),
        (np.eye(2), np.zeros(2), np.zeros(2), np.ones(2)),
    ),
    "interval_bound": Exercise(
        "What intervals prove of the margin h1 - h2 + 2.75 on the box u, v in [-1, 1].",
        near(-0.25),
        (
            (near(0.25),
             "that is CROWN's; intervals take h1 and h2 apart, as if each could be at its worst alone"),
            (near(0.75), "that is the true minimum; intervals do not know that h1 and h2 come from the same point"),
            (near(2.75),
             "h1 and h2 are not both 0: h2 can be as large as 3"),
            (near(-1.25), "the ReLU keeps h1 from going below 0"),
        ),
    ),
    "chord": Exercise(
        "Slope and value at z = 0 of the chord of a ReLU between -1 and 3.",
        near(0.75, 0.75),
        (
            (near(1, 1), "the chord joins (-1, 0) and (3, 3): it rises by 3 over a width of 4"),
            (near(0.75, 0), "the chord is 0 at z = -1, not at 0"),
            (near(0.75, -0.75), "the chord lies above the ReLU, so at 0 it is positive"),
        ),
    ),
    "crown_bound": Exercise(
        "What CROWN proves of h1 - h2 + 2.75 on the same box.",
        near(0.25),
        (
            (near(-0.25),
             "that is the bound by intervals: carry h1 >= z1 and h2 <= 0.75 z2 + 0.75 back to u and v first"),
            (near(0.75), "that is the true minimum: the lines lose 0.5 of it"),
            (near(2.25), "the constant is right; now take the worst u and v of what is left, 0.25 u + 1.75 v"),
            (near(-2.5), "add the 2.75"),
        ),
    ),
    "best_alpha": Exercise(
        "The slope alpha below h1 that proves most, and what it proves.",
        near(0.75, 0.5),
        (
            (near(1, 0.25), "that is CROWN's choice; write the bound as a function of alpha and look left of 1"),
            (near(0, -0.25), "slope 0 forgets what h1 depends on, as intervals do"),
            (near(0.75, 0.75), "the slope is right; put it into the bound, which stays below the true minimum"),
            (near(0.5, 0.25), "a slope in the middle is not best: the bound is 0.5 - |alpha - 0.75|"),
        ),
    ),
}  # fmt: skip
"""Of lessons 1 and 3, by name."""
