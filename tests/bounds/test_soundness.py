"""No lower bound may exceed any margin ever observed in its box, whatever the method.

Points: uniform samples, random corners, and end points of a few signed gradient steps, each rival attacked in turn.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import toys

from nbutils.bounds import margin_bounds
from nbutils.core import METHODS, BoundsConfig, Box, class_margins, stream
from nbutils.images import load_images
from nbutils.networks import Network, open_network

TOLERANCE = 1e-4
"""Logits: float32 rounding of a forward pass and of a bound; the tolerance of a verdict."""

RADII = tuple(steps / 255 for steps in (0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4))  # pixel units


def points_in(network: Network, box: Box, label: int, count: int, name: str) -> np.ndarray:
    """At least `count` points [P, C, H, W] of one box: the centre, samples, corners and end points of descents."""
    rng = stream("soundness", name)
    shape = (count // 2, *box.lower.shape[1:])
    low, up = box.lower[0], box.upper[0]
    uniform = (low + rng.random(shape, dtype=np.float32) * (up - low)).clip(low, up)
    corners = np.where(rng.random(shape) < 0.5, low, up)
    starts = torch.from_numpy(np.concatenate([uniform[:16], corners[:16]]))
    ends = descend(network, starts, torch.from_numpy(low), torch.from_numpy(up), label)
    points = np.concatenate([box.center, uniform, corners, ends]).astype(np.float32)
    assert ((points >= low) & (points <= up)).all()
    return points


def descend(network: Network, x: torch.Tensor, low: torch.Tensor, up: torch.Tensor, label: int) -> np.ndarray:
    """Signed gradient steps on the margin of one rival a row, the closest rivals first, clipped to the box."""
    with torch.no_grad():
        logits = network.module(x)
    order = logits.mean(dim=0).argsort(descending=True)
    order = order[order != label]
    target = order[torch.arange(len(x)) % len(order)]
    rows = torch.arange(len(x))
    for step in (0.5, 0.25, 0.1):
        x = x.detach().requires_grad_()
        logits = network.module(x)
        (gradient,) = torch.autograd.grad((logits[:, label] - logits[rows, target]).sum(), x)
        x = torch.minimum(torch.maximum(x.detach() - step * (up - low) * gradient.sign(), low), up)
    return x.numpy()


def assert_sound(
    network: Network, box: Box, label: int, points: np.ndarray, methods: tuple[str, ...], what: str
) -> float:
    """Fail where a bound lies above an observed margin; the smallest distance between the two otherwise."""
    seen = class_margins(network.logits(points), np.full(len(points), label)).values
    lowest, distance = seen.min(axis=0), np.inf
    for method in methods:
        found = margin_bounds(network, box, np.array([label]), BoundsConfig(method=method, alpha_steps=3))
        over = found.lower[0] - lowest
        rival = int(over.argmax())
        culprit = int(seen[:, rival].argmin())
        assert over[rival] <= TOLERANCE, (
            f"{what}: {method} bounds the margin of rival {found.rivals[0, rival]} from below by "
            f"{found.lower[0, rival]:.6f}, point {culprit} of {len(points)} has {lowest[rival]:.6f}"
        )
        assert not (found.verified[0] and lowest.min() <= 0), f"{what}: {method} verified, but a counterexample exists"
        distance = min(distance, float(-over[rival]))
    return distance


@pytest.mark.parametrize("build", [toys.random_mlp, toys.tiny_resnet], ids=["mlp", "resnet"])
@pytest.mark.parametrize("seed", range(6))
def test_toys(build, seed, tmp_path):
    network = open_network(build(tmp_path, seed=seed), device="cpu")
    for radius in (0.01, 0.1, 0.5):
        what = f"{network.name} seed {seed} radius {radius}"
        center = stream("soundness center", what).standard_normal((1, *network.input_shape)).astype(np.float32)
        box = Box(center - np.float32(radius), center + np.float32(radius), center)
        label = int(network.logits(center).argmax())
        assert_sound(network, box, label, points_in(network, box, label, 2000, what), METHODS, what)


def check_small(network: Network, pairs: list[tuple[int, float]], methods: tuple[str, ...], count: int) -> None:
    images = load_images("embedded")
    for image, eps in pairs:
        what = f"{images.source} image {image} at {eps * 255:g}/255"
        box = Box.around(images.pixels[[image]], images.normalization, eps)
        label = int(images.labels[image])
        assert_sound(network, box, label, points_in(network, box, label, count, what), methods, what)


def test_small_network_fast_methods_on_two_hundred_boxes(small_network):
    pairs = [(image, eps) for eps in RADII for image in range(20)]
    assert len(pairs) == 200
    check_small(small_network, pairs, ("ibp", "crown-ibp"), 500)


def test_small_network_crown(small_network):
    check_small(small_network, [(8, 0.5 / 255), (6, 1 / 255), (1, 1 / 255), (19, 3 / 255)], ("crown",), 500)


def test_small_network_alpha_crown(small_network):
    check_small(small_network, [(8, 1 / 255)], ("alpha-crown",), 500)


@pytest.mark.slow
@pytest.mark.parametrize("eps", RADII)
def test_small_network_all_methods_on_two_hundred_boxes(small_network, eps):
    # alpha-CROWN starts from CROWN and never falls below it, so a CROWN bound too high would show here as well
    check_small(small_network, [(image, eps) for image in range(20)], ("ibp", "crown-ibp", "alpha-crown"), 500)


def test_the_check_itself_can_fail(two_neuron, monkeypatch):
    box = toys.two_neuron_box()
    points = points_in(two_neuron, box, 0, 500, "can fail")
    assert assert_sound(two_neuron, box, 0, points, METHODS, "two neurons") < 0.3  # exact 0.75, alpha-CROWN near 0.5
    honest = margin_bounds

    def too_high(*arguments):
        found = honest(*arguments)
        found.lower[:] += 1
        return found

    monkeypatch.setattr("test_soundness.margin_bounds", too_high)
    with pytest.raises(AssertionError, match=r"two neurons: crown bounds the margin of rival 2 from below by 2\.0"):
        assert_sound(two_neuron, box, 0, points, ("crown",), "two neurons")
