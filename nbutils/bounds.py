"""Sound lower bounds of all class margins over boxes: IBP, CROWN-IBP, CROWN and alpha-CROWN in one call form.

The only door to auto_LiRPA. One image is bounded at a time, so nothing depends on what else is in the batch. CROWN's
intermediate bounds are driven from here, layer by layer and in chunks of rows: that bounds memory, and a neuron
whose sign a cheaper bound settles already is never bounded again. Neurons of convolutions are carried through the
network as patches of the size of their receptive field, where the library's patches pass a trial.

Sources: IBP, Gowal et al. 2018; CROWN, Zhang et al. 2018; CROWN-IBP, Zhang et al. 2020; auto_LiRPA, Xu et al. 2020;
alpha-CROWN, Xu et al. 2021.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import torch

from . import _lirpa, _rows
from .config import BoundsConfig
from .errors import BoundsError, require
from .margins import rivals, specification
from .records import Box, LayerBounds, MarginBounds

CHUNK = 256
"""Most neurons bounded at once; larger chunks are not faster on two cores."""

_Interval = tuple[torch.Tensor, torch.Tensor]


class Classifier(Protocol):
    """What bounds need of a `networks.Network`."""

    name: str
    module: torch.nn.Module
    input_shape: tuple[int, int, int]
    classes: int
    device: torch.device


def margin_bounds(
    network: Classifier,
    box: Box,
    labels: np.ndarray,
    config: BoundsConfig,
    *,
    layers: bool = False,
    only_last: bool = False,
) -> MarginBounds:
    """Lower bounds of all class margins over `box`, by `config.method`, in network input space.

    Args:
        network: the opened network; its torch twin is bounded.
        box: N boxes [N, C, H, W].
        labels: true labels [N].
        config: method, alpha-CROWN's steps, tolerance of a proof, memory.
        layers: also sum up the pre-activation bounds of every nonlinear layer.
        only_last: CROWN tightens the last nonlinear layer alone and keeps intervals in all before it. On a small
            network trained on large boxes, radius 1/255, that was a fifth of the time for bounds 1 to 2 % lower: in
            front of a few dense neurons intervals lost nearly everything that they lose. On CIFAR100_resnet_small,
            trained on tiny boxes, it is a twentieth of the time and proves nothing.

    Returns:
        Bounds [N, K-1]. A bound that overflowed or came out as NaN is minus infinity: never a proof.

    Raises:
        BoundsError: for a box of another shape, labels outside the classes, too little memory for a single neuron, or
            an operation without bounds.
    """
    labels = np.asarray(labels, dtype=np.int64)
    _check(network, box, labels)
    others = rivals(labels, network.classes)
    lower = np.empty(others.shape, dtype=np.float32)
    seconds = np.zeros(len(box))
    seen: list[list[LayerBounds]] = []
    engine = _engine(network) if len(box) else None
    for row, single in enumerate(box):
        start = time.perf_counter()
        wanted = torch.from_numpy(specification(labels[row : row + 1], network.classes)).to(network.device)
        try:
            values, hidden = engine.run(single, wanted, config, only_last)
        except _lirpa.FAILURES as error:
            _ENGINES.pop(network.module, None)  # its state is unknown now
            place = f" in {found}" if (found := _lirpa.failing_operation(error)) else ""
            raise BoundsError(
                f"{network.name}: {config.method} failed{place} with {type(error).__name__}: {error}"
            ) from error
        values = values.cpu().numpy()
        lower[row] = np.where(np.isfinite(values), values, -np.inf)
        if layers:
            seen.append([_summary(name, interval) for name, interval in hidden.items()])
        seconds[row] = time.perf_counter() - start
    stacked = tuple(_stack(parts) for parts in zip(*seen, strict=True))
    method = f"{config.method} last layer" if only_last else config.method
    return MarginBounds(method, lower, others, labels, seconds, config.tolerance, stacked)


class BoundEngine:
    """One network as a `BoundedModule`, built once; every run starts from a clean state."""

    def __init__(self, network: Classifier) -> None:
        self._name = network.name
        self._device = network.device
        self._input_shape = network.input_shape
        self._patches: dict[str, bool] = {}
        try:
            self._module = _lirpa.bounded_module(network.module, network.input_shape, network.device)
        except _lirpa.UnsupportedOperation as error:
            raise BoundsError(
                f"{network.name}: found operations without bounds: {error}; allowed: what auto_LiRPA knows, such as "
                "Conv, BatchNormalization, Relu, Add, Flatten, Gemm."
            ) from error

    def run(
        self, box: Box, wanted: torch.Tensor, config: BoundsConfig, only_last: bool = False
    ) -> tuple[torch.Tensor, dict[str, _Interval]]:
        """Lower bounds [M] of `wanted` [1, M, K] @ logits over one box, and the pre-activation bounds by layer."""
        x = _lirpa.bounded_input(box.center, box.lower, box.upper, self._device)
        with torch.no_grad():
            margins, hidden = self._intervals(x, wanted)
            if config.method == "ibp":
                return margins, hidden
            chunk = self._chunk(config.memory_gb)
            if config.method != "crown-ibp":
                center = _lirpa.bounded_input(box.center, box.center, box.center, self._device)
                values = {name: low for name, (low, _) in self._intervals(center, wanted)[1].items()}
                hidden = self._tighten(x, hidden, values, chunk, only_last)
            parts = [
                self._compute(x, hidden, method="backward", C=rows, bound_upper=False)[0].flatten()
                for rows in wanted.split(chunk, dim=1)
            ]
            margins = torch.cat(parts)
        if config.method == "alpha-crown" and self._module.optimizable_activations:
            better = [
                _lirpa.optimized_lower(self._module, x, rows, hidden, config.alpha_steps, config.alpha_lr)
                for rows in wanted.split(chunk, dim=1)
            ]
            margins = torch.fmax(margins, torch.cat(better))
        return margins, hidden

    def _intervals(self, x: Any, wanted: torch.Tensor) -> tuple[torch.Tensor, dict[str, _Interval]]:
        """IBP bounds of the margins [M] and of every input of a nonlinear layer, input side first."""
        lower, _ = self._module.compute_bounds(x=(x,), C=wanted, method="IBP", bound_upper=False)
        hidden = {}
        for node in self._module._modules.values():
            for source in _lirpa.bounded_inputs(node):
                if source.perturbed and getattr(source, "lower", None) is not None:
                    hidden.setdefault(source.name, (source.lower.clone(), source.upper.clone()))
        return lower[0], hidden

    def _tighten(
        self, x: Any, hidden: dict[str, _Interval], values: dict[str, torch.Tensor], chunk: int, only_last: bool
    ) -> dict[str, _Interval]:
        """CROWN bounds of the layers in `hidden` (or of the last of them), each from the tightened ones before it.

        A ReLU's relaxation is exact once the sign of its input is known. So neurons settled by intervals are left
        alone, the side that may settle a sign comes first, and the other side only where it did not. The sign, if
        there is one, is that of the neuron's value at the centre, in `values`.
        """
        names = list(hidden)
        done = {name: hidden[name] for name in names[:-1]} if only_last else {}
        for name in names[len(done) :]:
            # Intervals from the tightened layers before are tighter than IBP from the input, for one cheap pass.
            low, up = (side.clone() for side in self._compute(x, done, method="IBP", final_node_name=name))
            shape, low, up = low.shape, low.flatten(), up.flatten()
            first = torch.where(values[name].flatten() < 0, -1.0, 1.0)
            for signs in (first, -first):
                open_rows = (low < 0) & (up > 0) if self._feeds_relus(name) else torch.ones_like(low, dtype=torch.bool)
                rows = open_rows.nonzero()[:, 0]
                if len(rows) == 0:
                    continue
                patches = self._takes_patches(name, done, chunk)
                least = self._least(x, done, name, rows, signs[rows], chunk, patches)
                positive = signs[rows] > 0
                low[rows] = torch.where(positive, torch.fmax(low[rows], least), low[rows])
                up[rows] = torch.where(positive, up[rows], torch.fmin(up[rows], -least))
            done[name] = (low.view(shape), up.view(shape))
        return done

    def _least(
        self,
        x: Any,
        known: dict[str, _Interval],
        name: str,
        rows: torch.Tensor,
        signs: torch.Tensor,
        chunk: int,
        patches: bool,
    ) -> torch.Tensor:
        """CROWN's lower bounds [M] of `signs` times the neurons `rows` [M] of the layer `name`."""
        shape = torch.Size(self._module[name].output_shape)
        specify = _lirpa.signed_patches if patches else _rows.signed_rows
        parts = []
        for some, sides in zip(rows.split(chunk), signs.split(chunk), strict=True):
            call = {"C": specify(some, sides, shape), "final_node_name": name, "bound_upper": False}
            parts.append(self._compute(x, known, method="backward", **call)[0].flatten())
        return torch.cat(parts)

    def _takes_patches(self, name: str, known: dict[str, _Interval], chunk: int) -> bool:
        """Whether rows of the layer `name` go as patches: where a trial gives the same bounds as whole images.

        Tried once a layer, at corners, edges and middle and with both signs, over a made-up input and made-up
        intervals of the layers before in which no relaxation is exact, so the answer depends on no image. A layer or
        a library whose patches fail or differ costs speed only.
        """
        if name not in self._patches:
            self._patches[name] = False
            shape = torch.Size(self._module[name].output_shape)
            if _lirpa.has_patches() and len(shape) == 4:
                rows, signs = _rows.trial(shape, self._device)
                low, up = _rows.made_up((1, *self._input_shape), self._device)
                x = _lirpa.bounded_input((low + up) / 2, low, up, self._device)
                made_up = {layer: _rows.made_up(side.shape, self._device) for layer, (side, _) in known.items()}
                with contextlib.suppress(*_lirpa.FAILURES):
                    whole, patched = (self._least(x, made_up, name, rows, signs, chunk, way) for way in (False, True))
                    self._patches[name] = bool(((whole - patched).abs() <= 1e-4 * (1 + whole.abs())).all())
        return self._patches[name]

    def _feeds_relus(self, name: str) -> bool:
        """Whether every nonlinear layer reading the node `name` is a ReLU."""
        readers = [self._module[after] for after in self._module[name].output_name]
        return all(_lirpa.is_relu(reader) for reader in readers if _lirpa.bounded_inputs(reader))

    def _compute(self, x: Any, known: dict[str, _Interval], **call: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """`compute_bounds` with the bounds of the layers in `known` taken as given."""
        return self._module.compute_bounds(x=(x,), **{_lirpa.intermediate_name(): known}, **call)

    def _chunk(self, memory_gb: float) -> int:
        """Rows of a linear bound whose coefficients fit into `memory_gb`."""
        widest = max(int(np.prod(node.output_shape[1:])) for node in self._module._modules.values() if node.perturbed)
        row = 24 * 4 * widest  # float32 coefficients before and after a layer, of both branches, and scratch; measured
        fitting = int(memory_gb * 1e9 / 2 // row)
        require(
            fitting >= 1, "memory_gb", memory_gb, f"{2 * row / 1e9:.3g} or more for {self._name}", error=BoundsError
        )
        return min(CHUNK, fitting)


_ENGINES: weakref.WeakKeyDictionary[torch.nn.Module, BoundEngine] = weakref.WeakKeyDictionary()


def _engine(network: Classifier) -> BoundEngine:
    """The network's engine; building one takes as long as several images by IBP."""
    if network.module not in _ENGINES:
        _ENGINES[network.module] = BoundEngine(network)
    return _ENGINES[network.module]


def _check(network: Classifier, box: Box, labels: np.ndarray) -> None:
    require(
        box.lower.shape[1:] == tuple(network.input_shape),
        f"box for {network.name}",
        box.lower.shape,
        f"[N, {', '.join(map(str, network.input_shape))}], the network's input",
        error=BoundsError,
    )
    require(labels.shape == (len(box),), "labels", labels.shape, f"one for each of {len(box)} boxes", error=BoundsError)
    require(
        bool(((labels >= 0) & (labels < network.classes)).all()),
        "labels",
        labels.tolist(),
        f"0 to {network.classes - 1}, the classes of {network.name}",
        error=BoundsError,
    )


def _summary(name: str, interval: _Interval) -> LayerBounds:
    lower, upper = (side.double() for side in interval)
    width = (upper - lower).mean().item()
    unstable = ((lower < 0) & (upper > 0)).double().mean().item()
    return LayerBounds(name, lower.numel(), np.array([width]), np.array([unstable]))


def _stack(parts: Iterable[LayerBounds]) -> LayerBounds:
    parts = list(parts)
    width, unstable = (np.concatenate([getattr(part, side) for part in parts]) for side in ("width", "unstable"))
    return LayerBounds(parts[0].name, parts[0].neurons, width, unstable)
