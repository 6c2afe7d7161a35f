"""Intervals through composed convolutions against the Jacobian, sampling and CROWN itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import fx, nn

from nbutils.bounds import engine, margin_bounds, methods
from nbutils.bounds.composed_intervals import ComposedIntervals
from nbutils.core import BoundsConfig, Box

SHAPE = (3, 9, 11)


class Residual(nn.Module):
    """Two blocks with odd sizes, a strided shortcut, and a strided first convolution."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, stride=1, padding=1)
        self.one, self.two = nn.Conv2d(5, 6, 3, stride=2, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.short = nn.Conv2d(5, 6, 1, stride=2)
        self.three, self.four = nn.Conv2d(6, 7, 3, padding=1), nn.Conv2d(7, 6, 3, padding=1)
        self.five, self.six = nn.Conv2d(6, 5, 3, stride=2, padding=1), nn.Conv2d(5, 5, 3, padding=1)
        self.shorter = nn.Conv2d(6, 5, 1, stride=2)
        self.seven = nn.Conv2d(5, 4, 3, padding=1)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(5))
        self.flatten, self.last = nn.Flatten(), nn.Linear(4 * 3 * 3, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relus[0](self.stem(x))
        x = self.two(self.relus[1](self.one(x))) + self.short(x)
        x = x + self.four(self.relus[2](self.three(x)))
        x = self.six(self.relus[3](self.five(x))) + self.shorter(x)
        return self.last(self.flatten(self.relus[4](self.seven(x))))


class Straight(nn.Module):
    """A block whose shortcut is the stem itself, as in CIFAR100_resnet_large, and a hidden linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, padding=1)
        self.one, self.two = nn.Conv2d(5, 5, 3, padding=1), nn.Conv2d(5, 5, 3, padding=1)
        self.three, self.four = nn.Conv2d(5, 6, 3, stride=2, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.short = nn.Conv2d(5, 6, 1, stride=2)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(4))
        self.flatten, self.hidden, self.last = nn.Flatten(), nn.Linear(6 * 5 * 6, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relus[0](self.stem(x))
        x = x + self.two(self.relus[1](self.one(x)))
        x = self.four(self.relus[2](self.three(x))) + self.short(x)
        return self.last(self.relus[3](self.hidden(self.flatten(x))))


class Bordered(nn.Module):
    """Blocks read by convolutions whose paddings are as wide as their kernels, and wider."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.two, self.three = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1, padding=1)
        self.four, self.five = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.six = nn.Conv2d(4, 4, 2, stride=2, padding=4)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(5))
        self.flatten, self.last = nn.Flatten(), nn.Linear(4 * 9 * 10, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relus[0](self.stem(x))
        x = self.relus[2](self.three(x + self.two(self.relus[1](self.one(x)))))
        x = self.relus[4](self.six(x + self.five(self.relus[3](self.four(x)))))
        return self.last(self.flatten(x))


class Toy:
    """What bounds need of a network."""

    def __init__(self, module: nn.Module) -> None:
        self.name, self.module = "toy", fx.symbolic_trace(module.eval())
        self.input_shape, self.classes, self.device = SHAPE, 4, torch.device("cpu")


@pytest.fixture
def toy() -> Toy:
    torch.manual_seed(0)
    return Toy(Residual())


def boxes_before(composed: ComposedIntervals, x: torch.Tensor, moving: float) -> list[tuple]:
    """Boxes around the inputs of all ReLUs at `x`, a share `moving` of the neurons in them not fixed."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for value in composed.values(x):
        size, free = (torch.rand(value.shape, generator=generator) for _ in range(2))
        radius = size * (free < moving)
        found.append((value - radius, value + radius))
    return found


@pytest.mark.parametrize("moving", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(
    ("kind", "layer"), [(Residual, 2), (Residual, 3), (Residual, 4), (Straight, 2), (Bordered, 2), (Bordered, 4)]
)
def test_the_radius_is_the_row_sum_of_the_jacobian(kind, layer, moving):
    """An output of the affine map from the ReLUs' outputs moves by sum |d out / d source| times a source's radius."""
    torch.manual_seed(0)
    toy = Toy(kind())
    composed = ComposedIntervals(toy.module)
    x = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(2))
    before = boxes_before(composed, x, moving)[:layer]
    low, up = composed.bounds(layer, (x, x), before)
    sources = [((a.relu() + b.relu()) / 2).requires_grad_() for a, b in before]
    outputs = [node.target for node in toy.module.graph.nodes if str(node.target).startswith("relus")]
    seen = {}

    class Replaced(fx.Interpreter):
        """The network with `sources` in the place of the outputs of its first ReLUs."""

        def call_module(self, target, args, kwargs):
            number = outputs.index(target) if target in outputs else len(outputs)
            seen[number] = args[0]
            return sources[number] if number < layer else super().call_module(target, args, kwargs)

    Replaced(toy.module).run(x)
    out = seen[layer]
    rows = torch.eye(out.numel()).view(-1, *out.shape)
    slopes = torch.autograd.grad(out, sources, rows, is_grads_batched=True, allow_unused=True)
    radius = torch.zeros(out.numel())
    for slope, (a, b) in zip(slopes, before, strict=True):
        if slope is not None:
            radius += (slope.abs() * (b.relu() - a.relu()) / 2).flatten(1).sum(1)
    torch.testing.assert_close((low + up) / 2, out.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(((up - low) / 2).flatten(), radius, rtol=1e-3, atol=1e-4)
    assert (((up - low) / 2).flatten() >= radius).all()


def test_no_sampled_point_leaves_the_bounds(toy):
    composed = ComposedIntervals(toy.module)
    center = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(3))
    points = center + 0.05 * (2 * torch.rand(500, *SHAPE, generator=torch.Generator().manual_seed(4)) - 1)
    seen = composed.values(points)
    hulls = [(value.amin(0, keepdim=True), value.amax(0, keepdim=True)) for value in seen]
    for layer in (2, 3, 4):
        low, up = composed.bounds(layer, (center - 0.05, center + 0.05), hulls[:layer])
        assert (seen[layer] >= low).all()
        assert (seen[layer] <= up).all()


def test_what_overflowed_proves_nothing(toy):
    composed = ComposedIntervals(toy.module)
    x = torch.zeros(1, *SHAPE)
    before = boxes_before(composed, x, 0.5)[:3]
    for bad in (float("inf"), float("nan")):
        before[2][1].fill_(bad)
        low, up = composed.bounds(3, (x, x), before)
        assert not ((low > 0) | (up < 0)).any()


def test_layers_without_paths_have_no_answer(toy):
    composed = ComposedIntervals(toy.module)
    x = torch.zeros(1, *SHAPE)
    assert composed.layers == 5
    assert [composed.bounds(layer, (x, x), boxes_before(composed, x, 0.1)) is None for layer in range(5)] == [
        True, True, False, False, False,
    ]  # fmt: skip
    straight = ComposedIntervals(Toy(Straight()).module)
    answers = [straight.bounds(layer, (x, x), boxes_before(straight, x, 0.1)) for layer in range(4)]
    assert [answer is None for answer in answers] == [True, True, False, True]
    assert ComposedIntervals(Residual()).layers == 0, "no graph"
    assert ComposedIntervals(Residual()).values(x) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda net: setattr(net, "four", nn.Conv2d(7, 6, 3, padding=1, padding_mode="circular")),
        lambda net: setattr(net, "short", nn.Conv2d(5, 6, 3, stride=2, padding=1)),
        lambda net: setattr(net, "shorter", nn.Conv2d(6, 5, 3, stride=2, padding=1)),
        lambda net: setattr(net, "seven", nn.Conv2d(5, 4, 3, padding=2, dilation=2)),
    ],
)
def test_other_convolutions_are_left_to_crown(change):
    torch.manual_seed(0)
    net = Residual()
    change(net)
    composed = ComposedIntervals(fx.symbolic_trace(net.eval()))
    x = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(2))
    before = boxes_before(composed, x, 1.0)
    answers = [composed.bounds(layer, (x, x), before[:layer]) for layer in range(5)]
    assert sum(answer is None for answer in answers) >= 2


@pytest.mark.parametrize("radius", [0.01, 0.05, 0.2])
def test_crown_is_the_same_with_less_work(toy, radius, monkeypatch):
    center = np.random.default_rng(5).standard_normal((1, *SHAPE)).astype(np.float32)
    box = Box(center - np.float32(radius), center + np.float32(radius), center)
    rows = []
    least = engine.BoundEngine._least

    def counted(self, relaxed, x, done, name, some, *rest):
        rows.append(len(some))
        return least(self, relaxed, x, done, name, some, *rest)

    margin_bounds(toy, box, np.array([1]), BoundsConfig())  # the method is examined once
    monkeypatch.setattr(engine.BoundEngine, "_least", counted)
    fast = margin_bounds(toy, box, np.array([1]), BoundsConfig(), layers=True)
    assert len(methods.engine_of(toy)._numbers) == 5
    few = sum(rows)
    rows.clear()
    methods.engine_of(toy)._numbers = {}
    slow = margin_bounds(toy, box, np.array([1]), BoundsConfig(), layers=True)
    np.testing.assert_allclose(fast.lower, slow.lower, atol=1e-4)
    for one, other in zip(fast.layers, slow.layers, strict=True):
        np.testing.assert_array_equal(one.unstable, other.unstable)
    assert few <= sum(rows)
    assert few < sum(rows) or radius > 0.05


def test_a_reading_that_sees_other_values_is_not_used(toy, monkeypatch):
    center = np.zeros((1, *SHAPE), np.float32)
    box = Box(center - np.float32(0.1), center + np.float32(0.1), center)
    values = ComposedIntervals.values
    monkeypatch.setattr(ComposedIntervals, "values", lambda self, x: [value + 1 for value in values(self, x)])
    margin_bounds(toy, box, np.array([1]), BoundsConfig())
    assert methods.engine_of(toy)._numbers == {}


class Broadcast(nn.Module):
    """A sum of a layer and of one value a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pooled = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, SHAPE[1:])
        self.next, self.last = nn.Conv2d(4, 2, 3, stride=2, padding=1), nn.Linear(2 * 5 * 6, 4)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relus[0](self.stem(x)) + self.relus[1](self.pooled(x))
        return self.last(self.relus[2](self.next(x)).flatten(1))


def test_sums_of_unequal_shapes_are_left_to_crown():
    torch.manual_seed(0)
    toy, point = Toy(Broadcast()), torch.zeros(1, *SHAPE)
    assert ComposedIntervals(toy.module).graph.broadcasts(point)
    assert not ComposedIntervals(Toy(Residual()).module).graph.broadcasts(point)
    made = engine.BoundEngine(toy)
    values = made._intervals(engine.lirpa.bounded_input(*[point] * 3, point.device), torch.eye(4)[None])[1]
    assert len(values) == 3
    assert made._numbered(point.numpy(), {name: low for name, (low, _) in values.items()}) == {}
