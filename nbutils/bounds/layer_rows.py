"""CROWN's bounds of chosen neurons of one layer: in chunks that fit into memory, as patches where those are right.

Imported by `engine` only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..core import BoundsError, require
from . import lirpa, row_trials
from .composed_intervals import Interval

CHUNK, CUDA_CHUNK = 256, 2048
"""Most neurons bounded at once; larger chunks are not faster on two cores, where CUDA has to launch less often."""


class LayerRows:
    """The layers of one `BoundedModule`, asked a row a neuron."""

    def __init__(self, module: Any, name: str, input_shape: tuple[int, ...], device: torch.device) -> None:
        """
        Args:
            module: of the bounds library.
            name: of the network, for messages.
            input_shape: of one image, (C, H, W).
            device: where `module` lies.
        """
        self._module, self._name = module, name
        self._input_shape, self._device = input_shape, device
        self.patches: dict[str, bool] = {}  # what the trials found, by layer
        self.watch: Callable[[str, int, int], object] | None = None  # told of each chunk; what it raises ends the run
        self._layer = (0, 0)

    def chunk(self, memory_gb: float) -> int:
        """Rows of a linear bound whose coefficients fit into `memory_gb`.

        Raises:
            BoundsError: when not even one fits.
        """
        widest = max(int(np.prod(node.output_shape[1:])) for node in self._module._modules.values() if node.perturbed)
        row = 24 * 4 * widest  # float32 coefficients before and after a layer, of both branches, and scratch; measured
        fitting = int(memory_gb * 1e9 / 2 // row)
        require(
            fitting >= 1, "memory_gb", memory_gb, f"{2 * row / 1e9:.3g} or more for {self._name}", error=BoundsError
        )
        return min(CUDA_CHUNK if self._device.type == "cuda" else CHUNK, fitting)

    def begin(self, number: int, layers: int) -> None:
        """Say that layer `number` of so many comes now."""
        self._layer = (number, layers)
        self.tell()

    def compute(self, x: Any, known: dict[str, Interval], **call: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """`compute_bounds` with the bounds of the layers in `known` taken as given."""
        found: tuple[torch.Tensor, torch.Tensor] = self._module.compute_bounds(
            x=(x,), **{lirpa.intermediate_name(): known}, **call
        )
        return found

    def least(
        self,
        x: Any,
        known: dict[str, Interval],
        name: str,
        rows: torch.Tensor,
        signs: torch.Tensor,
        chunk: int,
        patches: bool,
    ) -> torch.Tensor:
        """CROWN's lower bounds [M] of `signs` times the neurons `rows` [M] of the layer `name`."""
        shape = torch.Size(self._module[name].output_shape)
        specify = lirpa.signed_patches if patches else row_trials.signed_rows
        parts = []
        for some, sides in zip(rows.split(chunk), signs.split(chunk), strict=True):
            self.tell()
            call = {"C": specify(some, sides, shape), "final_node_name": name, "bound_upper": False}
            parts.append(self.compute(x, known, method="backward", **call)[0].flatten())
        return torch.cat(parts)

    def takes_patches(self, name: str, known: dict[str, Interval], chunk: int) -> bool:
        """Whether rows of the layer `name` go as patches: where a trial gives the same bounds as whole images.

        Tried once a layer, at corners, edges and middle and with both signs, over a made-up input and made-up
        intervals of the layers before in which no relaxation is exact, so the answer depends on no image. In float64,
        where rounding cannot be taken for a difference. A layer or a library whose patches fail or differ costs speed
        only.
        """
        if name not in self.patches:
            self.patches[name] = False
            shape = torch.Size(self._module[name].output_shape)
            if lirpa.has_patches() and len(shape) == 4:
                with contextlib.suppress(*lirpa.FAILURES), self._in_double():
                    rows, signs = row_trials.trial(shape, self._device)
                    low, up = self._made_up((1, *self._input_shape))
                    x = lirpa.bounded_input((low + up) / 2, low, up, self._device)
                    made_up = {layer: self._made_up(side.shape) for layer, (side, _) in known.items()}
                    asked = (x, made_up, name, rows, signs.double(), chunk)
                    whole, patched = (self.least(*asked, way) for way in (False, True))
                    self.patches[name] = bool(((whole - patched).abs() <= 1e-9 * (1 + whole.abs())).all())
        return self.patches[name]

    def _made_up(self, shape: Sequence[int]) -> Interval:
        low, up = row_trials.made_up(shape, self._device)
        return low.double(), up.double()

    @contextlib.contextmanager
    def _in_double(self) -> Iterator[None]:
        """The network in float64 for a while; its weights come back as they were, to the bit."""
        self._module.double()
        try:
            yield
        finally:
            self._module.float()

    def tell(self) -> None:
        """Tell of the layer at hand."""
        if self.watch is not None:
            self.watch("layer", *self._layer)

    def tell_of_rows(self, number: int, rows: int) -> None:
        """Tell that alpha-CROWN is at row `number` of so many."""
        if self.watch is not None:
            self.watch("row", number, rows)
