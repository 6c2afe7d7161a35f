"""Findings say what the numbers say, and never call "not attacked" robust or "not verified" unsafe."""

import numpy as np
import pytest

from nbutils.analysis import RadiusCurve, Slice
from nbutils.core import AttackTrace, Box, ImageSet, LayerBounds, MarginBounds, Normalization, Verdict, class_margins
from nbutils.findings import robustness

NORMALIZATION = Normalization((0.0,), (1.0,))
IMAGES = ImageSet(np.zeros((2, 1, 1, 2), np.uint8), np.array([0, 1]), np.array([7, 8]), "toy",
                  ("apple", "sweet_pepper", "sea"), NORMALIZATION)  # fmt: skip
MARGINS = class_margins(np.float32([[3.0, 2.5, 0.0], [2.0, 1.0, 0.0]]), IMAGES.labels)  # right by 0.5, wrong by 1


def trace(margins, values):
    margins = np.float32(margins)[None]
    return AttackTrace(margins, -margins, np.zeros((1, 1, 1, 2), np.float32), np.float32([values]), np.array([[1, 2]]),
                       np.float32([values]).min(axis=1) <= 0, np.array([len(margins[0]) - 1]), np.zeros(1))  # fmt: skip


HELD = trace([[0.5, 0.4], [0.3, 0.2], [0.25, 0.3]], [0.2, 2.0])
BROKEN = trace([[0.5, 0.4], [-0.1, 0.2], [np.nan, np.nan]], [-0.1, 2.0])


def bound(method, *lower, layers=()):
    return MarginBounds(method, np.float32([lower]), np.array([[1, 2]]), np.array([0]), np.zeros(1), 1e-4, layers)


def test_sample():
    text = robustness.of_sample(IMAGES, MARGINS)
    assert "**1 of 2 images are classified correctly**, by margins from 0.50 to 0.50 logits" in text
    wrong = class_margins(np.float32([[0, 1, 0], [1, 0, 0]]), IMAGES.labels)
    assert "nothing is left to look at" in robustness.of_sample(IMAGES, wrong)


def test_margins_name_the_strongest_rival():
    assert robustness.of_margins(IMAGES, MARGINS, 0) == (
        "Image 7 (**apple**): the true class leads its strongest rival, sweet pepper, by 0.50 logits; 1 of 2 rivals "
        "are closer than 1 logit."
    )
    assert "(**sweet pepper**): the true class trails its strongest rival, apple, by 1.00" in robustness.of_margins(
        IMAGES, MARGINS, 1
    )


def test_an_attack_that_failed_proves_nothing():
    text = robustness.of_attack(IMAGES, MARGINS, HELD, 0, 2.0)
    assert "From 0.50 logits at the image itself, PGD gets down to **0.20** within 2/255" in text
    assert "2 restarts lie between 0.20 and 0.25" in text
    assert text.endswith("No counterexample was found, which proves nothing: the bounds have to.")


def test_an_attack_that_succeeded_names_step_and_answer():
    text = robustness.of_attack(IMAGES, MARGINS, BROKEN, 0, 1.0)
    assert "1 of them find a counterexample, the first at step 1: the network answers sweet pepper" in text


def test_slice_and_card():
    axis = np.linspace(0, 1, 3)
    margins = np.float32([[1, 0.5, -0.5]] * 3)
    plane = Slice(axis, axis, margins, np.zeros((2, 1, 2)), np.float32([[1], [0.5]]))
    assert robustness.of_slice(plane).startswith("A rival is level or ahead on 33.3% of it; the lowest margin on the")
    assert robustness.of_slice(Slice(axis, axis, margins + 1, plane.paths, plane.path_margins)).startswith(
        "No point of"
    )
    box = Box.around(np.full((1, 1, 1, 2), 0.5, np.float32), NORMALIZATION, 0.5)
    assert robustness.of_card(box, HELD).startswith("100% of its values lie on a face")


def test_bounds_report_proof_open_and_broken():
    loose, tight, proof = bound("ibp", -3, 1), bound("crown", -0.1, 1.5), bound("crown", 0.05, 1.5)
    assert "**crown proves the image robust**: its weakest bound is 0.05" in robustness.of_bounds([loose, proof], HELD)
    text = robustness.of_bounds([loose, tight], HELD)
    assert "of 2: ibp 1, crown 1." in text
    assert "lies between -0.10 (crown) and 0.20 (PGD): **open**" in text
    assert "no sound method can prove all" in robustness.of_bounds([loose, tight], BROKEN)
    assert "proves the image robust" not in robustness.of_bounds([bound("crown", 5e-5, 1)], HELD), (
        "within the tolerance"
    )


def test_layers_weigh_neurons():
    layers = (
        LayerBounds("a", 30, np.array([1.0]), np.array([0.1])),
        LayerBounds("b", 10, np.array([4.0]), np.array([0.7])),
    )
    text = robustness.of_layers([bound("ibp", 0, 0, layers=layers), bound("crown", 0, 0)])
    assert (
        "Share of the 40 neurons before a ReLU that stay unstable: ibp 25.0% (mean width in the last layer 4)" in text
    )
    assert "crown" not in text, "no layers were asked of it"


def curve(lower, attack, natural=1.0):
    eps = np.arange(1, len(lower) + 1) / 255
    return RadiusCurve(eps, natural, np.float32(attack), {"crown": np.float32(lower)})


def test_radii():
    one = curve([0.5, 0.1, -0.3], [0.8, 0.5, -0.1])
    assert "crown proves this image up to **2.00/255**, and PGD breaks it from 3.00/255 on" in robustness.of_radius(
        one, "crown"
    )
    held = curve([0.5, 0.1, -0.3], [0.8, 0.5, 0.1])
    assert "PGD fails up to 3.00/255" in robustness.of_radius(held, "crown")
    text = robustness.of_radii([one, held], "crown")
    assert (
        "Median certified radius with crown: **2.00/255**; PGD breaks 1 of 2, the median of them at **3.00/255**"
        in text
    )
    assert "PGD breaks none of 1 at the radii tried" in robustness.of_radii([held], "crown")


def verdict(index, status, attack=None, lower=None):
    return Verdict(
        f"{index:064d}", index, 0, 0, status, "step", 1.0, attack_margin=attack, bound=lower, bound_method="crown"
    )


def test_funnel_and_hardest():
    some = [verdict(1, "open", 0.2, -0.1), verdict(2, "open", 0.5, -0.4), verdict(3, "verified", 1.5, 0.1)]
    assert "misclassified 0 (0%), attacked 0 (0%), verified 1 (33%), open 2 (67%)" in robustness.of_funnel(some)
    assert "The **2 open** ones" in robustness.of_funnel(some)
    assert "that of image 2: PGD reaches 0.50, crown proves -0.40 logits" in robustness.of_verdicts(some)
    assert "**None is open**" in robustness.of_funnel(some[2:])
    assert robustness.of_verdicts(some[2:]) == "No image is open at this radius."


@pytest.mark.parametrize("text", [robustness.of_verdicts([verdict(1, "open", 0.2, -0.1)]),
                                  robustness.of_attack(IMAGES, MARGINS, HELD, 0, 1.0)])  # fmt: skip
def test_open_is_neither_robust_nor_unsafe(text):
    assert "robust" not in text
    assert "unsafe" not in text
