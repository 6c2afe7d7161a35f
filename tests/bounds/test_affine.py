"""The affine map of a network against its Jacobian, sampling, an answer worked out by hand, and CROWN."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_composed import SHAPE, Residual, Straight, Toy
from torch import Tensor, fx, nn

from nbutils.bounds import affine_intervals, engine, layer_rows, lirpa, margin_bounds, methods
from nbutils.bounds.affine_intervals import AffineIntervals
from nbutils.bounds.composed_intervals import ROUNDING, ComposedIntervals
from nbutils.core import PUBLISHED_EPS, BoundsConfig, Box
from nbutils.images import load_images
from nbutils.networks import folded


def made(kind: type[nn.Module], seed: int = 0) -> Toy:
    torch.manual_seed(seed)
    return Toy(kind())


@functools.cache
def engine_of(kind: type[nn.Module], seed: int) -> engine.BoundEngine:
    return engine.BoundEngine(made(kind, seed))


def intervals(toy: Toy) -> AffineIntervals:
    return AffineIntervals(ComposedIntervals(toy.module))


def point(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))


def swept(network: AffineIntervals, box: tuple[Tensor, Tensor], before: list[tuple[Tensor, Tensor]]) -> list:
    """Bounds of all layers, asked for one after the other."""
    sweep = network.sweep(box)
    return [sweep.bounds(layer, before[:layer]) for layer in range(len(network.graph.relus))]


KINDS = pytest.mark.parametrize("kind", [Residual, Straight])


@KINDS
@pytest.mark.parametrize("tile", [1, 4, 32])
def test_where_all_signs_are_settled_the_radius_is_the_row_sum_of_the_jacobian(kind, tile, monkeypatch):
    monkeypatch.setattr(affine_intervals, "TILE", tile)
    toy, x = made(kind), point(1)
    network, radius = intervals(toy), torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(2)) / 100
    values = network.composed.values(x)
    for layer, (low, up) in enumerate(swept(network, (x - radius, x + radius), [(value, value) for value in values])):
        rows = torch.autograd.functional.jacobian(lambda point, n=layer: network.composed.values(point)[n].flatten(), x)
        expected = (rows.flatten(1).abs() * radius.flatten()).sum(1).view_as(low)
        torch.testing.assert_close((low + up) / 2, values[layer], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close((up - low) / 2, expected, rtol=1e-3, atol=1e-4)
        assert ((up - low) / 2 >= expected).all()


@KINDS
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), radius=st.floats(0.001, 0.5))
def test_no_sampled_point_leaves_the_bounds(kind, seed, radius):
    """Bounds of each layer from hulls of samples of the layers before: the samples obey them all."""
    toy, center = made(kind, seed % 7), point(seed)
    network = intervals(toy)
    generator = torch.Generator().manual_seed(seed + 1)
    inner = 2 * torch.rand(100, *SHAPE, generator=generator) - 1
    corners = torch.randint(0, 2, (100, *SHAPE), generator=generator) * 2 - 1
    seen = network.composed.values(center + radius * torch.cat([inner, corners]))
    hulls = [(value.amin(0, keepdim=True), value.amax(0, keepdim=True)) for value in seen]
    for value, (low, up) in zip(seen, swept(network, (center - radius, center + radius), hulls), strict=True):
        assert (value >= low).all()
        assert (value <= up).all()


def test_worked_out_by_hand():
    """z = (x, -x) + 1/2 over x in [-1, 1], then their ReLUs' difference and sum.

    Both chords run from 0 at -1/2 to 3/2 at 3/2: slope 3/4, 3/8 above zero at z = 0. CROWN's line is z itself there,
    (1/2)^2 / 2 = 1/8 below the chord's parallel through zero at z = -1/2: so shift (3/8 - 1/8) / 2 = 1/8, error 1/4.
    """
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU())
    for layer, weight, bias in ((net[1], [[1.0], [-1.0]], [0.5, 0.5]), (net[3], [[1.0, -1.0], [1.0, 1.0]], [0.0, 0.0])):
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    network = AffineIntervals(ComposedIntervals(fx.symbolic_trace(net.eval()).requires_grad_(False)))
    one = torch.ones(1, 1, 1, 1)
    first = (torch.full((1, 2), -0.5), torch.full((1, 2), 1.5))
    (low, up), (lower, upper) = swept(network, (-one, one), [first])
    torch.testing.assert_close(torch.stack([low, up]), torch.stack(first), rtol=0, atol=1e-3)
    # difference: 3/4 (x + x) +- 1/2, sum: 3/4 + 2/8 +- 1/2
    torch.testing.assert_close(lower, torch.tensor([[-2.0, 0.5]]), rtol=0, atol=1e-3)
    torch.testing.assert_close(upper, torch.tensor([[2.0, 1.5]]), rtol=0, atol=1e-3)
    assert (lower < torch.tensor([[-2.0, 0.5]])).all(), "rounding only ever widens"


@KINDS
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), radius=st.floats(0.001, 0.2))
def test_crown_settles_what_is_settled_here(kind, seed, radius):
    """From CROWN's own bounds of the layers before, those of the affine map are nowhere tighter than CROWN's."""
    engine = engine_of(kind, seed % 3)
    center = point(seed)
    ends = center - radius, center + radius
    x, own = lirpa.bounded_input(center, *ends, center.device), {}
    for name in engine._intervals(x, torch.eye(4)[None])[1]:  # the library's own choice of patches errs at odd sizes
        shape = engine._module[name].output_shape
        rows = torch.arange(shape[1:].numel())
        sides = [engine._rows.least(x, own, name, rows, sign * torch.ones(len(rows)), 256, False) for sign in (1, -1)]
        own[name] = sides[0].view(shape), -sides[1].view(shape)
    for (crown_low, crown_up), (low, up) in zip(
        own.values(), swept(engine._affine, ends, list(own.values())), strict=True
    ):
        slack = 1e-5 * (1 + crown_up - crown_low)
        assert (low <= crown_low + slack).all()
        assert (up >= crown_up - slack).all()


@KINDS
@pytest.mark.parametrize("radius", [0.01, 0.05, 0.2])
def test_crown_is_the_same_with_less_work(kind, radius, monkeypatch):
    toy, center = made(kind), point(5).numpy()
    box = Box(center - np.float32(radius), center + np.float32(radius), center)
    monkeypatch.setattr(affine_intervals.Sweep, "worth", lambda self, layer, rows, memory_gb: rows > 0)
    rows, least = [], layer_rows.LayerRows.least

    def counted(self, x, known, name, some, *rest):
        rows.append(len(some))
        return least(self, x, known, name, some, *rest)

    monkeypatch.setattr(layer_rows.LayerRows, "least", counted)
    found = {}
    for usable in (True, False):
        margin_bounds(toy, box, np.array([1]), BoundsConfig())  # layers try patches once
        methods.engine_of(toy)._affine.usable = usable
        rows.clear()
        found[usable] = margin_bounds(toy, box, np.array([1]), BoundsConfig(), layers=True), sum(rows)
    (fast, few), (slow, many) = found[True], found[False]
    np.testing.assert_allclose(fast.lower, slow.lower, atol=1e-4)
    for one, other in zip(fast.layers, slow.layers, strict=True):
        np.testing.assert_array_equal(one.unstable, other.unstable)
    assert few < many


def test_it_is_swept_where_rows_cost_more_and_memory_suffices():
    network = intervals(made(Residual))
    x = point(1)
    sweep = network.sweep((x - 0.01, x + 0.01))
    dimensions = x.numel()
    assert sweep.worth(2, dimensions, 12.0)
    assert not sweep.worth(2, dimensions // 10, 12.0)
    assert not sweep.worth(2, dimensions, 1e-6)
    values = network.composed.values(x)
    sweep.bounds(2, [(value, value) for value in values[:2]])
    assert sweep.worth(3, dimensions // 4, 12.0), "the first layers are behind the tangents"


def test_what_overflowed_proves_nothing():
    network, x = intervals(made(Residual)), point(1)
    for bad in (float("inf"), float("nan")):
        before = [(value - 1, value + 1) for value in network.composed.values(x)]
        before[2][1].fill_(bad)
        low, up = network.sweep((x, x)).bounds(3, before[:3])
        assert not ((low > 0) | (up < 0)).any()


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
def test_other_networks_are_left_to_crown(net):
    assert not AffineIntervals(ComposedIntervals(fx.symbolic_trace(net.eval()))).usable
    assert not AffineIntervals(ComposedIntervals(net)).usable, "no graph"


def test_rounding_takes_a_small_part_of_what_is_added_for_it(small_network, monkeypatch):
    """Bounds in float32 against those in float64 to which nothing is added: they enclose them with room to spare."""
    images = load_images("embedded")
    box = Box.around(images.pixels[:1], small_network.normalization, PUBLISHED_EPS)
    ends = torch.as_tensor(box.lower), torch.as_tensor(box.upper)
    made = engine.BoundEngine(small_network)
    assert made._affine.usable
    before = [
        (value - 0.05 * value.std(), value + 0.05 * value.std()) for value in made._composed.values(sum(ends) / 2)
    ][:-1]  # of the convolutions
    narrow = made._affine.sweep(ends)
    found = [narrow.bounds(layer, before[:layer]) for layer in range(len(before))]
    monkeypatch.setattr(affine_intervals, "ROUNDING", 0.0)
    twin = AffineIntervals(ComposedIntervals(folded(small_network.module).double()))
    exact = twin.sweep(tuple(side.double() for side in ends))
    for layer, (low, up) in enumerate(found):
        lower, upper = exact.bounds(layer, [tuple(side.double() for side in sides) for sides in before[:layer]])
        room = ROUNDING / 2 * (upper - lower) / 2
        assert (low <= lower - room).all()
        assert (up >= upper + room).all()
