"""Sound lower bounds of all class margins over boxes: IBP, CROWN-IBP, CROWN and alpha-CROWN in one call form.

One image is bounded at a time, so nothing depends on what else is in the batch. The work is done in `engine`. A method
is held against the network before it is used (`method_check`); one that is wrong is refused by name.

Sources: IBP, Gowal et al. 2018; CROWN, Zhang et al. 2018; CROWN-IBP, Zhang et al. 2020; auto_LiRPA, Xu et al. 2020;
alpha-CROWN, Xu et al. 2021.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from ..core import METHODS, BoundsConfig, BoundsError, Box, LayerBounds, MarginBounds, require, rivals, specification
from . import lirpa
from .engine import BoundEngine, Classifier, Interval
from .method_check import MethodCheck, examine


def margin_bounds(
    network: Classifier,
    box: Box,
    labels: np.ndarray,
    config: BoundsConfig,
    *,
    layers: bool = False,
    only_last: bool = False,
    only_smallest: bool = False,
    watch: Callable[[str, int, int], object] | None = None,
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
        only_smallest: alpha-CROWN optimises just the rows that can become the smallest bound; the others keep
            CROWN's. Changes no other method. For an open image it is a fifth to a third of the time (100 classes).
        watch: called before each chunk of rows with "layer", its number and that of all, and before each group of
            rows that alpha-CROWN optimises with "row", the number of the last and that of all; what it raises ends
            the computation.

    Returns:
        Bounds [N, K-1]. A bound that overflowed or came out as NaN is minus infinity: never a proof.

    Raises:
        BoundsError: for a box of another shape, labels outside the classes, too little memory for a single neuron, or
            an operation without bounds.

    Example:
        >>> from nbutils.teaching import TOY, box_around
        >>> network, label = TOY.opened(folder), np.array([0])  # two inputs, two neurons; `folder` is any folder
        >>> for method in ("ibp", "crown"):
        ...     found = margin_bounds(network, box_around(), label, BoundsConfig(method=method))
        ...     print(method, found.lower.round(2), bool(found.verified[0]))
        ibp [[-0.25  1.  ]] False
        crown [[0.25 1.  ]] True
    """
    labels = np.asarray(labels, dtype=np.int64)
    _check(network, box, labels)
    others = rivals(labels, network.classes)
    lower = np.empty(others.shape, dtype=np.float32)
    seconds = np.zeros(len(box))
    seen: list[list[LayerBounds]] = []
    for row, single in enumerate(box):
        start = time.perf_counter()
        wanted = torch.from_numpy(specification(labels[row : row + 1], network.classes)).to(network.device)
        found, hidden = _one_image(network, single, wanted, config, watch, only_last, only_smallest)
        values = found.cpu().numpy()
        lower[row] = np.where(np.isfinite(values), values, -np.inf)
        if (lower[row] > config.tolerance).all():
            _refute(network, single, wanted, lower[row], config)
        if layers:
            seen.append([_summary(name, interval) for name, interval in hidden.items()])
        seconds[row] = time.perf_counter() - start
    stacked = tuple(_stack(parts) for parts in zip(*seen, strict=True))
    method = f"{config.method} last layer" if only_last else config.method
    return MarginBounds(method, lower, others, labels, seconds, config.tolerance, stacked)


_ONE_AT_A_TIME = threading.RLock()
"""Held while a bounds engine works: it keeps the bounds of the image at hand in its nodes, so that two threads at once,
an explorer's job and a cell say, would give each other's."""

_ENGINES: weakref.WeakKeyDictionary[torch.nn.Module, BoundEngine] = weakref.WeakKeyDictionary()
_CHECKS: weakref.WeakKeyDictionary[torch.nn.Module, dict[str, MethodCheck]] = weakref.WeakKeyDictionary()


def _one_image(
    network: Classifier,
    box: Box,
    wanted: torch.Tensor,
    config: BoundsConfig,
    watch: Callable[[str, int, int], object] | None,
    only_last: bool,
    only_smallest: bool,
) -> tuple[torch.Tensor, dict[str, Interval]]:
    """`BoundEngine.run` for one box, by one thread at a time."""
    with _ONE_AT_A_TIME:
        engine = held_engine(network, config.method)
        engine.watch = watch
        try:
            return engine.run(box, wanted, config, only_last, only_smallest)
        except lirpa.FAILURES as error:
            _ENGINES.pop(network.module, None)  # its state is unknown now
            raise BoundsError(lirpa.failure(network.name, config.method, error)) from error
        finally:
            engine.watch = None


def engine_of(network: Classifier) -> BoundEngine:
    """The network's engine; building one takes as long as several images by IBP."""
    with _ONE_AT_A_TIME:
        if network.module not in _ENGINES:
            _ENGINES[network.module] = BoundEngine(network)
        return _ENGINES[network.module]


def checked(network: Classifier, method: str) -> MethodCheck:
    """Whether `method` holds on `network`; tried when it is first asked for, and kept as long as the network lives.

    Raises:
        BoundsError: when no method can bound the network.
    """
    with _ONE_AT_A_TIME:
        known = _CHECKS.setdefault(network.module, {})
        if method not in known:
            engine = engine_of(network)
            known[method] = examine(engine, network, method)
            engine.forget()
            if not known[method].holds:
                _ENGINES.pop(network.module, None)  # its state is unknown where the library failed
        return known[method]


def method_checks(network: Classifier, methods: Sequence[str] = METHODS) -> tuple[MethodCheck, ...]:
    """`checked` of several methods, in their order; none holds where the network cannot be bounded at all."""
    try:
        return tuple(checked(network, method) for method in methods)
    except BoundsError as error:
        reason = str(error).removeprefix(f"{network.name}: ")
        return tuple(MethodCheck(method, False, reason) for method in methods)


def held_methods(
    network: Classifier, methods: Sequence[str], say: Callable[[str], object] | None = None
) -> tuple[str, ...]:
    """Those of `methods` that hold on `network`, in their order.

    Args:
        say: gets one line for each that does not, with the reason; the same reason is given once.

    Raises:
        BoundsError: when none holds, with the reasons.
    """
    checks = method_checks(network, methods)
    refused: dict[str, list[str]] = {}
    for check in checks:
        if not check.holds:
            refused.setdefault(check.reason, []).append(check.method)
    lines = [f"{network.name}: {', '.join(names)} refused: {reason}" for reason, names in refused.items()]
    held = tuple(check.method for check in checks if check.holds)
    if not held:
        raise BoundsError(". ".join(lines) + ". No bound method is left")
    if say is not None:
        for line in lines:
            say(f"{line}; decided by {', '.join(held)}")
    return held


def held_engine(network: Classifier, method: str) -> BoundEngine:
    """The network's engine, once `method` was found to hold on it.

    Raises:
        BoundsError: naming network, method and reason, when it does not.
    """
    found = checked(network, method)
    if not found.holds:
        raise BoundsError(f"{network.name}: {method} is refused: {found.reason}")
    return engine_of(network)


def _refute(network: Classifier, box: Box, wanted: torch.Tensor, lower: np.ndarray, config: BoundsConfig) -> None:
    """Hold bounds that would prove an image against its margins in the box: centre, corners, gradient corners.

    Raises:
        BoundsError: a bound stands above a margin, so the method is wrong on this network.
    """
    low, up, center = (torch.as_tensor(side).to(network.device) for side in (box.lower, box.upper, box.center))
    with torch.enable_grad():
        x = center.clone().requires_grad_()
        (wanted[0] @ network.module(x)[0]).min().backward()
    assert x.grad is not None
    rising = x.grad > 0
    points = (center, low, up, torch.where(rising, low, up), torch.where(rising, up, low))
    with torch.no_grad():
        seen = torch.cat([network.module(point) @ wanted[0].T for point in points]).cpu().numpy()
    over = lower - seen
    if (over > config.tolerance * np.maximum(1, np.abs(seen))).any():
        point, rival = np.unravel_index(over.argmax(), over.shape)
        raise BoundsError(
            f"{network.name}: {config.method} is wrong on this network: its lower bound {lower[rival]:.6g} lies above "
            f"the margin {seen[point, rival]:.6g} of a point in the box; nothing is verified by it."
        )


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


def _summary(name: str, interval: Interval) -> LayerBounds:
    lower, upper = (side.double() for side in interval)
    width = (upper - lower).mean().item()
    unstable = ((lower < 0) & (upper > 0)).double().mean().item()
    return LayerBounds(name, lower.numel(), np.array([width]), np.array([unstable]))


def _stack(parts: Iterable[LayerBounds]) -> LayerBounds:
    parts = list(parts)
    width, unstable = (np.concatenate([getattr(part, side) for part in parts]) for side in ("width", "unstable"))
    return LayerBounds(parts[0].name, parts[0].neurons, width, unstable)
