"""Whether a bound method is right on a network: held against the network itself before it is trusted.

The bounds library reads the same graph in several ways: forward for intervals, backward for linear bounds, and with its
own rule for each operator. Each can be wrong alone. So each method is tried on made-up boxes: in a box of one point it
has to give the network's margins and the value of every neuron that it bounds; in a box with a width no bound may stand
above what points of the box give.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..core import BoundsConfig, BoundsError, Box
from . import lirpa

if TYPE_CHECKING:
    from .engine import BoundEngine, Classifier

TOLERANCE = 3e-4
"""Largest error of a bound in a box of one point, relative to the largest value of its layer (1 if smaller)."""

SIZES = (0.5, 2.0, 20.0)
"""Standard deviations of the made-up points, network input. Each comes with mean zero, plus and minus its size: dark
and bright images open other ReLUs than noise does, and only what is behind an open one shows."""

WIDTHS = (0.2, 0.01, 5e-4)
"""Half-widths of the made-up boxes, network input. In the wide ones nearly all neurons are unstable; linear bounds of a
network of more than `SMALL` neurons would take minutes there and are tried in the narrow one alone."""
SMALL = 20_000

ROWS = 4
"""Margins, and neurons of each layer, that are bounded."""

SAMPLES = 16
"""Points of a box that are drawn, half of them corners; the centre, both ends and gradient corners come on top."""


@dataclass(frozen=True)
class MethodCheck:
    """What the check of one method on one network found."""

    method: str
    holds: bool
    reason: str = ""  # why not: operation or layer where it can be told


class _Wrong(Exception):
    """A bound that disagrees with the network; the text says where."""


def examine(engine: BoundEngine, network: Classifier, method: str) -> MethodCheck:
    """Try `method` on made-up boxes. The answer depends on the network alone, not on any image."""
    try:
        neurons = sum(value.numel() for value in engine.layer_values(_point(network, 0, 1.0)).values())
        cheap = method == "ibp" or neurons <= SMALL
        points = (
            [(size, mean) for mean in (0.0, 1.0, -1.0) for size in SIZES]
            if neurons <= SMALL
            else [(2.0, 0.0), (2.0, 1.0)][: 2 if cheap else 1]
        )
        for number, (size, mean) in enumerate(points):
            _at_one_point(engine, network, method, _point(network, number, size, mean * size), number)
        for number, width in enumerate(WIDTHS if cheap else WIDTHS[-1:]):
            for mean in (0.0, 1.0, -1.0) if neurons <= SMALL else (0.0,):
                _in_a_box(engine, network, method, _point(network, number, 1.0, mean), width, number)
    except _Wrong as wrong:
        return MethodCheck(method, False, str(wrong))
    except lirpa.FAILURES as error:
        return MethodCheck(method, False, lirpa.reason(error))
    except BoundsError as error:
        return MethodCheck(method, False, str(error))
    return MethodCheck(method, True)


def _at_one_point(engine: BoundEngine, network: Classifier, method: str, point: Tensor, number: int) -> None:
    with torch.no_grad():
        logits = network.module(point)
    if not logits.isfinite().all():
        return  # an overflow says nothing about the method
    wanted = _wanted(network, number)
    one = point.cpu().numpy()
    lower, hidden = engine.run(Box(one, one, one), wanted, _config(method))
    values = engine.layer_values(point)
    for name, sides in hidden.items():
        _compare(engine, name, values[name], *sides)
    if method != "ibp":
        for name, rows, found in engine.backward_rows(one, ROWS, number):
            _compare(engine, name, values[name].flatten()[rows], found, found)
    seen = logits @ wanted[0].T
    finite = lower.isfinite()  # what overflowed proves nothing, which is right
    error = float((lower - seen[0]).abs()[finite].max()) if finite.any() else 0.0
    if not error <= TOLERANCE * max(1.0, float(logits.abs().max())):
        raise _Wrong(f"in a box of one point its bound misses the margin by {error:.3g}")


def _compare(engine: BoundEngine, name: str, value: Tensor, low: Tensor, up: Tensor) -> None:
    scale = TOLERANCE * max(1.0, float(value.abs().max()))
    value = value.reshape(low.shape)
    missed = torch.maximum((low - value).abs(), (up - value).abs())
    if (missed[low.isfinite() & up.isfinite()] > scale).any():
        raise _Wrong(f"in a box of one point it misses the input of {engine.place(name)}")


def _in_a_box(engine: BoundEngine, network: Classifier, method: str, center: Tensor, width: float, number: int) -> None:
    wanted = _wanted(network, number + len(SIZES))
    middle = center.cpu().numpy()
    half = np.float32(width)
    box = Box(middle - half, middle + half, middle)
    lower, hidden = engine.run(box, wanted, _config(method))
    for point in _points(network, box, wanted, number):
        with torch.no_grad():
            logits = network.module(point)
        slack = TOLERANCE * max(1.0, float(logits.abs().max()))
        over = float((lower - (logits @ wanted[0].T)[0]).max())
        if over > slack:
            raise _Wrong(f"in a made-up box its lower bound stands {over:.3g} above a margin")
        for name, value in engine.layer_values(point).items():
            if name in hidden:
                low, up = hidden[name]
                value = value.reshape(low.shape)
                if float(torch.maximum(low - value, value - up).max()) > TOLERANCE * max(1.0, float(value.abs().max())):
                    raise _Wrong(
                        f"in a made-up box a value lies outside its bounds at the input of {engine.place(name)}"
                    )


def _points(network: Classifier, box: Box, wanted: Tensor, number: int) -> Iterator[Tensor]:
    """Points of the box [1, C, H, W]: centre, ends, gradient corners of two margins, drawn corners and drawn points."""
    low, up, center = (torch.as_tensor(side).to(network.device) for side in (box.lower, box.upper, box.center))
    yield from (center, low, up)
    with torch.enable_grad():
        x = center.clone().requires_grad_()
        margins = (network.module(x) @ wanted[0].T)[0]
        for row in range(min(2, len(margins))):
            (slope,) = torch.autograd.grad(margins[row], x, retain_graph=True)
            yield torch.where(slope > 0, low, up)
            yield torch.where(slope > 0, up, low)
    draw = torch.Generator().manual_seed(100 + number)
    for sample in range(SAMPLES):
        share = torch.rand(low.shape, generator=draw).to(low.device)
        yield low + (up - low) * (share if sample % 2 else share.round())


def _point(network: Classifier, number: int, size: float, mean: float = 0.0) -> Tensor:
    draw = torch.Generator().manual_seed(number)
    return (mean + size * torch.randn(1, *network.input_shape, generator=draw)).to(network.device)


def _wanted(network: Classifier, number: int) -> Tensor:
    """[1, M, K]: margins of drawn pairs of classes."""
    rng = np.random.default_rng(number)
    rows = torch.zeros(1, min(ROWS, network.classes), network.classes, device=network.device)
    for row in rows[0]:
        label, rival = rng.choice(network.classes, 2, replace=False)
        row[label], row[rival] = 1, -1
    return rows


def _config(method: str) -> BoundsConfig:
    return BoundsConfig(alpha_steps=2).by(method)
