"""A plane through a box, and margins against the radius, on networks with answers by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import toys

from nbutils.analysis import RadiusCurve, Slice, radius_curve
from nbutils.analysis.plane import box_slice
from nbutils.attacks import run_attack
from nbutils.core import AttackConfig, BoundsConfig, Box, Normalization, ParameterError, class_margins

LABEL = np.array([0])
IDENTITY = Normalization(mean=(0.0,), std=(1.0,))


@pytest.fixture(scope="module")
def attacked(two_neuron):
    """Box and attack of the two-neuron network."""
    box = toys.two_neuron_box()
    config = AttackConfig(steps=6, restarts=3, early_stop=False)
    return box, run_attack(two_neuron, box, LABEL, ["a"], config, keep_paths=True)


def test_slice_of_two_inputs_is_the_input_plane(two_neuron, attacked):
    box, trace = attacked
    record = box_slice(two_neuron, box, 0, trace, 0, resolution=9)
    # Two inputs span one plane, so every path keeps its length: |(u, v)| / sqrt(2) in half-widths of 1.
    lengths = np.linalg.norm(trace.paths[0].reshape(7, 3, 2), axis=2) / math.sqrt(2)
    np.testing.assert_allclose(np.linalg.norm(record.paths, axis=2), lengths, atol=1e-6)
    best = trace.points[0].ravel()
    corner = np.linalg.norm(best) / math.sqrt(2)
    assert np.nanmax(record.paths[..., 0]) >= corner - 1e-6
    np.testing.assert_array_equal(record.path_margins, trace.margins[0])


def test_slice_margins_are_those_of_the_projected_points(two_neuron, attacked):
    box, trace = attacked
    record = box_slice(two_neuron, box, 0, trace, 0, resolution=9)
    first = trace.points[0].ravel().astype(np.float64)
    first /= np.linalg.norm(first)
    second = np.array([-first[1], first[0]])
    possible = []
    for turn in (second, -second):
        grid = np.array([[a * first + b * turn for a in record.across] for b in record.up]) * math.sqrt(2)
        points = np.clip(grid.reshape(-1, 1, 1, 2).astype(np.float32), -1, 1)
        possible.append(class_margins(two_neuron.logits(points), np.zeros(81, int)).smallest.reshape(9, 9))
    assert any(np.allclose(record.margins, margins, atol=1e-5) for margins in possible)


def test_slice_covers_image_and_paths(tiny_resnet):
    pixels = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)
    box = Box.around(pixels, Normalization((0.5,) * 3, (0.25,) * 3), 0.05)
    labels = np.array([1, 2])
    trace = run_attack(
        tiny_resnet, box, labels, ["a", "b"], AttackConfig(steps=4, restarts=5, early_stop=False), keep_paths=True
    )
    record = box_slice(tiny_resnet, box, 2, trace, 1, resolution=17)
    assert record.margins.shape == (17, 17)
    for k, axis in enumerate((record.across, record.up)):
        places = record.paths[..., k]
        assert axis[0] < min(places.min(), 0)
        assert axis[-1] > max(places.max(), 0)
    assert np.linalg.norm(record.paths, axis=2).max() <= 1 + 1e-5, "corners of the box are at distance 1"
    again = box_slice(tiny_resnet, box.take([1]), 2, _only(trace, 1), 0, resolution=17)
    np.testing.assert_allclose(record.margins, again.margins, atol=1e-5)


def test_slice_with_one_restart_and_no_step(tiny_resnet):
    pixels = np.full((1, 3, 8, 8), 0.5, dtype=np.float32)
    box = Box.around(pixels, Normalization((0.5,) * 3, (0.25,) * 3), 0.05)
    config = AttackConfig(steps=0, restarts=1)
    trace = run_attack(tiny_resnet, box, LABEL, ["a"], config, keep_paths=True)
    record = box_slice(tiny_resnet, box, 0, trace, 0, resolution=5)
    assert record.paths[0, 0, 0] > 0
    assert record.paths[0, 0, 1] == pytest.approx(0, abs=1e-6)


def test_slice_of_a_box_of_no_width_in_places(linear):
    pixels = np.float32([[[[0, 1], [0.5, 0.5]]]])
    box = Box.around(pixels, IDENTITY, 0.1)
    flat = Box(np.where(box.center == 0.5, box.center, box.lower), np.where(box.center == 0.5, box.center, box.upper),
               box.center)  # fmt: skip
    trace = run_attack(linear, flat, LABEL, ["a"], AttackConfig(steps=3, restarts=2, early_stop=False), keep_paths=True)
    assert np.isfinite(box_slice(linear, flat, 0, trace, 0, resolution=5).margins).all()


def test_slice_of_an_attack_that_stopped_early(two_neuron):
    box, lead = toys.two_neuron_box(), AttackConfig(steps=9, restarts=3, early_stop=False)
    trace = run_attack(two_neuron, box, LABEL, ["a"], lead, keep_paths=True)
    margins, paths = trace.margins.copy(), trace.paths.copy()
    margins[:, 4:], paths[:, 4:] = np.nan, np.nan
    record = box_slice(two_neuron, box, 0, replace(trace, margins=margins, paths=paths), 0, resolution=5)
    assert np.isnan(record.paths[4:]).all()
    assert np.isfinite(record.paths[:4]).all()


def test_slice_refuses(two_neuron, attacked):
    box, trace = attacked
    with pytest.raises(ParameterError, match=r"trace: paths: found None.*keep_paths=True"):
        box_slice(two_neuron, box, 0, replace(trace, paths=None), 0)
    with pytest.raises(ParameterError, match=r"row: found 1; allowed: a whole number from 0 to 0"):
        box_slice(two_neuron, box, 0, trace, 1)
    with pytest.raises(ParameterError, match=r"resolution: found 2"):
        box_slice(two_neuron, box, 0, trace, 0, resolution=2)


def test_slice_record_refuses():
    good = {"across": np.arange(2.0), "up": np.arange(3.0), "margins": np.zeros((3, 2)), "paths": np.zeros((1, 1, 2)),
            "path_margins": np.zeros((1, 1))}  # fmt: skip
    Slice(**good)
    with pytest.raises(ParameterError, match=r"slice: margins: found \(2, 3\); allowed: \(3, 2\)"):
        Slice(**good | {"margins": np.zeros((2, 3))})
    with pytest.raises(ParameterError, match=r"slice: margins: found 'NaN"):
        Slice(**good | {"margins": np.full((3, 2), np.nan)})
    with pytest.raises(ParameterError, match=r"slice: paths: found \(1, 2, 2\)"):
        Slice(**good | {"paths": np.zeros((1, 2, 2))})
    with pytest.raises(ParameterError, match=r"slice: paths at step 0: found 'NaN"):
        Slice(**good | {"paths": np.full((1, 1, 2), np.nan)})


# --- radii -----------------------------------------------------------------------------------------------------------


def curve(attack=(0.5, 0.2, -0.1), lower=None, natural=1.0):
    lower = {"crown": (0.4, -0.1, 0.2)} if lower is None else lower
    return RadiusCurve(
        np.array([1, 2, 3]) / 255, natural, np.float32(attack), {m: np.float32(v) for m, v in lower.items()}
    )


def test_certified_radius_asks_for_all_smaller_radii():
    assert curve().certified_radius() * 255 == pytest.approx(1)  # proved at 1 and 3, not at 2
    both = curve(lower={"crown": (0.4, -0.1, 0.2), "ibp": (-1, 0.1, -2)})
    assert both.certified_radius() * 255 == pytest.approx(3)  # some method at each radius
    assert both.certified_radius("ibp") == 0
    assert curve(lower={}).certified_radius() == 0
    assert curve(lower={"crown": (1e-4, 1, 1)}).certified_radius() == 0  # not above the tolerance
    with pytest.raises(ParameterError, match=r"method: found 'ibp'; allowed: crown"):
        curve().certified_radius("ibp")


def test_attacked_radius_is_the_first_hit():
    assert curve(attack=(0.5, 0.0, 0.1)).attacked_radius() * 255 == pytest.approx(2)
    assert curve(attack=(0.5, 0.2, 0.1)).attacked_radius() == math.inf
    assert curve(natural=0.0).attacked_radius() == 0


def test_curve_refuses():
    with pytest.raises(ParameterError, match=r"eps: found \[.*ascending, each once"):
        RadiusCurve(np.array([0.2, 0.1]), 1.0, np.zeros(2), {})
    with pytest.raises(ParameterError, match=r"eps: found \[\]"):
        RadiusCurve(np.array([]), 1.0, np.zeros(0), {})
    with pytest.raises(ParameterError, match=r"eps: found 2.*write 2/255"):
        RadiusCurve(np.array([2.0]), 1.0, np.zeros(1), {})
    with pytest.raises(ParameterError, match=r"radius curve: crown: found \(2,\); allowed: one for each of 3 radii"):
        curve(lower={"crown": (1, 1)})
    with pytest.raises(ParameterError, match=r"radius curve: attack: found 'NaN'"):
        curve(attack=(1, np.nan, 1))


def test_radius_curve_of_a_linear_network(linear):
    # Label 0 at 0.5 everywhere: m1 = 2p - q - r + 1 = 1 and m2 = p - r + 3s + 1/2 = 2; the box of radius e
    # lowers them by 4e and 5e, and every method is exact: smallest = min(1 - 4e, 2 - 5e).
    pixels = np.full((1, 2, 2), 0.5, dtype=np.float32)
    eps = (0.1, 0.2, 0.3)
    found = radius_curve(
        linear, pixels, IDENTITY, 0, "a", eps,
        attack=AttackConfig(steps=12, restarts=2), bounds=[BoundsConfig(method="ibp"), BoundsConfig(method="crown")],
    )  # fmt: skip
    assert found.natural == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(found.lower["crown"], [0.6, 0.2, -0.2], atol=1e-5)
    assert (found.lower["ibp"] <= found.lower["crown"] + 1e-5).all()
    np.testing.assert_allclose(found.attack[:2], [0.6, 0.2], atol=1e-5)
    assert found.attack[2] <= 0
    assert found.certified_radius() == pytest.approx(0.2)
    assert found.attacked_radius() == pytest.approx(0.3)
    assert (found.label, found.image_id) == (0, "a")


def test_a_radius_does_not_depend_on_the_others(linear):
    pixels = np.full((1, 2, 2), 0.5, dtype=np.float32)
    config = {"attack": AttackConfig(steps=2, restarts=2), "bounds": []}
    together = radius_curve(linear, pixels, IDENTITY, 0, "a", (0.1, 0.2), **config)
    alone = radius_curve(linear, pixels, IDENTITY, 0, "a", (0.2,), **config)
    assert together.attack[1] == alone.attack[0]


def test_radius_curve_refuses(linear):
    pixels = np.full((1, 2, 2), 0.5, dtype=np.float32)
    config = {"attack": AttackConfig(steps=1, restarts=1)}
    with pytest.raises(ParameterError, match=r"methods: found \['ibp', 'ibp'\]"):
        radius_curve(linear, pixels, IDENTITY, 0, "a", (0.1,), **config, bounds=[BoundsConfig(method="ibp")] * 2)
    with pytest.raises(ParameterError, match=r"eps: found \[0.2, 0.1\]"):
        radius_curve(linear, pixels, IDENTITY, 0, "a", (0.2, 0.1), **config, bounds=[])


def _only(trace, row):
    fields = ("margins", "losses", "points", "values", "rivals", "success", "steps_used", "seconds", "paths")
    return replace(trace, **{name: getattr(trace, name)[[row]] for name in fields})
