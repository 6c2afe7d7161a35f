"""Margin bounds: answers by hand, an independent interval pass, chunks, state, errors."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable

import numpy as np
import pytest
import torch
import toys

from nbutils.bounds import layer_rows, lirpa, lirpa_import, margin_bounds, methods
from nbutils.core import METHODS, BoundsConfig, BoundsError, Box, ParameterError, class_margins, rivals, stream
from nbutils.images import load_images
from nbutils.networks import open_network


def plain(module: torch.nn.Module, input_shape: tuple[int, int, int], classes: int) -> types.SimpleNamespace:
    """A network as `margin_bounds` wants it, from a module that has no file."""
    module = module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return types.SimpleNamespace(
        name="plain", module=module, input_shape=input_shape, classes=classes, device=torch.device("cpu")
    )


def some_box(shape: tuple[int, ...], radius: float, name: str = "box") -> Box:
    center = stream("bounds", name).standard_normal(shape).astype(np.float32)
    return Box(center - np.float32(radius), center + np.float32(radius), center)


@pytest.mark.parametrize(("method", "slack"), [("ibp", 1e-6), ("crown-ibp", 1e-6), ("crown", 1e-6)])
def test_two_neurons_by_hand(two_neuron, method, slack):
    found = margin_bounds(two_neuron, toys.two_neuron_box(), np.array([0]), BoundsConfig(method=method))
    np.testing.assert_allclose(found.lower[0], toys.TWO_NEURON_BOUNDS[method], atol=slack)
    assert found.rivals.tolist() == [[1, 2]]
    assert found.verified[0] == (method != "ibp")


def test_alpha_crown_by_hand(two_neuron):
    # slope 3/4 is optimal; a hundred small steps reach it from slope 1
    config = BoundsConfig(method="alpha-crown", alpha_steps=100, alpha_lr=0.05)
    found = margin_bounds(two_neuron, toys.two_neuron_box(), np.array([0]), config)
    np.testing.assert_allclose(found.lower[0], toys.TWO_NEURON_BOUNDS["alpha-crown"], atol=5e-3)
    assert (found.lower[0] <= toys.TWO_NEURON_BOUNDS["alpha-crown"] + 1e-6).all()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_exact_on_an_affine_network(linear, method):
    box = some_box((3, *linear.input_shape), 0.25)
    labels = np.arange(3) % linear.classes
    # the smallest value of w . x + b over the box, in float64, from the network's own answers: w by differences
    zero = linear.logits(np.zeros((1, *linear.input_shape), np.float32)).astype(np.float64)
    size = int(np.prod(linear.input_shape))
    unit = linear.logits(np.eye(size, dtype=np.float32).reshape(size, *linear.input_shape)).astype(np.float64) - zero
    for row, label in enumerate(labels):
        others = rivals(labels[row : row + 1], linear.classes)[0]
        weight, bias = unit[:, [label]] - unit[:, others], zero[0, label] - zero[0, others]
        low, up = box.lower[row].reshape(-1, 1), box.upper[row].reshape(-1, 1)
        exact = np.where(weight > 0, weight * low, weight * up).sum(axis=0) + bias
        found = margin_bounds(linear, box.take([row]), labels[row : row + 1], BoundsConfig(method=method))
        np.testing.assert_allclose(found.lower[0], exact, atol=1e-5)


def test_ibp_agrees_with_an_interval_pass_in_numpy():
    """The oracle walks conv, BN, ReLU, Add and Linear itself, on centre and radius, in float64."""
    torch.manual_seed(0)
    conv, norm, skip, dense = (
        torch.nn.Conv2d(2, 3, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(3),
        torch.nn.Conv2d(2, 3, 1, bias=False),
        torch.nn.Linear(48, 4),
    )
    norm.running_mean.uniform_(-0.5, 0.5)
    norm.running_var.uniform_(0.5, 2)

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.skip, self.dense = conv, norm, skip, dense

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.dense(torch.flatten(torch.relu(self.norm(self.conv(x))) + self.skip(x), 1))

    network = plain(Block(), (2, 4, 4), 4)
    box = some_box((1, 2, 4, 4), 0.3)
    found = margin_bounds(network, box, np.array([2]), BoundsConfig(method="ibp"))

    def convolve(image: np.ndarray, weight: np.ndarray, pad: int) -> np.ndarray:
        padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(1, 2))
        return np.einsum("chwij,ocij->ohw", windows, weight)

    low, up = box.lower[0].astype(np.float64), box.upper[0].astype(np.float64)
    mid, rad = (low + up) / 2, (up - low) / 2
    k, s, w = (part.weight.numpy().astype(np.float64) for part in (conv, skip, dense))
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).numpy().reshape(3, 1, 1)
    shift = norm.bias.numpy().reshape(3, 1, 1) - norm.running_mean.numpy().reshape(3, 1, 1) * scale
    hidden_mid = convolve(mid, k, 1) * scale + shift
    hidden_rad = convolve(rad, np.abs(k), 1) * np.abs(scale)
    skip_mid, skip_rad = convolve(mid, s, 0), convolve(rad, np.abs(s), 0)
    sum_low = np.maximum(hidden_mid - hidden_rad, 0) + skip_mid - skip_rad
    sum_up = np.maximum(hidden_mid + hidden_rad, 0) + skip_mid + skip_rad
    others = [0, 1, 3]
    rows, bias = w[2] - w[others], dense.bias.numpy()[2] - dense.bias.numpy()[others]
    expected = np.maximum(rows, 0) @ sum_low.ravel() + np.minimum(rows, 0) @ sum_up.ravel() + bias
    np.testing.assert_allclose(found.lower[0], expected, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_tiny_box_has_the_natural_margins(tiny_resnet, method):
    box = some_box((2, *tiny_resnet.input_shape), 1e-6)
    labels = np.array([0, 3])
    natural = class_margins(tiny_resnet.logits(box.center), labels).values
    found = margin_bounds(tiny_resnet, box, labels, BoundsConfig(method=method, alpha_steps=2))
    np.testing.assert_allclose(found.lower, natural, atol=1e-3)
    assert (found.lower <= natural + 1e-5).all()


def test_methods_tighten_on_the_whole(tiny_resnet):
    box = some_box((4, *tiny_resnet.input_shape), 0.05)
    sums = [
        margin_bounds(tiny_resnet, box, np.arange(4), BoundsConfig(method=method)).lower.sum()
        for method in ("ibp", "crown-ibp", "crown", "alpha-crown")
    ]
    assert sums == sorted(sums)
    assert sums[0] < sums[-1] - 0.1


@pytest.mark.parametrize("steps", [1, 7])
def test_alpha_crown_is_never_below_crown(tiny_resnet, steps):
    box = some_box((3, *tiny_resnet.input_shape), 0.1)
    crown = margin_bounds(tiny_resnet, box, np.arange(3), BoundsConfig(method="crown"))
    config = BoundsConfig(method="alpha-crown", alpha_steps=steps, alpha_lr=2.0)
    alpha = margin_bounds(tiny_resnet, box, np.arange(3), config)
    assert (alpha.lower >= crown.lower).all()
    assert (alpha.lower > crown.lower + 1e-3).any()


@pytest.mark.parametrize("method", METHODS)
def test_result_is_free_of_order_batch_and_earlier_calls(tiny_resnet, method):
    box, labels = some_box((3, *tiny_resnet.input_shape), 0.1), np.array([0, 1, 4])
    config = BoundsConfig(method=method, alpha_steps=3)
    methods._ENGINES.clear()
    fresh = margin_bounds(tiny_resnet, box, labels, config, layers=True)
    for other in METHODS:
        margin_bounds(tiny_resnet, box.take([2]), labels[2:], BoundsConfig(method=other, alpha_steps=2))
    reversed_rows = [2, 1, 0]
    again = margin_bounds(tiny_resnet, box.take(reversed_rows), labels[reversed_rows], config, layers=True)
    np.testing.assert_array_equal(again.lower[reversed_rows], fresh.lower)
    alone = margin_bounds(tiny_resnet, box.take([1]), labels[1:2], config)
    np.testing.assert_array_equal(alone.lower[0], fresh.lower[1])
    for first, second in zip(fresh.layers, again.layers, strict=True):
        np.testing.assert_array_equal(first.width, second.width[reversed_rows])


def test_chunks_change_nothing_but_memory(tiny_resnet, monkeypatch):
    box, labels = some_box((2, *tiny_resnet.input_shape), 0.15), np.array([0, 1])
    whole = margin_bounds(tiny_resnet, box, labels, BoundsConfig(), layers=True)
    monkeypatch.setattr(layer_rows, "CHUNK", 3)
    chunked = margin_bounds(tiny_resnet, box, labels, BoundsConfig(), layers=True)
    np.testing.assert_allclose(chunked.lower, whole.lower, atol=1e-5)
    for first, second in zip(whole.layers, chunked.layers, strict=True):
        np.testing.assert_allclose(first.width, second.width, atol=1e-5)


def test_crown_agrees_with_the_librarys_own_pass(tiny_resnet):
    """Same relaxations, driven by the library in one go; ours may be tighter where intervals already are."""
    box, labels = some_box((1, *tiny_resnet.input_shape), 0.05), np.array([0])
    ours = margin_bounds(tiny_resnet, box, labels, BoundsConfig())
    module = lirpa.bounded_module(tiny_resnet.module, tiny_resnet.input_shape, tiny_resnet.device)
    x = lirpa.bounded_input(box.center, box.lower, box.upper, tiny_resnet.device)
    wanted = torch.from_numpy(methods.specification(labels, tiny_resnet.classes))
    with torch.no_grad():
        theirs = module.compute_bounds(x=(x,), C=wanted, method="CROWN", bound_upper=False)[0].numpy()
    np.testing.assert_allclose(ours.lower, theirs, atol=1e-4)


def test_layers_are_summed_up_input_side_first(two_neuron, tiny_resnet):
    # both pre-activations of the two-neuron net lie in [-1, 3]
    config = BoundsConfig(method="ibp")
    (layer,) = margin_bounds(two_neuron, toys.two_neuron_box(), np.array([0]), config, layers=True).layers
    assert (layer.neurons, layer.width.tolist(), layer.unstable.tolist()) == (2, [4.0], [1.0])
    box, labels = some_box((2, *tiny_resnet.input_shape), 0.1), np.array([0, 1])
    ibp, crown = (
        margin_bounds(tiny_resnet, box, labels, BoundsConfig(method=method), layers=True).layers
        for method in ("ibp", "crown")
    )
    assert len(ibp) == len(crown) == 3  # stem, inside the block, head
    assert ibp[-1].neurons == 8
    for loose, tight in zip(ibp, crown, strict=True):
        assert loose.name == tight.name
        assert loose.width.shape == (2,)
        assert (tight.width <= loose.width + 1e-6).all()
        assert (tight.unstable <= loose.unstable).all()
    assert margin_bounds(tiny_resnet, box, labels, config).layers == ()


def test_nonlinear_layers_other_than_relu_are_bounded_in_full():
    torch.manual_seed(1)
    module = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(8, 6),
        torch.nn.Tanh(),
        torch.nn.Linear(6, 5),
        torch.nn.Tanh(),
        torch.nn.Linear(5, 3),
    )
    network, box = plain(module, (2, 2, 2), 3), some_box((1, 2, 2, 2), 0.4)
    found = margin_bounds(network, box, np.array([0]), BoundsConfig(), layers=True)
    points = stream("tanh").uniform(box.lower, box.upper, (2000, 2, 2, 2)).astype(np.float32)
    logits = module(torch.from_numpy(points)).numpy()
    seen = class_margins(logits, np.zeros(2000, int)).values.min(axis=0)
    assert len(found.layers) == 2
    assert (found.lower[0] <= seen + 1e-5).all()


def test_nothing_costs_nothing_and_global_state_survives():
    code = """
import logging, sys, warnings
import numpy as np, torch, types
from nbutils.bounds import margin_bounds
from nbutils.core import BoundsConfig, Box
from nbutils.bounds.lirpa_import import exporter
GLOBALS = exporter("_globals").GLOBALS
module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)).eval()
net = types.SimpleNamespace(name="n", module=module, input_shape=(1, 1, 2), classes=2, device=torch.device("cpu"))
def state():
    return (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(), torch.random.initial_seed(),
            torch.get_rng_state().tolist(), sum(f[0] == "once" and f[2] is Warning for f in warnings.filters),
            list(logging.getLogger().handlers),
            GLOBALS.export_onnx_opset_version, torch.get_num_threads(), module.training,
            [p.requires_grad for p in module.parameters()], "numpy.lib.arraysetops" in sys.modules)
before = state()
none = np.zeros((0, 1, 1, 2), np.float32)
assert margin_bounds(net, Box(none, none, none), np.zeros(0, int), BoundsConfig()).lower.shape == (0, 1)
assert "auto_LiRPA" not in sys.modules
x = np.ones((1, 1, 1, 2), np.float32)
for method in ("ibp", "crown-ibp", "crown", "alpha-crown"):
    margin_bounds(net, Box(x - 1, x + 1, x), np.array([0]), BoundsConfig(method=method))
assert "auto_LiRPA" in sys.modules
assert state() == before, [pair for pair in zip(state(), before) if pair[0] != pair[1]]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""


def test_the_installed_library_takes_the_calls_made_here():
    module = lirpa.library().BoundedModule
    names = module.compute_bounds.__code__.co_varnames
    wanted = {"x", "C", "method", "final_node_name", "bound_lower", "bound_upper", lirpa.intermediate_name()}
    assert wanted <= set(names)
    initialise = getattr(module, "init_alpha", None) or module.init_slope
    assert {"x", "c", "bound_upper", lirpa.intermediate_name()} <= set(initialise.__code__.co_varnames)


def test_overflow_is_no_proof():
    dense = torch.nn.Linear(2, 2)
    dense.weight.data = torch.tensor([[3e38, 3e38], [-3e38, 3e38]])
    network = plain(torch.nn.Sequential(torch.nn.Flatten(), dense), (1, 1, 2), 2)
    box = Box(*(np.full((1, 1, 1, 2), value, np.float32) for value in (1, 3, 2)))
    for method in ("ibp", "crown"):
        found = margin_bounds(network, box, np.array([0]), BoundsConfig(method=method))
        assert found.lower.tolist() == [[-np.inf]]
        assert not found.verified[0]


class Odd(torch.nn.Module):
    def __init__(self, operation: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.dense, self.operation = torch.nn.Linear(2, 2), operation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.operation(self.dense(torch.flatten(x, 1)))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (torch.erf, r"plain: found operations without bounds: .*Erf.*; allowed: what auto_LiRPA knows"),
        (lambda x: torch.cumsum(x, dim=1), r"plain: crown is refused: failed in CumSum with NotImplementedError"),
    ],
)
def test_an_operation_without_bounds_is_named(operation, message):
    network, box = plain(Odd(operation), (1, 1, 2), 2), some_box((1, 1, 1, 2), 0.1)
    with pytest.raises(BoundsError, match=message):
        margin_bounds(network, box, np.array([0]), BoundsConfig())


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((1, 1, 2, 1), [0], r"box for two_neuron: found \(1, 1, 2, 1\); allowed: \[N, 1, 1, 2\]"),
        ((1, 1, 1, 2), [3], r"labels: found \[3\]; allowed: 0 to 2, the classes of two_neuron"),
        ((1, 1, 1, 2), [-1], r"labels: found \[-1\]; allowed: 0 to 2"),
        ((1, 1, 1, 2), [0, 1], r"labels: found \(2,\); allowed: one for each of 1 boxes"),
    ],
)
def test_input_that_does_not_fit_is_refused(two_neuron, shape, labels, message):
    with pytest.raises(BoundsError, match=message):
        margin_bounds(two_neuron, some_box(shape, 0.1), np.array(labels), BoundsConfig())


def test_too_little_memory_is_refused_before_anything_runs(two_neuron):
    with pytest.raises(BoundsError, match=r"memory_gb: found 1e-09; allowed: .* or more for two_neuron"):
        margin_bounds(two_neuron, toys.two_neuron_box(), np.array([0]), BoundsConfig(memory_gb=1e-9))


def test_unknown_method_is_refused():
    with pytest.raises(ParameterError, match=r"method: found 'deeppoly'; allowed: ibp, crown-ibp, crown, alpha-crown"):
        BoundsConfig(method="deeppoly")  # type: ignore[arg-type]


def test_less_memory_means_smaller_chunks_and_the_same_bounds(small_network):
    images = load_images("embedded").take([8])
    box = Box.around(images.pixels, images.normalization, 1 / 255)
    usual = margin_bounds(small_network, box, images.labels, BoundsConfig())
    tight = margin_bounds(small_network, box, images.labels, BoundsConfig(memory_gb=0.1))
    np.testing.assert_allclose(tight.lower, usual.lower, atol=1e-4)
    made = methods.engine_of(small_network)
    assert made._rows.chunk(0.1) < made._rows.chunk(12.0) == layer_rows.CHUNK


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_bounds_of_the_cpu():
    images = load_images("embedded").take([1, 8])
    box = Box.around(images.pixels, images.normalization, 1 / 255)
    for method in ("ibp", "crown-ibp", "crown"):
        found, expected = (
            margin_bounds(
                open_network("CIFAR100_resnet_small", device=device), box, images.labels, BoundsConfig(method=method)
            )
            for device in ("cuda", "cpu")
        )
        np.testing.assert_allclose(found.lower, expected.lower, rtol=1e-4, atol=1e-4)


def test_the_exporter_is_found_where_torch_keeps_it(monkeypatch):
    monkeypatch.setattr(lirpa_import.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(lirpa_import.importlib, "import_module", lambda name: name)
    assert lirpa_import.exporter("_globals") == "torch.onnx._globals"
    monkeypatch.setattr(lirpa_import.importlib.util, "find_spec", lambda name: name)
    assert lirpa_import.exporter("_globals") == "torch.onnx._internal.torchscript_exporter._globals"
