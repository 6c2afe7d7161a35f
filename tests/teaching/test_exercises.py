"""The exercises: right answers in any form are taken, typical wrong ones refused, each with a hint of its own."""

from __future__ import annotations

import numpy as np
import pytest

from nbutils import BoundsConfig, margin_bounds
from nbutils.core import ParameterError
from nbutils.teaching import (
    EXERCISES,
    NEEDLE,
    TOY,
    SmallNetwork,
    box_around,
    branch_and_bound,
    check,
    patterns,
    smallest_margin_in,
)
from nbutils.teaching.questions_attacks_gap import is_counterexample, pgd_step
from nbutils.teaching.questions_margins_bounds import interval_layer, smallest_margin

RIGHT = {
    "margins_at_origin": [[2.75, 3], (2.75, 3.0), np.array([[2.75, 3]])],
    "smallest_margin": [smallest_margin, lambda z, y: z[y] - max(v for k, v in enumerate(z) if k != y)],
    "half_width": [1 / 255 / 0.2673, 0.01467],
    "interval_layer": [
        interval_layer,
        lambda W, b, low, up: (
            np.maximum(W, 0) @ low + np.minimum(W, 0) @ up + b, np.maximum(W, 0) @ up + np.minimum(W, 0) @ low + b,
        ),
    ],
    "interval_bound": [-0.25, [-0.25]],
    "chord": [[0.75, 0.75], (3 / 4, 3 / 4)],
    "crown_bound": [0.25, np.float32(0.25)],
    "best_alpha": [[0.75, 0.5], (3 / 4, 1 / 2)],
    "gradient": [[0, 2], np.array([[0.0, 2.0]])],
    "fgsm_margin": [0.25, [1 / 4]],
    "pgd_step": [
        pgd_step,
        lambda x, g, s, c, r: np.maximum(np.minimum(x - s * np.where(g > 0, 1, -1), c + r), c - r),
    ],
    "silent_margin": [104, 103.97, [104]],
    "restarts": [69, np.ceil(np.log(0.5) / np.log(0.99)), 68.97],
    "pattern_count": [3, 3.0],
    "pattern_minimum": [0.75, [3 / 4]],
    "gap_radii": [[13 / 12, 11 / 8], (1.083, 1.375)],
    "is_counterexample": [
        is_counterexample, lambda z, y: any(z[j] >= z[y] for j in range(len(z)) if j != y),
        lambda z, y: sum(z >= z[y]) > 1,
    ],
}  # fmt: skip
WRONG = {
    "margins_at_origin": [[-2.75, -3], [-1.75, -2], [3, 2.75], [1, 1]],
    "smallest_margin": [
        lambda z, y: np.delete(z, y).max() - z[y], lambda z, y: z[y] - z.max(),
        lambda z, y: z[y] - np.delete(z, y).min(), lambda z, y: np.sort(z)[-1] - np.sort(z)[-2],
    ],
    "half_width": [1 / 255, 1 / 255 * 0.2673, (1 / 255 - 0.5071) / 0.2673, 2 / 255 / 0.2673],
    "interval_layer": [
        lambda W, b, low, up: (W @ low + b, W @ up + b), lambda W, b, low, up: interval_layer(W, 0 * b, low, up),
        lambda W, b, low, up: interval_layer(W, b, low, up)[::-1],
    ],
    "interval_bound": [0.25, 0.75, 2.75, -1.25],
    "chord": [[1, 1], [0.75, 0], [0.75, -0.75]],
    "crown_bound": [-0.25, 0.75, 2.25, -2.5],
    "best_alpha": [[1, 0.25], [0, -0.25], [0.75, 0.75], [0.5, 0.25]],
    "gradient": [[2, 0], [0, -2], [1, 1], [0, 0]],
    "fgsm_margin": [-0.25, 2.75, 5.25, 1.75],
    "pgd_step": [
        lambda x, g, s, c, r: np.clip(x + s * np.sign(g), c - r, c + r),
        lambda x, g, s, c, r: x - s * np.sign(g),
        lambda x, g, s, c, r: np.clip(x - s * g, c - r, c + r),
        lambda x, g, s, c, r: np.clip(x - s * np.sign(g), -r, r),
        lambda x, g, s, c, r: np.clip(c - s * np.sign(g), c - r, c + r),
    ],
    "silent_margin": [87.3, 17, 745],
    "restarts": [50, 100, 35, 459],
    "pattern_count": [4, 2, 1],
    "pattern_minimum": [-0.25, 2.75, 0.25, 1.75],
    "gap_radii": [[11 / 8, 13 / 12], [7 / 8, 11 / 8], [13 / 12, 13 / 12], [1, 1.5]],
    "is_counterexample": [
        lambda z, y: np.delete(z, y).max() > z[y], lambda z, y: (np.delete(z, y) >= z[y]).all(),
        lambda z, y: z[y] > np.delete(z, y).max(), lambda z, y: np.argmax(z) != y,
    ],
}  # fmt: skip
ODD = [None, ..., "words", [], {}, np.nan, [1, 2, 3, 4], lambda: 1]


def test_every_exercise_is_in_the_tables():
    assert set(RIGHT) == set(WRONG) == set(EXERCISES)


@pytest.mark.parametrize("name", EXERCISES)
def test_any_right_answer_is_taken(name, capsys):
    assert all(check(name, answer) for answer in RIGHT[name])
    assert capsys.readouterr().out.count("right.") == len(RIGHT[name])


@pytest.mark.parametrize("name", EXERCISES)
def test_typical_wrong_answers_are_told_apart(name, capsys):
    hints = set()
    for answer in WRONG[name]:
        assert not check(name, answer)
        hints.add(capsys.readouterr().out)
    assert len(hints) == len(WRONG[name]) >= 3
    assert not any("try a smaller case" in hint for hint in hints)


@pytest.mark.parametrize("name", EXERCISES)
def test_odd_answers_are_wrong_and_end_nothing(name):
    assert not any(check(name, answer) for answer in ODD)


def test_an_unknown_exercise():
    with pytest.raises(ParameterError, match="exercise: found 'x'; allowed: margins_at_origin"):
        check("x", 1)


def test_what_the_lessons_say_of_the_toy_is_so(tmp_path):
    assert TOY.margins(np.zeros(2), 0).tolist() == [2.75, 3]
    axis = np.linspace(-1, 1, 201)
    every = TOY.margins(np.stack(np.meshgrid(axis, axis), -1), 0)[..., 0]
    assert every.min() == pytest.approx(0.75)
    network = TOY.opened(tmp_path)
    for method, bound in (("ibp", -0.25), ("crown", 0.25)):
        found = margin_bounds(network, box_around(), np.array([0]), BoundsConfig(method=method)).lower[0, 0]
        assert found == pytest.approx(bound, abs=1e-5)


def crown(net: SmallNetwork, label: int, radius: float) -> np.ndarray:
    """The NumPy cell of lesson 3."""
    spread = radius * np.abs(net.W1).sum(1)
    low, up = net.hidden(np.zeros(2)) - spread, net.hidden(np.zeros(2)) + spread
    C, c = net.rows(label)
    chord_slope = np.where(low >= 0, 1, np.where(up <= 0, 0, up / (up - low)))
    below = np.where(low >= 0, 1, np.where(up <= 0, 0, (up > -low) * 1.0))
    slope = np.where(C > 0, below, chord_slope)
    offset = np.where((C < 0) & (low < 0) & (up > 0), -chord_slope * low, 0)
    row = (C * slope) @ net.W1
    return (C * (slope * net.b1 + offset)).sum(1) + c - radius * np.abs(row).sum(1)


@pytest.mark.parametrize("seed", range(10))
def test_crown_in_numpy_is_crown(seed, tmp_path):
    net = SmallNetwork.drawn(seed)
    label = int(net.logits(np.zeros(2)).argmax())
    network = net.opened(tmp_path)
    found = margin_bounds(network, box_around(radius=0.5), np.array([label]), BoundsConfig(method="crown")).lower[0]
    np.testing.assert_allclose(crown(net, label, 0.5), found, atol=1e-5)


def test_the_gap_of_the_toy_is_what_lesson_4_says():
    """Bound 3.25 - 3 r by CROWN and minimum 2.75 - 2 r, for radii from 0.5 on; intervals 1.75 - 2 r."""
    for radius in (0.5, 1.0, 1.2, 1.375, 1.5):
        assert smallest_margin_in(TOY, 0, (0, 0), radius) == pytest.approx(2.75 - 2 * radius)
        box = branch_and_bound(TOY, 0, (0, 0), radius)[0]
        assert box.bound == pytest.approx(3.25 - 3 * radius)
    assert [part.pattern for part in branch_and_bound(TOY, 0, (0, 0), 1.2)] == ["??", "+?", "-?"]
    assert {part.pattern for part in patterns(TOY, 0, (0, 0), 1.0)} == {"++", "+-", "-+"}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("radius", [0.3, 1.0])
def test_branch_and_bound_is_exhaustive_enumeration(seed, radius):
    net = SmallNetwork.drawn(seed, hidden=5)
    label = int(net.logits(np.zeros(2)).argmax())
    exact = smallest_margin_in(net, label, (0, 0), radius)
    axis = np.linspace(-radius, radius, 101)
    seen = net.margins(np.stack(np.meshgrid(axis, axis), -1), label).min()
    assert exact <= seen + 1e-9, "no sample is below the minimum"
    assert exact >= seen - 0.2, "and some sample comes near it"
    leaves = [part for part in branch_and_bound(net, label, (0, 0), radius) if part.cut is None]
    assert (min(part.bound for part in leaves) > 0) == (exact > 0)
    assert all(part.bound <= exact + 1e-9 for part in branch_and_bound(net, label, (0, 0), radius)[:1])
    if exact <= 0:
        assert min(part.bound for part in leaves) == pytest.approx(exact)


@pytest.mark.parametrize("seed", range(10))
def test_a_bound_on_a_part_is_crowns(seed, tmp_path):
    net = SmallNetwork.drawn(seed)
    label = int(net.logits(np.zeros(2)).argmax())
    found = margin_bounds(net.opened(tmp_path), box_around(radius=0.5), np.array([label]), BoundsConfig(method="crown"))
    assert branch_and_bound(net, label, (0, 0), 0.5)[0].bound == pytest.approx(found.lower[0].min(), abs=1e-5)


def test_the_needle():
    axis = np.linspace(-1, 1, 20001)
    margin = NEEDLE.margins(np.stack([axis, 0 * axis], -1), 0)[:, 0]
    assert (margin <= 1e-9).mean() == pytest.approx(0.01, abs=2e-4)
    assert margin.min() == pytest.approx(-1, abs=1e-6)
    assert margin[np.abs(axis - 0.6) > 0.0201] == pytest.approx(1)
    assert smallest_margin_in(NEEDLE, 0, (0, 0), 1.0) == pytest.approx(-1)
