"""What a property asks: every rival, some, or one class ahead of a group."""

from __future__ import annotations

import numpy as np
import pytest
import toys

from nbutils.analysis import ask
from nbutils.attacks import run_attack
from nbutils.bounds import margin_bounds
from nbutils.core import AttackConfig, BoundsConfig, ImageSet, Property
from nbutils.networks import open_network
from nbutils.properties import replay

BOX = toys.two_neuron_box()
IMAGES = ImageSet(
    np.full((1, 1, 1, 2), 128, dtype=np.uint8), np.array([0]), np.array([0]), "toy", ("a", "b", "c"), toys.HALF
)


def prop(**asked) -> Property:
    """On the box of the two-neuron network."""
    return Property(BOX.lower.ravel(), BOX.upper.ravel(), 0, 3, (1, 1, 2), "toy.vnnlib", **asked)


def attack(asked):
    """The lowest point of a short attack, and its margins."""
    config = AttackConfig(steps=20, restarts=4, early_stop=False)
    return run_attack(asked.network, BOX, asked.images.labels, ["a"], config)


def test_every_rival_is_asked_of_the_network_itself(two_neuron):
    asked = ask(two_neuron, prop(), IMAGES)
    assert asked.network is asked.bounded is two_neuron
    assert asked.words == "Is some other class level with or ahead of class 0 (a) at a point of the box?"


def test_a_rival_that_is_not_asked_about_does_not_count(tmp_path):
    """With lead 1.5 class 1 gets ahead (exact bound -0.5) and class 2 does not (exact bound 1)."""
    network = open_network(toys.two_neuron_net(tmp_path, lead=1.5), device="cpu")
    about_1, about_2 = (ask(network, prop(rivals=(rival,)), IMAGES) for rival in (1, 2))
    found = attack(about_1)
    assert found.success[0]
    assert replay(network, prop(rivals=(1,)), found.points[0]).verdict == "correct"
    assert replay(network, prop(rivals=(2,)), found.points[0]).verdict == "wrong"
    assert not attack(about_2).success[0]
    bound = margin_bounds(about_2.bounded, BOX, about_2.images.labels, BoundsConfig(method="crown"))
    assert bound.lower[0] == pytest.approx([1.0])
    assert "Other classes (1) are not asked about" in about_2.words


def test_one_class_ahead_of_all(tmp_path):
    """Class 1 is the argmax where h2 - lead > h1; with lead 1.5 that is so at u = 0, v = -1, where h1 = 0, h2 = 2."""
    network = open_network(toys.two_neuron_net(tmp_path, lead=1.5), device="cpu")
    question = prop(rivals=(1,), group=(0, 2))
    asked = ask(network, question, IMAGES)
    assert asked.network.classes == asked.bounded.classes == 2
    assert asked.images.class_names == ("best of 2", "b")
    found = attack(asked)
    assert found.success[0]
    assert replay(network, question, found.points[0]).verdict == "correct"
    bound = margin_bounds(asked.bounded, BOX, asked.images.labels, BoundsConfig(method="crown"))
    assert bound.lower[0, 0] == pytest.approx(1.5 - 2.5, abs=1e-5)
    assert bound.lower[0, 0] <= float(np.min(found.margins)) + 1e-6


def test_ahead_of_the_label_is_not_ahead_of_all(two_neuron):
    """Replay asks for the whole group: a point where only the label is passed is no counterexample."""

    class Judge:
        def judge(self, x):
            return np.float32([[0, 1, 2]])

    at = np.zeros((1, 1, 2), dtype=np.float32)
    assert replay(Judge(), prop(rivals=(1,)), at).verdict == "correct"
    judged = replay(Judge(), prop(rivals=(1,), group=(0, 2)), at)
    assert judged.verdict == "wrong"
    assert "class 2 still leads class 1" in judged.reason
