"""What bounds and the funnel cost: seconds an image, peak memory, and the funnel beside the plain order."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from tqdm.auto import tqdm

from ..attacks import run_attack
from ..bounds import margin_bounds
from ..core import STATUSES, AttackConfig, BoundsConfig, Box, ImageSet, SelectionConfig, Verdict, class_margins, require
from ..networks import Network, normalization_of
from ..selection import count_statuses, decide
from .attack_cost import peak_mb


@dataclass(frozen=True, eq=False)
class BoundsBench:
    """Seconds an image of one bound method, on the correctly classified images."""

    network: str
    method: str
    seconds: np.ndarray  # float64 [N]
    verified: int  # images with every margin proved positive
    peak_mb: float  # highest memory of the process so far

    def describe(self) -> str:
        """The figures as one line of text."""
        return (
            f"{self.method} on {self.network}: {np.median(self.seconds):.3f} s an image (median; mean "
            f"{self.seconds.mean():.3f}), verified {self.verified} of {len(self.seconds)}, peak {self.peak_mb:.0f} MB"
        )


@dataclass(frozen=True, eq=False)
class FunnelBench:
    """Seconds an image of the funnel and of the full attack and full bounds on every image, taken in turns.

    Plain order: the full attack on every correct image, then full bounds on every survivor.
    """

    network: str
    funnel: np.ndarray  # float64 [N], seconds
    attack: np.ndarray  # float64 [N], seconds of the full attack, every step computed, no early stop
    shortcut: np.ndarray  # float64 [N], seconds of the same attack where repeated cycles are not computed again
    bounds: np.ndarray  # float64 [N], seconds of the full bounds
    verdicts: tuple[Verdict, ...]  # of the funnel
    plain: np.ndarray  # str [N], statuses by the plain order

    @property
    def every_image(self) -> float:
        """How many times faster than full attack and full bounds on every image."""
        return float((self.attack + self.bounds).sum() / self.funnel.sum())

    @property
    def plain_order(self) -> float:
        """How many times faster than the plain order."""
        return float(self._plain_seconds(self.attack) / self.funnel.sum())

    @property
    def plain_order_shortcut(self) -> float:
        """How many times faster than the plain order with this package's own attack, which skips repeated cycles."""
        return float(self._plain_seconds(self.shortcut) / self.funnel.sum())

    @property
    def limit(self) -> float:
        """What `plain_order` cannot exceed: open images need the full attack and the full bounds in any order."""
        needed = (self.shortcut + self.bounds)[self.plain == "open"].sum()
        return float(self._plain_seconds(self.attack) / needed) if needed else float("inf")

    @property
    def different(self) -> tuple[int, ...]:
        """True indices of the images whose status differs from the plain order's; empty if all is well."""
        return tuple(v.index for v, status in zip(self.verdicts, self.plain, strict=True) if v.status != status)

    def _plain_seconds(self, attack: np.ndarray) -> float:
        survived = np.isin(self.plain, ("verified", "open"))
        return float(attack[self.plain != "misclassified"].sum() + self.bounds[survived].sum())

    def describe(self) -> str:
        """The figures as five lines of text."""
        shares = ", ".join(f"{status} {count}" for status, count in count_statuses(self.verdicts).items())
        same = "all statuses identical" if not self.different else f"statuses differ for {list(self.different)}"
        return (
            f"funnel on {self.network}: {self.funnel.mean():.3f} s an image ({shares})\n"
            f"    {self.every_image:.1f} x faster than full attack and full bounds on every image,\n"
            f"    {self.plain_order:.1f} x faster than attack on the correct, bounds on the survivors; {same}\n"
            f"    ({self.plain_order_shortcut:.1f} x, if that attack does not compute repeated cycles again either)\n"
            f"    at most {self.limit:.1f} x could be had: open images need full attack and full bounds in any order"
        )


def bench_bounds(
    network: Network, images: ImageSet, eps: float, config: BoundsConfig, *, progress: bool = False
) -> BoundsBench:
    """Time `config.method` on each correctly classified image at radius `eps` (pixel units)."""
    box = Box.around(images.pixels, normalization_of(network, images), eps)
    correct = np.flatnonzero(class_margins(network.judge(box.center), images.labels).predicted == images.labels)
    hint = "Choose others, or more; --mean, --std or --pixels may be wrong"
    require(len(correct) > 0, "correctly classified images", 0, f"1 or more of {len(images)}", hint)
    first = correct[:1]
    margin_bounds(network, box.take(first), images.labels[first], replace(config, method="ibp"))  # builds the engine
    found = [
        margin_bounds(network, box.take([row]), images.labels[[row]], config)
        for row in tqdm(correct, desc=config.method, unit="image", disable=not progress)
    ]
    seconds = np.concatenate([bounds.seconds for bounds in found])
    verified = sum(bool(bounds.verified[0]) for bounds in found)
    return BoundsBench(network.name, config.method, seconds, verified, peak_mb(network.device))


def bench_funnel(network: Network, images: ImageSet, config: SelectionConfig, *, progress: bool = False) -> FunnelBench:
    """Settle each image by the funnel and by everything there is, and compare seconds and statuses."""
    full = replace(config.attack, early_stop=False)
    normalization = normalization_of(network, images)
    box = Box.around(images.pixels, normalization, config.eps)
    decide(network, images, 0, replace(config, attack=AttackConfig(steps=1, restarts=1)))  # first calls prepare kernels
    rows: list[tuple[float, ...]] = []
    verdicts, plain = [], []
    for row in tqdm(range(len(images)), desc="funnel beside plain order", unit="image", disable=not progress):
        one, label, name = box.take([row]), images.labels[[row]], images.ids[row : row + 1]
        began = time.perf_counter()
        verdict = decide(network, images, row, config)
        settled = time.perf_counter()
        trace = run_attack(network, one, label, name, full, every_step=True)
        attacked = time.perf_counter()
        run_attack(network, one, label, name, full)
        repeated = time.perf_counter()
        bounds = margin_bounds(network, one, label, config.bounds)
        bounded = time.perf_counter()
        rows.append((settled - began, attacked - settled, repeated - attacked, bounded - repeated))
        wrong = verdict.predicted != label[0]
        plain.append(np.select([wrong, trace.success[0], bounds.verified[0]], STATUSES[:3], STATUSES[3]).item())
        verdicts.append(verdict)
    funnel, attack, shortcut, bound = np.array(rows).T
    return FunnelBench(network.name, funnel, attack, shortcut, bound, tuple(verdicts), np.array(plain))
