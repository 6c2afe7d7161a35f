"""One network's bounds by auto_LiRPA, with CROWN's intermediate bounds driven layer by layer.

Layer by layer and in chunks of rows: that bounds memory, and a neuron whose sign a cheaper bound settles is never
bounded by CROWN. Cheaper are intervals from the tightened layers before, plain ones and those through composed
convolutions. Networks of convolutions, linear layers, sums and ReLUs go backward by `crown_pass`, others by the
library. Imported by `bounds` only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from ..core import BoundsConfig, BoundsError, Box
from ..networks import folded
from . import lirpa
from .alpha_rows import raised
from .composed_intervals import ComposedIntervals, Interval
from .crown_pass import CrownPass, Relaxed
from .faithful import faithful
from .layer_rows import LayerRows
from .pool_forms import Largest
from .reading import Classifier, read


class BoundEngine:
    """One network as a `BoundedModule`, built once; every run starts from a clean state."""

    def __init__(self, network: Classifier) -> None:
        self._name = network.name
        self._device = network.device
        self._input_shape = network.input_shape
        self._classes = network.classes
        # batch norms right behind convolutions become part of them: fewer passes over the coefficients
        folded_twin = folded(network.module)
        twin = faithful(folded_twin, network.input_shape, network.name)
        overlap = any(isinstance(layer, Largest) for layer in twin.modules())
        close = faithful(folded_twin, network.input_shape, network.name, overlap=False) if overlap else None
        self._composed = ComposedIntervals(copy.deepcopy(twin))
        self._pass = CrownPass(self._composed.graph)
        self._numbers: dict[str, int] | None = None  # of the ReLUs in `_composed`, by the name of their input here
        self._module = read(twin, network)
        self._pooled: Any = None
        if close is not None:
            with suppress(BoundsError):  # then intervals go through the ReLUs alone
                self._pooled = read(close, network)
        self._rows = LayerRows(self._module, self._name, self._input_shape, self._device)

    @property
    def watch(self) -> Callable[[str, int, int], object] | None:
        """Told of each chunk of rows; what it raises ends the run."""
        return self._rows.watch

    @watch.setter
    def watch(self, told: Callable[[str, int, int], object] | None) -> None:
        """Tell `told`, or nobody."""
        self._rows.watch = told

    def forget(self) -> None:
        """Match layers with those of `_composed` anew at the next image, as a new engine does."""
        self._numbers = None

    def layer_values(self, point: torch.Tensor) -> dict[str, torch.Tensor]:
        """What every nonlinear layer is given at `point` [1, C, H, W], by the name of the node before it."""
        with torch.no_grad():
            self._module(point)
        sources = [source for node in self._module._modules.values() for source in lirpa.bounded_inputs(node)]
        return {source.name: source.forward_value for source in sources if source.forward_value is not None}

    def backward_rows(
        self, point: np.ndarray, count: int, seed: int
    ) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """CROWN's values of `count` neurons of each nonlinear layer in the box of one `point` [1, C, H, W].

        Yields the layer's name, the neurons, and their bounds, which are one number each in such a box.
        """
        x = lirpa.bounded_input(point, point, point, self._device)
        rng = np.random.default_rng(seed)
        done: dict[str, Interval] = {}
        hidden = self._intervals(x, torch.eye(self._classes, device=self._device)[None, :1])[1]
        numbers = self._numbered(point, {name: low for name, (low, _) in hidden.items()})
        relaxed = self._relaxed(Box(point, point, point), numbers)
        for name, sides in hidden.items():
            size = sides[0].numel()
            rows = torch.as_tensor(rng.choice(size, min(count, size), replace=False), device=self._device)
            for sign in (1.0, -1.0):
                signs = torch.full((len(rows),), sign, device=self._device)
                with torch.no_grad():
                    found = self._least(relaxed, x, done, name, rows, signs, count, settle=False)
                yield name, rows, sign * found
            done[name] = sides

    def place(self, name: str) -> str:
        """The nonlinear operations that read the node `name`, for a message."""
        readers = [self._module[after] for after in self._module[name].output_name]
        found = [lirpa.operation(reader) for reader in readers if lirpa.bounded_inputs(reader)]
        return f"{' and '.join(found) or 'layer'}, computed by {lirpa.operation(self._module[name])}"

    def run(
        self,
        box: Box,
        wanted: torch.Tensor,
        config: BoundsConfig,
        only_last: bool = False,
        only_smallest: bool = False,
    ) -> tuple[torch.Tensor, dict[str, Interval]]:
        """Lower bounds [M] of `wanted` [1, M, K] @ logits over one box, and the pre-activation bounds by layer."""
        x = lirpa.bounded_input(box.center, box.lower, box.upper, self._device)
        with torch.no_grad():
            margins, hidden = self._intervals(x, wanted)
            if config.method == "ibp":
                if self._pooled is not None:
                    margins = torch.fmax(margins, _interval_margins(self._pooled, x, wanted))
                return margins, hidden
            chunk = self._rows.chunk(config.memory_gb)
            if self._numbers is None or config.method != "crown-ibp":
                center = lirpa.bounded_input(box.center, box.center, box.center, self._device)
                values = {name: low for name, (low, _) in self._intervals(center, wanted)[1].items()}
            if self._numbers is None:
                self._numbers = self._numbered(box.center, values)
            relaxed = self._relaxed(box, self._numbers)
            if config.method != "crown-ibp":
                hidden = self._tighten(x, box, relaxed, hidden, values, chunk, only_last)
            margins = torch.cat([self._margins(x, relaxed, hidden, rows) for rows in wanted.split(chunk, dim=1)])
        if config.method == "alpha-crown" and self._module.optimizable_activations:

            def optimise(rows: torch.Tensor) -> torch.Tensor:
                settings = config.alpha_steps, config.alpha_lr
                return lirpa.optimized_lower(self._module, x, wanted[:, rows], hidden, *settings)

            tell = self._rows.tell_of_rows
            margins = raised(margins, optimise, chunk, only_smallest=only_smallest, tell=tell)
        return margins, hidden

    def _relaxed(self, box: Box, numbers: dict[str, int]) -> Relaxed | None:
        """The network over the box for our own pass; None where the library has to go backward."""
        return self._pass.over(self._ends(box)) if numbers and self._pass.usable else None

    def _margins(
        self, x: Any, relaxed: Relaxed | None, hidden: dict[str, Interval], wanted: torch.Tensor
    ) -> torch.Tensor:
        """CROWN's lower bounds [M] of `wanted` [1, M, K] @ logits, from bounds of all layers."""
        if relaxed is not None:
            return relaxed.margins(wanted[0], list(hidden.values()))
        return self._rows.compute(x, hidden, method="backward", C=wanted, bound_upper=False)[0].flatten()

    def _ends(self, box: Box) -> Interval:
        return torch.as_tensor(box.lower).to(self._device), torch.as_tensor(box.upper).to(self._device)

    def _intervals(self, x: Any, wanted: torch.Tensor) -> tuple[torch.Tensor, dict[str, Interval]]:
        """IBP bounds of the margins [M] and of every input of a nonlinear layer, input side first."""
        margins = _interval_margins(self._module, x, wanted)
        hidden: dict[str, Interval] = {}
        for node in self._module._modules.values():
            for source in lirpa.bounded_inputs(node):
                if source.perturbed and getattr(source, "lower", None) is not None:
                    hidden.setdefault(source.name, (source.lower.clone(), source.upper.clone()))
        return margins, hidden

    def _numbered(self, center: np.ndarray, values: dict[str, torch.Tensor]) -> dict[str, int]:
        """Number of the ReLU behind each layer in `values`, where all ReLUs of both readings see equal values.

        None has one in a network that adds values of unequal shapes, which our intervals do not know.

        Args:
            center: a point [1, C, H, W].
            values: by the name of a layer, what a nonlinear layer is given there.
        """
        point = torch.as_tensor(center).to(self._device)
        seen = self._composed.values(point)
        names = [name for name in values if self._feeds_relus(name)]
        alike = len(seen) == len(names) == len(values) and all(
            one.shape == values[name].shape and torch.allclose(one, values[name], rtol=1e-3, atol=1e-3)
            for one, name in zip(seen, names, strict=True)
        )
        usable = alike and not self._composed.graph.broadcasts(point)
        return {name: number for number, name in enumerate(names)} if usable else {}

    def _tighten(
        self,
        x: Any,
        box: Box,
        relaxed: Relaxed | None,
        hidden: dict[str, Interval],
        values: dict[str, torch.Tensor],
        chunk: int,
        only_last: bool,
    ) -> dict[str, Interval]:
        """CROWN bounds of the layers in `hidden` (or of the last of them), each from the tightened ones before it.

        A ReLU's relaxation is exact once the sign of its input is known. So neurons settled by intervals are left
        alone, the side that may settle a sign comes first, and the other side only where it did not. The sign, if
        there is one, is that of the neuron's value at the centre, in `values`.
        """
        names = list(hidden)
        done = {name: hidden[name] for name in names[:-1]} if only_last else {}
        ends = self._ends(box)
        for name in names[len(done) :]:
            self._rows.begin(len(done) + 1, len(names))
            low, up = self._cheaply(x, ends, done, name)
            shape, low, up = low.shape, low.flatten(), up.flatten()
            first = torch.where(values[name].flatten() < 0, -1.0, 1.0)
            for signs in (first, -first):
                open_rows = (low < 0) & (up > 0) if self._feeds_relus(name) else torch.ones_like(low, dtype=torch.bool)
                rows = open_rows.nonzero()[:, 0]
                if len(rows) == 0:
                    continue
                least = self._least(relaxed, x, done, name, rows, signs[rows], chunk)
                positive = signs[rows] > 0
                low[rows] = torch.where(positive, torch.fmax(low[rows], least), low[rows])
                up[rows] = torch.where(positive, up[rows], torch.fmin(up[rows], -least))
            done[name] = (low.view(shape), up.view(shape))
        return done

    def _least(
        self,
        relaxed: Relaxed | None,
        x: Any,
        done: dict[str, Interval],
        name: str,
        rows: torch.Tensor,
        signs: torch.Tensor,
        chunk: int,
        settle: bool = True,
    ) -> torch.Tensor:
        """CROWN's lower bounds [M] of `signs` times the neurons `rows` [M] of `name`, the first layer after `done`.

        Our own pass may `settle` for a proof that a row is not negative, see there.
        """
        if relaxed is not None:
            return relaxed.least(len(done), rows, signs, list(done.values()), chunk, self._rows.tell, settle)
        return self._rows.least(x, done, name, rows, signs, chunk, self._rows.takes_patches(name, done, chunk))

    def _cheaply(self, x: Any, box: Interval, done: dict[str, Interval], name: str) -> Interval:
        """Bounds of the layer `name` without CROWN, from the layers before it, which are those in `done`."""
        # Intervals from the tightened layers before are tighter than IBP from the input, for one cheap pass.
        low, up = (side.clone() for side in self._rows.compute(x, done, method="IBP", final_node_name=name))
        number = (self._numbers or {}).get(name)
        return (low, up) if number is None else self._composed.closer(number, box, list(done.values()), (low, up))

    def _feeds_relus(self, name: str) -> bool:
        """Whether every nonlinear layer reading the node `name` is a ReLU."""
        readers = [self._module[after] for after in self._module[name].output_name]
        return all(lirpa.is_relu(reader) for reader in readers if lirpa.bounded_inputs(reader))


def _interval_margins(module: Any, x: Any, wanted: torch.Tensor) -> torch.Tensor:
    """IBP's lower bounds [M] of `wanted` [1, M, K] @ logits."""
    lower, _ = module.compute_bounds(x=(x,), C=wanted, method="IBP", bound_upper=False)
    return lower[0]
