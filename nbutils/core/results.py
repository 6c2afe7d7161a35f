"""What is found out about images: margins, attacks, bounds, verdicts, and the properties made of them.

Space, sign and the letters in shapes are those of `records`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .errors import require
from .records import STATUSES, Box


@dataclass(frozen=True, eq=False)
class Margins:
    """Class margins at single points; column order is that of `rivals`."""

    values: np.ndarray  # float32 [N, K-1], logit of the true label - logit of the rival
    rivals: np.ndarray  # int64 [N, K-1], class numbers ascending, true label left out
    labels: np.ndarray  # int64 [N]
    predicted: np.ndarray  # int64 [N], largest logit, the lowest class number on ties

    @property
    def smallest(self) -> np.ndarray:
        """float32 [N]: margin of the strongest rival; the label is predicted for certain only above 0."""
        return self.values.min(axis=1)


@dataclass(frozen=True, eq=False)
class AttackTrace:
    """What PGD did in the boxes of N images. Points are in network input space and in their boxes.

    With early stop, an image whose first rival came ahead at step s has NaN in `margins` and `losses` beyond s.
    """

    margins: np.ndarray  # float32 [N, S+1, R], smallest margin at each step of each restart; step 0 is the start
    losses: np.ndarray  # float32 [N, S+1, R], what was descended (lower is closer to a counterexample)
    points: np.ndarray  # float32 [N, C, H, W], the point of lowest margin ever visited
    values: np.ndarray  # float32 [N, K-1], class margins at `points`, re-judged by onnxruntime
    rivals: np.ndarray  # int64 [N, K-1], columns of `values`
    success: np.ndarray  # bool [N], `smallest` <= 0: a counterexample (the property files say Y_j >= Y_label)
    steps_used: np.ndarray  # int64 [N], gradient steps taken
    seconds: np.ndarray  # float64 [N]
    paths: np.ndarray | None = None  # float32 [N, S+1, R, C, H, W], every iterate, on request

    @property
    def smallest(self) -> np.ndarray:
        """float32 [N]: lowest margin found, as onnxruntime judges it."""
        return self.values.min(axis=1)


@dataclass(frozen=True, eq=False)
class LayerBounds:
    """Pre-activation bounds of one nonlinear layer, summed up an image.

    CROWN bounds a neuron no further than it takes to know its sign, so intervals of neurons that are not unstable may
    be wider than its full bounds. Their ReLUs get the same line either way, so the rows behind them do not change.
    """

    name: str
    neurons: int
    width: np.ndarray  # float64 [N], mean of upper - lower over the layer's neurons
    unstable: np.ndarray  # float64 [N], share of neurons with lower < 0 < upper


@dataclass(frozen=True, eq=False)
class MarginBounds:
    """Lower bounds of all class margins over the boxes of N images, by one method."""

    method: str
    lower: np.ndarray  # float32 [N, K-1], never above any margin in the box
    rivals: np.ndarray  # int64 [N, K-1], columns of `lower`
    labels: np.ndarray  # int64 [N]
    seconds: np.ndarray  # float64 [N]
    tolerance: float  # logits; proof asks for more than this, to absorb float error
    layers: tuple[LayerBounds, ...] = ()  # input side first; empty if not asked for

    @property
    def smallest(self) -> np.ndarray:
        """float32 [N]: lower bound of the strongest rival's margin."""
        return self.lower.min(axis=1)

    @property
    def verified(self) -> np.ndarray:
        """bool [N]: every margin is proved positive all over the box."""
        return self.smallest > self.tolerance


@dataclass(frozen=True)
class Verdict:
    """What the funnel found out about one image. Numbers not computed are None."""

    image_id: str
    index: int  # true index in the source
    label: int
    predicted: int
    status: str  # one of STATUSES
    decided_by: str  # name of the step that settled it
    natural_margin: float  # smallest margin at the image itself
    attack_margin: float | None = None  # lowest margin any attack found, re-judged by onnxruntime
    attack_rival: int | None = None
    attack_steps: int | None = None  # gradient steps of all attack stages together
    bound: float | None = None  # best lower bound of the smallest margin
    bound_method: str | None = None
    seconds: float = 0.0
    point: np.ndarray | None = field(default=None, compare=False, repr=False)  # float32 [C, H, W] of attack_margin

    def __post_init__(self) -> None:
        require(self.status in STATUSES, "status", self.status, ", ".join(STATUSES))

    @property
    def key(self) -> str:
        """`image_id/label`, as in `ImageSet.keys`."""
        return f"{self.image_id}/{self.label}"

    @property
    def hardness(self) -> float | None:
        """Best attack margin minus best lower bound, in logits: the gap no method here closed."""
        if self.attack_margin is None or self.bound is None:
            return None
        return self.attack_margin - self.bound


@dataclass(frozen=True, eq=False)
class Property:
    """One robustness property: does some point of the box put a rival level with or ahead of the label?

    `lower`, `upper` are float32, flat in CHW order, network input space. A property asks for a counterexample:
    `sat` means attackable, `unsat` robust. Properties that are made here compare with every other class; those of
    others may name some (`rivals`), or ask for one class that is level with or ahead of a whole `group` at the same
    point.
    """

    lower: np.ndarray  # float32 [C*H*W]
    upper: np.ndarray  # float32 [C*H*W]
    label: int
    classes: int
    shape: tuple[int, ...]  # (C, H, W)
    name: str = ""  # file name without folder, with .vnnlib
    meta: dict[str, Any] = field(default_factory=dict)  # true index, image_id, eps, source: manifest only
    declared: tuple[tuple[str, str, tuple[int, ...]], ...] = ()  # name, type, shape of input and output in 2.0 text
    rivals: tuple[int, ...] = ()  # classes compared with the label; empty: every other
    group: tuple[int, ...] = ()  # if not empty, the one rival has to be level with or ahead of all of these

    def __post_init__(self) -> None:
        size = int(np.prod(self.shape))
        require(
            self.lower.shape == self.upper.shape == (size,),
            f"property {self.name}: bounds",
            (self.lower.shape, self.upper.shape),
            f"flat arrays of {size} numbers, as shape {self.shape} asks",
        )
        require(0 <= self.label < self.classes, f"property {self.name}: label", self.label, f"0 to {self.classes - 1}")

    def terms(self) -> np.ndarray:
        """Rows [R, K]; at a counterexample `row . logits` <= 0 for one of them, for all where there is a group."""
        pairs = [(k, self.rivals[0]) for k in self.group]
        pairs = pairs or [(self.label, j) for j in self.rivals or range(self.classes) if j != self.label]
        rows = np.zeros((len(pairs), self.classes), dtype=np.float32)
        for row, (label, rival) in zip(rows, pairs, strict=True):
            row[label], row[rival] = 1, -1
        return rows

    @property
    def box(self) -> Box:
        """The box as one image [1, C, H, W]; its center is the middle, computed in float64."""
        lower, upper = (a.reshape(1, *self.shape) for a in (self.lower, self.upper))
        middle = ((lower.astype(np.float64) + upper) / 2).astype(np.float32)
        return Box(lower, upper, np.clip(middle, lower, upper))


@dataclass(frozen=True, eq=False)
class Instance:
    """One row of `instances.csv`, and what the manifest says of it."""

    property: Property
    network: Path  # the .onnx or .onnx.gz file
    timeout: float  # seconds
    levels: np.ndarray | None = None  # uint8 [C, H, W], the image the property was made around
    verdict: Verdict | None = None
