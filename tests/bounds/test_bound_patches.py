"""Rows of convolutions as patches: the same bounds as whole images, and whole images wherever patches do not fit."""

from __future__ import annotations

import types

import numpy as np
import pytest
import torch
from torch import nn

from nbutils.bounds import lirpa, margin_bounds, methods
from nbutils.bounds.methods import BoundEngine
from nbutils.core import BoundsConfig, Box, specification, stream
from nbutils.images import load_images


class Residual(nn.Module):
    """Two convolutions beside a shortcut; `after` is what follows the sum."""

    def __init__(self, wide: int, stride: int, after: nn.Module) -> None:
        super().__init__()
        self.one = nn.Conv2d(4, wide, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(wide)
        self.two = nn.Conv2d(wide, wide, 3, 1, 1)
        self.shortcut = nn.Conv2d(4, wide, 1, stride)
        self.after = after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.two(torch.relu(self.norm(self.one(x)))) + self.shortcut(x))


def head(features: int) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(features, 6), nn.ReLU(), nn.Linear(6, 3)]


def plain_stack() -> nn.Module:
    # 9x9 -> 4x4 (a row and a column of the input are left over) -> 4x4 -> 2x2
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 2, 2), nn.ReLU(), nn.Conv2d(4, 5, 3, 1, 1), nn.ReLU(), nn.Conv2d(5, 6, 3, 2, 1), nn.ReLU()),
        *head(24),
    )


def wide_padding() -> nn.Module:
    # 9x9 -> 11x11 -> 5x5: positions outside the image take part, and are no neurons
    return nn.Sequential(nn.Conv2d(2, 4, 3, 1, 2), nn.ReLU(), nn.Conv2d(4, 3, 5, 2, 1), nn.ReLU(), *head(75))


def shortcut(after: nn.Module) -> nn.Module:
    last = nn.Sequential(nn.Conv2d(6, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(nn.Conv2d(2, 4, 3, 1, 1), nn.ReLU(), Residual(6, 2, after), last, *head(100))


NETWORKS = {
    "stack": plain_stack,
    "wide padding": wide_padding,
    "shortcut": lambda: shortcut(nn.Identity()),
    "shortcut, ReLU after the sum": lambda: shortcut(nn.ReLU()),
}
SHAPE, CLASSES = (2, 9, 9), 3


def built(name: str) -> types.SimpleNamespace:
    """A network of `NETWORKS` with weights of its own, as `margin_bounds` wants it."""
    torch.manual_seed(3)
    module = NETWORKS[name]().eval()
    for norm in (part for part in module.modules() if isinstance(part, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.5, 2)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return types.SimpleNamespace(
        name=name, module=module, input_shape=SHAPE, classes=CLASSES, device=torch.device("cpu")
    )


def toy_box(radius: float) -> Box:
    center = stream("patches", "box").standard_normal((1, *SHAPE)).astype(np.float32)
    return Box(center - np.float32(radius), center + np.float32(radius), center)


def tightened(engine: BoundEngine, box: Box, classes: int) -> tuple[object, dict[str, tuple]]:
    """The box as the library takes it, and CROWN's bounds by layer."""
    wanted = torch.from_numpy(specification(np.array([0]), classes))
    _, hidden = engine.run(box, wanted, BoundsConfig())
    return lirpa.bounded_input(box.center, box.lower, box.upper, torch.device("cpu")), hidden


@pytest.mark.parametrize("name", NETWORKS)
def test_every_row_of_every_layer_is_the_same_as_a_patch(name):
    engine = BoundEngine(built(name))
    x, hidden = tightened(engine, toy_box(0.1), CLASSES)
    images = [layer for layer, (low, _) in hidden.items() if low.ndim == 4]
    assert len(images) >= 2
    assert [layer for layer, taken in engine._rows.patches.items() if taken] == images
    with torch.no_grad():
        for layer in images:
            before = {other: hidden[other] for other in list(hidden)[: list(hidden).index(layer)]}
            rows = torch.arange(hidden[layer][0].numel())
            for sign in (1.0, -1.0):
                signs = torch.full((len(rows),), sign)
                whole, patched = (engine._rows.least(x, before, layer, rows, signs, 50, way) for way in (False, True))
                torch.testing.assert_close(patched, whole, rtol=1e-5, atol=1e-5)
                assert whole.std() > 0.01


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("radius", [0.02, 0.2])
def test_margins_are_the_same_without_patches(name, radius, monkeypatch):
    fast = margin_bounds(built(name), toy_box(radius), np.array([1]), BoundsConfig(), layers=True)
    monkeypatch.setattr(lirpa, "has_patches", lambda: False)
    network = built(name)
    slow = margin_bounds(network, toy_box(radius), np.array([1]), BoundsConfig(), layers=True)
    assert not any(methods.engine_of(network)._rows.patches.values())
    np.testing.assert_allclose(fast.lower, slow.lower, atol=1e-5)
    for first, second in zip(fast.layers, slow.layers, strict=True):
        np.testing.assert_allclose(first.width, second.width, rtol=1e-5)
        np.testing.assert_array_equal(first.unstable, second.unstable)


def refused(*_: object) -> None:
    raise NotImplementedError("no patches here")


def one_sided(rows: torch.Tensor, signs: torch.Tensor, shape: torch.Size) -> object:
    return right(rows, signs.abs(), shape)


def shifted(rows: torch.Tensor, signs: torch.Tensor, shape: torch.Size) -> object:
    return right((rows + 1) % shape.numel(), signs, shape)


def nearly_right(rows: torch.Tensor, signs: torch.Tensor, shape: torch.Size) -> object:
    return right(rows, signs * (1 + 1e-5), shape)  # in float32 not to be told from rounding where terms cancel


right = lirpa.signed_patches


@pytest.mark.parametrize("broken", [refused, one_sided, shifted, nearly_right])
def test_patches_that_fail_or_differ_are_not_used(broken, monkeypatch):
    expected = margin_bounds(built("shortcut"), toy_box(0.1), np.array([1]), BoundsConfig())
    monkeypatch.setattr(lirpa, "signed_patches", broken)
    network = built("shortcut")
    weights = {name: value.clone() for name, value in methods.engine_of(network)._module.state_dict().items()}
    found = margin_bounds(network, toy_box(0.1), np.array([1]), BoundsConfig())
    assert not any(methods.engine_of(network)._rows.patches.values())
    np.testing.assert_allclose(found.lower, expected.lower, atol=1e-5)
    for name, value in methods.engine_of(network)._module.state_dict().items():
        assert value.dtype == torch.float32, name
        assert torch.equal(value, weights[name]), f"{name} after a trial in float64"


def test_an_operation_without_patches_falls_back(monkeypatch):
    """An activation on images between convolutions whose backward pass knows whole images alone."""
    network = built("stack")
    engine = methods.engine_of(network)
    relu = next(node for node in engine._module._modules.values() if lirpa.is_relu(node))
    backward = relu.bound_backward

    def whole_images_only(lower: object, *rest: object, **options: object) -> object:
        if not isinstance(lower, torch.Tensor):
            raise NotImplementedError
        return backward(lower, *rest, **options)

    expected = margin_bounds(built("stack"), toy_box(0.1), np.array([1]), BoundsConfig())
    monkeypatch.setattr(relu, "bound_backward", whole_images_only)
    found = margin_bounds(network, toy_box(0.1), np.array([1]), BoundsConfig())
    # The first layer has no ReLU before it, the rows of the third are whole images by then, the last is dense.
    assert list(engine._rows.patches.values()) == [True, False, True, False]
    np.testing.assert_allclose(found.lower, expected.lower, atol=1e-5)


def test_a_library_with_other_patches_is_noticed(monkeypatch):
    assert lirpa.has_patches() == hasattr(lirpa.library(), "patches")
    monkeypatch.setattr(lirpa.library().patches, "Patches", lambda patches, size: None)
    assert not lirpa.has_patches()
    monkeypatch.delattr(lirpa.library(), "patches")
    assert not lirpa.has_patches()


def test_rows_of_the_real_network(small_network):
    engine = methods.engine_of(small_network)
    images = load_images("embedded").take([8])
    x, hidden = tightened(engine, Box.around(images.pixels, images.normalization, 1 / 255), small_network.classes)
    layers = [layer for layer, (low, _) in hidden.items() if low.ndim == 4]
    assert len(layers) == 5
    assert all(engine._rows.patches[layer] for layer in layers if layer in engine._rows.patches)
    with torch.no_grad():
        for layer in layers:
            before = {other: hidden[other] for other in list(hidden)[: list(hidden).index(layer)]}
            rows = torch.linspace(0, hidden[layer][0].numel() - 1, 24).long()
            signs = torch.tensor([1.0, -1.0]).repeat(12)
            whole, patched = (engine._rows.least(x, before, layer, rows, signs, 10, way) for way in (False, True))
            torch.testing.assert_close(patched, whole, rtol=1e-4, atol=1e-5)


def test_the_side_that_can_settle_a_sign_goes_first(small_network, monkeypatch):
    """The second side is bounded only where the first one left the sign open."""
    engine = methods.engine_of(small_network)
    images = load_images("embedded").take([8])
    asked: dict[str, list[int]] = {}
    least = engine._least

    def counting(
        relaxed: object, x: object, known: object, name: str, rows: torch.Tensor, *rest: object
    ) -> torch.Tensor:
        asked.setdefault(name, []).append(len(rows))
        return least(relaxed, x, known, name, rows, *rest)

    monkeypatch.setattr(engine, "_least", counting)
    _, hidden = tightened(engine, Box.around(images.pixels, images.normalization, 1 / 255), small_network.classes)
    assert asked
    for name, (first, *second) in asked.items():
        low, up = hidden[name]
        unstable = int(((low < 0) & (up > 0)).sum())
        assert second == ([unstable] if unstable else [])
        assert first >= unstable
