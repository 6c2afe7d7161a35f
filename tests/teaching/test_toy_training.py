"""Three trainings of one small network: what each is good for."""

from __future__ import annotations

import numpy as np
import pytest

from nbutils.core import ParameterError
from nbutils.teaching import WAYS, scores, train_small, two_moons
from nbutils.teaching.branching import branch_and_bound


@pytest.fixture(scope="module")
def trained():
    """The three networks of lesson 4 and their scores at radius 0.3."""
    points, labels = two_moons()
    networks = {way: train_small(way, points, labels) for way in WAYS}
    return points, labels, networks, {way: scores(net, points, labels, 0.3) for way, net in networks.items()}


def test_training_changes_the_gap(trained):
    """Adversarial training is more robust than natural; certified training is what intervals can prove."""
    found = trained[3]
    assert all(score.clean > 0.9 for score in found.values())
    assert found["adversarial"].robust > found["natural"].robust
    assert found["certified"].intervals > found["natural"].intervals > found["adversarial"].intervals
    assert found["certified"].robust - found["certified"].intervals < 0.05


def test_no_proof_beyond_what_is_robust(trained):
    for score in trained[3].values():
        assert score.clean >= score.robust >= max(score.crown, score.intervals)


def test_the_same_seed_gives_the_same_network(trained):
    points, labels, networks, _ = trained
    again = train_small("natural", points, labels)
    assert np.array_equal(again.W1, networks["natural"].W1)


def test_the_search_ends(trained):
    points, labels, networks, _ = trained
    for net in networks.values():
        parts = branch_and_bound(net, int(labels[0]), tuple(points[0]), 0.3)
        assert all(part.bound > 0 or part.exact for part in parts if part.cut is None)


def test_another_way():
    points, labels = two_moons(10)
    with pytest.raises(ParameterError, match="way: found 'x'; allowed: natural, adversarial, certified"):
        train_small("x", points, labels)
