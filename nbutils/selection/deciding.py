"""The status of one image: misclassified, attacked, verified or open, cheapest decisive test first.

The statuses are those of the plain order (full attack on every correct image, then CROWN on every survivor):

* the quick attack is a prefix of the full one - same starts, same steps, fewer of both - so it breaks no image
  that the full attack would not break;
* bounds come before the full attack, which cannot change a status: what is proved robust has no counterexample;
* the full attack runs only where an image is neither broken nor proved.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..attacks import run_attack
from ..bounds import held_methods, margin_bounds
from ..core import (
    AttackConfig,
    AttackTrace,
    BoundsConfig,
    BoundsError,
    Box,
    ImageSet,
    MarginBounds,
    Normalization,
    SelectionConfig,
    Verdict,
    class_margins,
)
from ..networks import Network, normalization_of

QUICK_STEPS, QUICK_RESTARTS = 10, 4
"""Size of the quick attack: on 1,000 test images of CIFAR100_resnet_small all 130 attacked ones fell to it. Fewer
restarts are not cheaper, rows are computed in fours (`fast_twin.ROWS`)."""

LAST = " last layer"
"""Ending of a method's name that tightens the last nonlinear layer alone, see `bounds.margin_bounds`."""

REACH = {"crown-ibp": 6.0, f"crown{LAST}": 60.0}
"""A method cheaper than the one that decides is tried where the bound so far misses zero by at most this many natural
margins; beyond that it is time lost. CROWN-IBP misses zero by 14 to 30 % of the distance by which IBP does (a small
network trained on large boxes, 1/255; half of it on tiny ones). Of 31 images that CROWN on the last layer proved there,
IBP had missed 28 by 5 to 60 natural margins, the others by 61, 89 and 312; what it left to CROWN in the networks
trained on tiny boxes, by 64 or more (25 images, up to 41,000)."""


@dataclass
class _Case:
    """One image on its way through the funnel; the mutable side of a `Verdict`."""

    network: Network
    box: Box
    label: int
    image_id: str
    natural: float  # smallest margin at the image itself
    trace: AttackTrace | None = None
    bounds: MarginBounds | None = None
    attack_steps: int = 0

    def attack(self, config: AttackConfig) -> bool:
        """Run PGD, keep the lowest point seen so far; True once a counterexample is known."""
        trace = run_attack(self.network, self.box, np.array([self.label]), (self.image_id,), config)
        self.attack_steps += int(trace.steps_used[0])
        if self.bounds is not None:
            refuse_unsound(self.bounds, trace, self.image_id)
        if self.trace is None or trace.smallest[0] < self.trace.smallest[0]:
            self.trace = trace
        return bool(trace.success[0])

    def bound(self, config: BoundsConfig, only_last: bool) -> bool:
        """Compute lower bounds, keep the better ones; True once every margin is proved positive."""
        bounds = margin_bounds(
            self.network, self.box, np.array([self.label]), config, only_last=only_last, only_smallest=True
        )
        if self.trace is not None:
            refuse_unsound(bounds, self.trace, self.image_id)
        if self.bounds is None or bounds.smallest[0] > self.bounds.smallest[0]:
            self.bounds = bounds
        return bool(bounds.verified[0])

    def within_reach(self, method: str) -> bool:
        """Whether `method`, cheaper than the one that decides, has a chance; a rule on this image's numbers alone."""
        return method not in REACH or self.bounds is None or self.bounds.smallest[0] >= -REACH[method] * self.natural


def refuse_unsound(bounds: MarginBounds, trace: AttackTrace, image_id: str) -> None:
    """Stop everything when a lower bound stands above a margin that was observed in the same box.

    Slack: the bound's own tolerance, scaled by the margin's size (float32 sums of a deep network).

    Raises:
        BoundsError: a bound is wrong, so no verdict of this run may be trusted.
    """
    slack = bounds.tolerance * np.maximum(1, np.abs(trace.values))
    if (bounds.lower > trace.values + slack).any():
        worst = int((bounds.lower - trace.values).argmax())
        raise BoundsError(
            f"{bounds.method}: lower bound {bounds.lower.flat[worst]:.6g} of the margin against class "
            f"{bounds.rivals.flat[worst]} lies above {trace.values.flat[worst]:.6g}, which PGD observed in the box of "
            f"image {image_id[:12]}; the bound is unsound, please report it with the network file."
        )


def decide(
    network: Network, images: ImageSet, row: int, config: SelectionConfig, normalization: Normalization | None = None
) -> Verdict:
    """Status of image `row` of `images` in the box of radius `config.eps`, with every number computed on the way.

    Args:
        normalization: of the network's input; by default the network card's, else the one stated with the images.
    """
    began = time.perf_counter()
    normalization = normalization or normalization_of(network, images)
    box = Box.around(images.pixels_of([row]), normalization, config.eps)
    label, image_id = int(images.labels[row]), images.ids[row]
    natural = class_margins(network.judge(box.center), np.array([label]))
    case = _Case(network, box, label, image_id, float(natural.smallest[0]))
    if natural.predicted[0] != label:
        status, step = "misclassified", "forward"
    else:
        status, step = _settle(case, config)
    trace, bounds = case.trace, case.bounds
    return Verdict(
        image_id=image_id,
        index=int(images.indices[row]),
        label=label,
        predicted=int(natural.predicted[0]),
        status=status,
        decided_by=step,
        natural_margin=float(natural.smallest[0]),
        attack_margin=None if trace is None else float(trace.smallest[0]),
        attack_rival=None if trace is None else int(trace.rivals[0, trace.values[0].argmin()]),
        attack_steps=None if trace is None else case.attack_steps,
        bound=None if bounds is None else float(bounds.smallest[0]),
        bound_method=None if bounds is None else bounds.method,
        seconds=time.perf_counter() - began,
        point=None if trace is None else trace.points[0],
    )


def _settle(case: _Case, config: SelectionConfig) -> tuple[str, str]:
    """Status of a correctly classified image and the step that decided it."""
    full = config.attack
    quick = replace(full, steps=min(full.steps, QUICK_STEPS), restarts=min(full.restarts, QUICK_RESTARTS))
    if case.attack(quick):
        return "attacked", "quick attack"
    methods = usable_methods(case.network, config.bounds.method)
    for method in methods:
        if method != methods[-1] and not case.within_reach(method):
            continue
        if case.bound(config.bounds.by(method.removesuffix(LAST)), method.endswith(LAST)):
            return "verified", method
    if full != quick and case.attack(full):
        return "attacked", "full attack"
    return "open", "full attack" if full != quick else methods[-1]


def cheaper_methods(method: str) -> tuple[str, ...]:
    """The bound methods worth trying before `method`, cheapest first, `method` last."""
    return {
        "ibp": ("ibp",),
        "crown-ibp": ("ibp", "crown-ibp"),
        "crown": ("ibp", "crown-ibp", f"crown{LAST}", "crown"),
        "alpha-crown": ("ibp", "crown-ibp", f"crown{LAST}", "crown", "alpha-crown"),
    }[method]


def usable_methods(network: Network, method: str, say: Callable[[str], object] | None = None) -> tuple[str, ...]:
    """`cheaper_methods` without those that are wrong on this network; the last one decides `verified`.

    Args:
        say: gets one line for each method that is left out, see `bounds.held_methods`.

    Raises:
        BoundsError: when none is left.
    """
    chain = cheaper_methods(method)
    held = held_methods(network, [name for name in chain if not name.endswith(LAST)], say)
    return tuple(name for name in chain if name.removesuffix(LAST) in held)
