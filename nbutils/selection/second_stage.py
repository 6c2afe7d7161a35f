"""The second stage of the filter: the strong attack on images that the funnel left open, and on no others.

It keeps a ledger of its own, beside the funnel's, whose rows therefore stay what they are with or without it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..attacks import StrongConfig, strong_attack
from ..core import BoundsError, Box, ImageSet, Normalization, SelectionConfig, Verdict
from ..networks import Network, normalization_of
from .funnel import Engine, here, settle
from .ledger import Ledger

STEP = "strong attack"
"""`Verdict.decided_by` of every image the second stage looked at."""


def run_second_stage(
    network: Network,
    images: ImageSet,
    verdicts: Sequence[Verdict],
    config: SelectionConfig,
    strong: StrongConfig,
    *,
    ledger: Ledger | None = None,
    progress: bool = True,
    engine: Engine = here,
) -> list[Verdict]:
    """`verdicts` of the funnel, the open ones replaced by what the strong attack made of them.

    Args:
        verdicts: one for each of `images`, in their order, as `run_funnel` gives them for `config`.
        ledger: of this stage (`second_key`); images it holds are not attacked again.
    """
    normalization = normalization_of(network, images)
    jobs = {
        key: (row, verdict, config, strong, normalization)
        for row, (key, verdict) in enumerate(zip(images.keys, verdicts, strict=True))
        if verdict.status == "open"
    }
    found = settle(network, attack_again, images, jobs, ledger=ledger, progress=progress, engine=engine, name=STEP)
    by_key = {verdict.key: verdict for verdict in found}
    return [replace(by_key.get(verdict.key, verdict), index=verdict.index) for verdict in verdicts]


def attack_again(
    network: Network,
    images: ImageSet,
    row: int,
    verdict: Verdict,
    config: SelectionConfig,
    strong: StrongConfig,
    normalization: Normalization,
) -> Verdict:
    """The open `verdict` of image `row` after the strong attack: `attacked` where it finds a counterexample.

    The lower of the two attack margins stays, with its point; gradient steps and seconds are added up.

    Raises:
        BoundsError: the attack went below the lower bound, so the bound is unsound.
    """
    began = time.perf_counter()
    box = Box.around(images.pixels_of([row]), normalization, config.eps)
    trace = strong_attack(network, box, images.labels[[row]], images.ids[row : row + 1], strong)
    lowest = float(trace.smallest[0])
    if verdict.bound is not None and lowest < verdict.bound - config.bounds.tolerance * max(1, abs(lowest)):
        raise BoundsError(
            f"{verdict.bound_method}: lower bound {verdict.bound:.6g} lies above the margin {lowest:.6g}, which the "
            f"strong attack observed in the box of image {verdict.image_id[:12]}; the bound is unsound, please report "
            "it with the network file."
        )
    better: dict[str, Any] = {}
    if verdict.attack_margin is None or lowest < verdict.attack_margin:
        rival = int(trace.rivals[0, trace.values[0].argmin()])
        better = {"attack_margin": lowest, "attack_rival": rival, "point": trace.points[0]}
    return replace(
        verdict,
        status="attacked" if trace.success[0] else "open",
        decided_by=STEP,
        attack_steps=(verdict.attack_steps or 0) + int(trace.steps_used[0]),
        seconds=verdict.seconds + time.perf_counter() - began,
        **better,
    )


def second_key(first: dict[str, Any], strong: StrongConfig) -> dict[str, Any]:
    """What a ledger of the second stage belongs to: the funnel's `run_key` and the settings of the strong attack."""
    return {**first, "stage": STEP, "strong": strong.as_dict()}


def second_path(ledger: Path) -> Path:
    """The second stage's ledger beside the funnel's: `small.sqlite` has `small.strong.sqlite`."""
    return ledger.with_name(f"{ledger.stem}.strong{ledger.suffix}")
