"""Bounds of every operator that opens, in networks with drawn weights: none above a margin of onnxruntime."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from operator_forms import cases
from operators import tried

CASES = list(cases())
REFUSED = ("Floor", "Erf", "Softplus", "Resize nearest", "Slice backwards")
"""Some of the forms that at least one method cannot bound; each has to be refused, not bounded wrongly."""


@pytest.mark.parametrize(("form", "place"), CASES[::5], ids=lambda value: getattr(value, "name", value))
def test_no_bound_above_a_margin(form, place, tmp_path):
    row = tried(form, place, [0], tmp_path)
    assert not row.wrong
    assert row.opens or row.reason
    assert len(row.held) == 4 or row.reason


@pytest.mark.parametrize(
    ("form", "place"),
    [case for case in CASES if case[0].name in REFUSED],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_the_library_does_not_know_is_refused(form, place, tmp_path):
    row = tried(form, place, [0], tmp_path)
    assert not row.wrong
    assert len(row.held) < 4
    assert row.reason


@pytest.mark.slow
@pytest.mark.parametrize(("form", "place"), CASES, ids=lambda value: getattr(value, "name", value))
def test_no_bound_above_a_margin_in_many_networks(form, place, tmp_path):
    assert not tried(form, place, range(25), tmp_path).wrong


@pytest.mark.parametrize(
    "name",
    [
        "AveragePool padding", "AveragePool ceil_mode", "AveragePool 3 by 2", "PRelu a slope a channel",
        "Pad by a value", "Pad channels", "Pad zeros on one side", "Slice crop", "Slice step", "Slice channels",
        "Sum of 3 branches",
        "Clip 0.0 to 6.0", "Clip 0.25 to None", "Max constants", "Min of 2 branches", "head no bias", "head matmul",
        "HardSigmoid", "HardSwish", "ConvTranspose padding", "Mean of 2 branches", "Conv auto_pad SAME_LOWER",
        "AveragePool auto_pad SAME_UPPER", "MaxPool 3 by 2", "MaxPool dilation",
    ],
)  # fmt: skip
def test_what_is_restated_is_bounded_by_every_method(name, tmp_path):
    for form, place in CASES:
        if form.name == name:
            row = tried(form, place, [0], tmp_path)
            assert len(row.held) == 4, (place, row.reason)
            assert not row.wrong
