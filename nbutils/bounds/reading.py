"""A network as the bounds library reads it, held against the network itself."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from ..core import BoundsError
from . import lirpa

READING = 1e-3
"""Largest difference of logits between twin and bounds library, relative to the largest logit (1 if smaller)."""


class Classifier(Protocol):
    """What bounds need of a `networks.Network`."""

    @property
    def name(self) -> str: ...
    @property
    def module(self) -> torch.nn.Module: ...
    @property
    def input_shape(self) -> tuple[int, int, int]: ...
    @property
    def classes(self) -> int: ...
    @property
    def device(self) -> torch.device: ...


def read(twin: torch.nn.Module, network: Classifier) -> Any:
    """`twin`, a form of `network` that is given away, as a `BoundedModule`.

    Raises:
        BoundsError: the library does not know an operation, fails, or reads another network than the file holds, as
            where it counts a pooling's padding.
    """
    try:
        bounded = lirpa.bounded_module(twin, network.input_shape, network.device)
    except lirpa.UnsupportedOperation as error:
        raise BoundsError(
            f"{network.name}: found operations without bounds: {error}; allowed: what auto_LiRPA knows, such as "
            "Conv, BatchNormalization, Relu, Add, Flatten, Gemm."
        ) from error
    except lirpa.FAILURES as error:
        raise BoundsError(lirpa.failure(network.name, "every bound method", error)) from error
    _check(bounded, network)
    return bounded


def _check(bounded: Any, network: Classifier) -> None:
    """Points are normal, of three sizes, so that padding and saturation show behind most ReLUs."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for size in (0.5, 2.0, 20.0) * 3:
            point = (size * torch.randn(1, *network.input_shape, generator=draw)).to(network.device)
            expected = network.module(point)
            if not expected.isfinite().all():
                continue  # an overflow says nothing about the reading
            try:
                found = bounded(point)
            except lirpa.FAILURES as error:
                raise BoundsError(lirpa.failure(network.name, "every bound method", error)) from error
            allowed = READING * max(1.0, float(expected.abs().max()))
            if found.shape != expected.shape or not float((found - expected).abs().max()) <= allowed:
                raise BoundsError(
                    f"{network.name}: refused by every bound method: the bounds library evaluates it otherwise "
                    "than the file does, so its bounds would be of another network."
                )
