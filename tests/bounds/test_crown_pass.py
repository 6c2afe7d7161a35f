"""CROWN's own backward pass against that of the bounds library, row by row, and against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_composed import SHAPE, Residual, Straight, Toy
from torch import Tensor, fx, nn

from nbutils.bounds import checked, coefficients, crown_pass, lirpa, margin_bounds, methods
from nbutils.bounds.crown_pass import CrownPass
from nbutils.bounds.engine import BoundEngine
from nbutils.bounds.relu_graph import ReluGraph
from nbutils.core import PUBLISHED_EPS, BoundsConfig, Box, specification
from nbutils.images import load_images


class Odd(nn.Module):
    """Groups, dilation, uneven strides, kernels and paddings, a strided kernel that leaves a border unread, x + x."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, (3, 2), stride=(1, 2), padding=(2, 1), bias=False)
        self.grouped, self.dilated = nn.Conv2d(6, 6, 3, padding=1, groups=3), nn.Conv2d(6, 4, 3, padding=2, dilation=2)
        self.skipping = nn.Conv2d(4, 5, 2, stride=3)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(5))
        self.flatten, self.hidden, self.last = nn.Flatten(), nn.Linear(5 * 4 * 2, 9, bias=False), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relus[0](self.stem(x))
        x = self.relus[1](self.grouped(x)) + x
        x = self.relus[2](self.dilated(x))
        x = self.relus[3](self.skipping(x + x))
        return self.last(self.relus[4](self.hidden(self.flatten(x))))


class Framed(nn.Module):
    """Paddings as wide as the kernels and wider: places of a layer that see the border alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.point = nn.Conv2d(3, 4, 3, stride=2, padding=4), nn.Conv2d(4, 5, 1, padding=2)
        self.strided, self.last_one = nn.Conv2d(5, 4, 1, stride=3, padding=3), nn.Conv2d(4, 3, 2, padding=(3, 0))
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(4))
        self.flatten, self.last = nn.Flatten(), nn.LazyLinear(4)
        self(torch.zeros(1, *SHAPE))

    def forward(self, x: Tensor) -> Tensor:
        for conv, relu in zip((self.stem, self.point, self.strided, self.last_one), self.relus, strict=True):
            x = relu(conv(x))
        return self.last(self.flatten(x))


KINDS = (Residual, Straight, Odd, Framed)

lirpa.library()  # its import sets the recursion limit, which hypothesis does not want to see inside a test


def made(kind: type[nn.Module], seed: int = 0) -> Toy:
    torch.manual_seed(seed)
    return Toy(kind())


def drawn(engine: BoundEngine, seed: int, radius: float) -> tuple[Box, dict[str, tuple[Tensor, Tensor]]]:
    """A box, and made-up bounds of every layer: many neurons dead, some always active, some crossing zero."""
    draw = torch.Generator().manual_seed(seed)
    center = torch.randn(1, *SHAPE, generator=draw).numpy()
    box = Box(center - np.float32(radius), center + np.float32(radius), center)
    x = lirpa.bounded_input(box.center, box.lower, box.upper, torch.device("cpu"))
    known = {}
    with torch.no_grad():
        for name, (low, _) in engine._intervals(x, torch.eye(4)[None])[1].items():
            middle = torch.randn(low.shape, generator=draw) - 0.7
            channels = low.shape[1:2] + (1,) * (low.ndim - 2)
            middle = middle - 9 * (torch.rand(1, *channels, generator=draw) < 0.4)  # whole channels are dead
            width = torch.rand(low.shape, generator=draw)
            known[name] = middle - width, middle + width
    return box, known


@settings(max_examples=30, deadline=None)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 10_000), radius=st.floats(0.001, 0.5))
def test_rows_and_margins_are_the_librarys(kind, seed, radius):
    engine = BoundEngine(made(kind, seed % 5))
    box, known = drawn(engine, seed, radius)
    x = lirpa.bounded_input(box.center, box.lower, box.upper, torch.device("cpu"))
    assert engine._pass.usable
    relaxed = engine._pass.over(engine._ends(box))
    names, draw = list(known), torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for layer, name in enumerate(names):
            before = {other: known[other] for other in names[:layer]}
            size = known[name][0].numel()
            rows = torch.randperm(size, generator=draw)[: max(1, size // 3)]
            signs = torch.randint(0, 2, (len(rows),), generator=draw) * 2.0 - 1
            expected = engine._rows.least(x, before, name, rows, signs, 64, False)
            found = relaxed.least(layer, rows, signs, list(before.values()), 64)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        wanted = torch.from_numpy(specification(np.array([seed % 4]), 4))
        expected = engine._rows.compute(x, known, method="backward", C=wanted, bound_upper=False)[0][0]
        torch.testing.assert_close(relaxed.margins(wanted[0], list(known.values())), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_which_rows_go_together_changes_nothing(kind, monkeypatch):
    engine = BoundEngine(made(kind))
    box, known = drawn(engine, 3, 0.1)
    layer = 3
    before, size = list(known.values())[:layer], list(known.values())[layer][0].numel()
    rows = torch.randperm(size, generator=torch.Generator().manual_seed(0))
    signs = torch.where(rows % 3 == 0, 1.0, -1.0)
    found = []
    with torch.no_grad():
        for squares, chunk in (((1,), 256), ((2,), 256), ((4,), 7), ((8,), 1), ((64,), 256), ((1, 2, 4, 8, 64), 256)):
            monkeypatch.setattr(coefficients, "_SQUARES", squares)
            found.append(engine._pass.over(engine._ends(box)).least(layer, rows, signs, before, chunk))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-5)


def test_worked_out_by_hand():
    """z = (x, -x) + 1/2 over x in [-1, 1]; the lower bounds of both ReLUs' difference and sum, and of minus these.

    Chord: 3/4 z + 3/8 above [-1/2, 3/2]; line below: z, as 3/2 is farther from zero. Difference: x + 1/2 -
    (3/4 (-x + 1/2) + 3/8) = 7/4 x - 1/4, at least -2, and the same with both signs turned. Sum: z1 + z2 = 1. Minus the
    sum: -(3/4 + 6/8) = -3/2.
    """
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU())
    for layer, weight, bias in ((net[1], [[1.0], [-1.0]], [0.5, 0.5]), (net[3], [[1.0, -1.0], [1.0, 1.0]], [0.0, 0.0])):
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    network = CrownPass(ReluGraph(fx.symbolic_trace(net.eval()).requires_grad_(False)))
    one = torch.ones(1, 1, 1, 1)
    first = (torch.full((1, 2), -0.5), torch.full((1, 2), 1.5))
    rows, signs = torch.tensor([0, 0, 1, 1]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    found = network.over((-one, one)).least(1, rows, signs, [first], 256)
    torch.testing.assert_close(found, torch.tensor([-2.0, -2.0, 1.0, -1.5]))


@pytest.mark.parametrize(("bias", "settled", "whole"), [(0.5, 0.5, 1.5), (-0.25, 0.75, 0.75)])
def test_a_sign_is_told_early(bias, settled, whole):
    """r = relu((x, -x) + 1/2) over x in [-1, 1], s = relu(r1 + r2) where it is known to be positive, and s + bias.

    Early: r1 + r2 >= 0, so s + 1/2 >= 1/2, which settles the sign; s - 1/4 >= -1/4 does not. To the end: r >= z on the
    line of slope 1, so r1 + r2 >= 1.
    """
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1), nn.ReLU()
    )  # fmt: skip
    parts = (1, [[1.0], [-1.0]], [0.5, 0.5]), (3, [[1.0, 1.0]], [0.0]), (5, [[1.0]], [bias])
    for number, weight, shift in parts:
        layer = net[number]
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(shift)
    network = CrownPass(ReluGraph(fx.symbolic_trace(net.eval()).requires_grad_(False)))
    one = torch.ones(1, 1, 1, 1)
    before = [(torch.full((1, 2), -0.5), torch.full((1, 2), 1.5)), (torch.full((1, 1), 1.0), torch.full((1, 1), 3.0))]
    rows, signs = torch.zeros(2, dtype=torch.int64), torch.tensor([1.0, -1.0])
    early, late = (network.over((-one, one)).least(2, rows, signs, before, 256, settle=way) for way in (True, False))
    assert (early[0], late[0]) == (settled, whole)
    assert early[1] == late[1] < 0, "minus s + bias is negative, so nothing is settled"


@pytest.mark.parametrize("kind", KINDS)
def test_signs_told_early_change_no_margin(kind, monkeypatch):
    """Bounds with and without: equal margins, the same neurons of unknown sign; some rows did stop early."""
    network, least, early = made(kind, 1), crown_pass.Relaxed.least, []
    images = np.random.default_rng(0).random((3, *network.input_shape)).astype(np.float32)
    box, labels = Box(images - np.float32(0.02), images + np.float32(0.02), images), np.array([0, 1, 2])
    settled = margin_bounds(network, box, labels, BoundsConfig(), layers=True)

    def to_the_end(self, *asked):
        *call, settle = asked
        assert settle
        found = [least(self, *call, settle=way) for way in (True, False)]
        early.append(int((found[0] != found[1]).sum()))
        return found[1]

    monkeypatch.setattr(crown_pass.Relaxed, "least", to_the_end)
    whole = margin_bounds(network, box, labels, BoundsConfig(), layers=True)
    np.testing.assert_allclose(settled.lower, whole.lower, atol=1e-5)
    for one, other in zip(settled.layers, whole.layers, strict=True):
        assert (one.unstable == other.unstable).all()
    assert sum(early) > 0


def test_a_dead_block_costs_nothing(monkeypatch):
    """Where an inner ReLU is dead all over, the convolutions on both sides of it are not computed."""
    engine = BoundEngine(made(Residual))
    box, known = drawn(engine, 1, 0.1)
    before = list(known.values())
    rows, signs = torch.arange(36), torch.ones(36)
    calls, product = [], crown_pass.F.conv_transpose2d
    monkeypatch.setattr(crown_pass.F, "conv_transpose2d", lambda *a, **k: calls.append(a[1].shape) or product(*a, **k))

    def asked(sides):
        calls.clear()
        with torch.no_grad():
            found = engine._pass.over(engine._ends(box)).least(4, rows, signs, sides, 256)
        return found, len(calls)

    alive = [(low, up.clamp(min=0.1)) for low, up in before]
    dead = [(low - 99, up - 99) if layer in (2, 3) else (low, up) for layer, (low, up) in enumerate(alive)]
    (_, all_of_them), (_, fewer) = asked(alive[:4]), asked(dead[:4])
    assert fewer < all_of_them


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_known_proves_nothing(bad):
    engine = BoundEngine(made(Residual))
    box, known = drawn(engine, 2, 0.1)
    sides = list(known.values())
    sides[1] = (torch.full_like(sides[1][0], -bad), torch.full_like(sides[1][1], bad))
    with torch.no_grad():
        found = engine._pass.over(engine._ends(box)).margins(torch.eye(4)[:1] - torch.eye(4)[1:2], sides)
    assert not (found > -1e30).any()


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(3, 2, 3, padding_mode="circular", padding=1), nn.ReLU(), nn.Flatten()),
        nn.Sequential(nn.Conv2d(3, 2, 3, padding="same"), nn.ReLU(), nn.Flatten()),
        nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        nn.Sequential(nn.Conv2d(3, 2, 3), nn.Sigmoid(), nn.Flatten()),
        nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(2)),
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 9 * 11, 4)),
    ],
)
def test_other_networks_are_left_to_the_library(net):
    assert not CrownPass(ReluGraph(fx.symbolic_trace(net.eval()))).usable
    assert not CrownPass(ReluGraph(net)).usable, "no graph"


@pytest.mark.parametrize("wrong", ["slope below", "no shift", "forgets the bias"])
def test_a_pass_that_is_wrong_is_refused(wrong, monkeypatch):
    """The check of every method goes through the pass, too."""
    relax, before = crown_pass.Relaxed._relax, crown_pass.Relaxed._before

    def relaxed(self, sides):
        relax(self, sides)
        if wrong == "slope below":
            self._lines = [(above, torch.ones_like(below) * 1.5, shift) for above, below, shift in self._lines]
        elif wrong == "no shift":
            self._lines = [(above, below, 0 * shift) for above, below, shift in self._lines]

    def biasless(self, node, part):
        for source, passed, gained in before(self, node, part):
            yield source, passed, 0 * gained if wrong == "forgets the bias" else gained

    monkeypatch.setattr(crown_pass.Relaxed, "_relax", relaxed)
    monkeypatch.setattr(crown_pass.Relaxed, "_before", biasless)
    toy = made(Residual, 1)
    assert not checked(toy, "crown").holds
    assert checked(toy, "ibp").holds


def test_the_real_network_is_bounded_as_by_the_library(small_network, monkeypatch):
    images = load_images("embedded").take([8])
    box = Box.around(images.pixels, images.normalization, PUBLISHED_EPS)
    early = margin_bounds(small_network, box, images.labels, BoundsConfig(), layers=True)
    least = crown_pass.Relaxed.least  # the library's rows go to the end, so widths are compared of rows that do
    monkeypatch.setattr(crown_pass.Relaxed, "least", lambda *asked: least(*asked[:-1], settle=False))
    ours = margin_bounds(small_network, box, images.labels, BoundsConfig(), layers=True)
    monkeypatch.setattr(methods.engine_of(small_network)._pass, "usable", False)
    theirs = margin_bounds(small_network, box, images.labels, BoundsConfig(), layers=True)
    np.testing.assert_allclose(ours.lower, theirs.lower, atol=1e-4)
    np.testing.assert_allclose(early.lower, theirs.lower, atol=1e-4)
    for one, other, told in zip(ours.layers, theirs.layers, early.layers, strict=True):
        np.testing.assert_allclose(one.width, other.width, rtol=1e-4)
        np.testing.assert_array_equal(one.unstable, other.unstable)
        np.testing.assert_array_equal(told.unstable, other.unstable)
