"""Margins of one image against the radius: what is certified, what is attacked, what lies between."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..attacks import run_attack
from ..bounds import margin_bounds
from ..core import AttackConfig, BoundsConfig, Box, Normalization, check_eps, class_margins, require

if TYPE_CHECKING:
    from ..networks import Network


@dataclass(frozen=True, eq=False)
class RadiusCurve:
    """Smallest margins of one image at M radii, logits. Nothing is assumed to be monotone in the radius."""

    eps: np.ndarray  # float64 [M], ascending, pixel units
    natural: float  # smallest margin at the image itself
    attack: np.ndarray  # float32 [M], lowest margin the attack found, re-judged by onnxruntime
    lower: dict[str, np.ndarray]  # method -> float32 [M], its lower bound
    tolerance: float = 1e-4  # logits; a bound counts as proof only above this
    label: int = 0
    image_id: str = ""

    def __post_init__(self) -> None:
        radii = [check_eps(float(eps)) for eps in self.eps]
        ascending = len(radii) > 0 and all(a < b for a, b in pairwise(radii))
        require(ascending, "eps", radii, "one radius or more, ascending, each once")
        for name, values in (("attack", self.attack), *self.lower.items()):
            require(
                values.shape == (len(radii),),
                f"radius curve: {name}",
                values.shape,
                f"one for each of {len(radii)} radii",
            )
            require(not np.isnan(values).any(), f"radius curve: {name}", "NaN", "numbers")

    def certified_radius(self, method: str | None = None) -> float:
        """Largest sampled radius such that it and all smaller ones are proved; 0 if not even the first is.

        Args:
            method: count only this method's bounds; None: any method's.

        Raises:
            ParameterError: for a method the curve does not hold.
        """
        known = ", ".join(self.lower) or "no method was run"
        require(method is None or method in self.lower, "method", method, known)
        rows = list(self.lower.values()) if method is None else [self.lower[method]]
        proved = (np.stack(rows) > self.tolerance).any(axis=0) if rows else np.zeros(len(self.eps), dtype=bool)
        count = int(np.logical_and.accumulate(proved).sum())
        return float(self.eps[count - 1]) if count else 0.0

    def attacked_radius(self) -> float:
        """Smallest sampled radius with a counterexample: 0 for a misclassified image, infinity if none was found."""
        if self.natural <= 0:
            return 0.0
        hits = np.flatnonzero(self.attack <= 0)
        return float(self.eps[hits[0]]) if len(hits) else math.inf


def radius_curve(
    network: Network,
    pixels: np.ndarray,
    normalization: Normalization,
    label: int,
    image_id: str,
    eps_values: Sequence[float],
    *,
    attack: AttackConfig,
    bounds: Sequence[BoundsConfig],
    watch: Callable[..., object] | None = None,
) -> RadiusCurve:
    """Attack and bound one image at every radius; all radii go through in one batch.

    Args:
        network: what is attacked and bounded.
        pixels: float32 [C, H, W] in [0, 1].
        normalization: the way from pixels to network input.
        label: true class.
        image_id: names the attack's random starts, which are the same share of every box.
        eps_values: radii in pixel units, ascending.
        attack: settings of the attack at each radius.
        bounds: one setting a method.
        watch: called on the way, as `run_attack` and `margin_bounds` do; what it raises ends the computation.

    Raises:
        ParameterError: for radii that do not ascend, or a method given twice.
    """
    methods = [config.method for config in bounds]
    require(len(set(methods)) == len(methods), "methods", methods, "each method once")
    eps = np.asarray([check_eps(value) for value in eps_values], dtype=np.float64)
    require(
        len(eps) > 0 and bool((np.diff(eps) > 0).all()),
        "eps",
        list(eps_values),
        "one radius or more, ascending, each once",
    )
    boxes = [Box.around(pixels[None], normalization, float(value)) for value in eps]
    box = Box(*(np.concatenate([getattr(b, side) for b in boxes]) for side in ("lower", "upper", "center")))
    labels = np.full(len(eps), label, dtype=np.int64)
    natural = class_margins(network.judge(box.center[:1]), labels[:1]).smallest[0]
    trace = run_attack(network, box, labels, [image_id] * len(eps), attack, watch=watch)
    lower: dict[str, np.ndarray] = {
        config.method: margin_bounds(network, box, labels, config, watch=watch, only_smallest=True).smallest
        for config in bounds
    }
    tolerance = max((config.tolerance for config in bounds), default=1e-4)
    return RadiusCurve(eps, float(natural), trace.smallest, lower, tolerance, int(label), image_id)
