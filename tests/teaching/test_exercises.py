"""The exercises: right answers in any form are taken, typical wrong ones refused, each with a hint of its own."""

from __future__ import annotations

import numpy as np
import pytest

from nbutils import BoundsConfig, margin_bounds
from nbutils.core import ParameterError
from nbutils.teaching import EXERCISES, TOY, SmallNetwork, box_around, check
from nbutils.teaching.exercises import interval_layer, smallest_margin

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
