"""Findings of training say what the numbers say."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from render_training import SHOWN, made_boxes, made_fed, made_fusion, made_log, made_snapshots

from nbutils.core import class_margins, root
from nbutils.findings import training as findings
from nbutils.training import recipe


def test_fed():
    text = findings.of_fed(made_fed())
    assert "1.50/255 on average and at most 1.50/255; 100% of the channels end on the edge of its 1.5/255" in text


def test_boxes_tell_a_box_that_can_be_trained_on_from_one_that_cannot():
    text = findings.of_boxes(made_boxes())  # 4 times a layer, 5 ReLUs: 1024 times
    assert "of 5 ReLUs the intervals of the largest box become **1024 times** as wide, about 4 times a layer" in text
    assert "from 1.53 to **32.2**. Up to 0.06 eps it stays within reach" in text
    steep = findings.of_boxes(made_boxes(4000.0))
    assert "guessing would give 4.61. For this network even the smallest box" in steep


def test_boxes_after_training():
    text = findings.of_boxes_after(made_boxes(400.0), made_boxes(), 0.06)
    assert "In a box of 0.06 eps intervals now widen 1024 times instead of 1.0·10¹³" in text
    assert "to **3.34**; the whole box, with intervals 17 times as wide, still gives 32.2" in text
    assert findings.of_boxes_after(made_boxes(), made_boxes(), 1.0).endswith("the whole box was trained on.")


def test_fusion():
    text = findings.of_fusion(made_fusion())
    assert "takes **1/20** of the time" in text
    assert "1.01 times as high at 0.01 eps, 2.00 times at 1 eps; the largest difference of an image is 63" in text


def test_training():
    text = findings.of_training(made_log())
    assert text.startswith(
        "12 of 12 epochs, 114 s. The cross entropy of the points trained on went from 5.5 to **2.2**"
    )
    assert "its weight grew to 0.15 and its box to 0.06 eps" in text
    assert "too few" not in text  # 5000 images are set aside
    assert "too few images" in findings.of_training(made_log(12, recipe("sabr", epochs=12, validation=4, **SHOWN)))
    assert "weight and box grow until epoch 4" in findings.of_training(made_log(3, recipe("sabr", epochs=12, **SHOWN)))
    assert findings.of_training(made_log(0)) == "No epoch is finished yet."
    bare = findings.of_training(made_log(2, recipe("adversarial", epochs=2), validation=False))
    assert "certified" not in bare
    assert "set aside" not in bare


def test_change():
    before, after, _ = made_snapshots()
    text = findings.of_change(before, after, 3)
    assert text.startswith("Proven in this box: **3 of 3** trained on and **0 of 3** set aside.")
    assert "lay 4.0·10⁶ logits before and 1.2 after (median)" in text
    # 300, 200, 100 neurons at 50, 100, 100 % before and 5, 10, 15 % after
    assert "75% of the neurons before a ReLU were unstable, now 8.3% are" in text
    assert findings.of_change(before, after, 6).startswith("Proven in this box: **3 of 6** trained on. ")


def test_export_names_the_file_and_how_to_go_on():
    _, after, images = made_snapshots()
    logits = np.zeros((len(images), 100), np.float32)
    logits[np.arange(len(images)), images.labels] = after.natural + np.float32(1e-5)
    network = SimpleNamespace(path=root() / "runs" / "toy.onnx")
    margins = class_margins(logits, images.labels)
    text = findings.of_export(network, margins, after)
    assert "`python -m nbutils evaluate runs/toy.onnx`" in text
    assert float(text.split("**")[1].split()[0]) == pytest.approx(1e-5, rel=0.2)
