"""How large the small box of the loss `crown-row` should be for a network: such that the row loses what CROWN does.

With a smaller one the row promises more than CROWN will prove, with a larger one training fights a looseness that CROWN
does not have. The size is the network's, and grows while it learns: what a row does not see costs it nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..bounds import margin_bounds
from ..core import PUBLISHED_EPS, BoundsConfig, Box, ImageSet, class_margins, require
from ..networks import ResNet
from .crown_row import row_margins
from .interval import running_statistics

BOXES = (0.001, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1)
"""Sizes that are tabulated, radii as multiples of eps."""

_BATCH = 50  # images of which rows are taken at once
_LEAST = 1e-6  # smallest box that `TrainConfig` allows
_HALVINGS = 16  # of the range from there to 1 in which the fitting size is sought, on a logarithmic scale


@dataclass(frozen=True, eq=False)
class BoxFit:
    """What rows with intervals of small boxes lose beside what CROWN loses, for the nearest rival, in logits."""

    boxes: np.ndarray  # float64 [B], ascending, radius of the small box as a multiple of eps
    lost: np.ndarray  # float64 [B], mean over the images of margin at the image minus row
    correlation: np.ndarray  # float64 [B], of row and CROWN's bound over the images; NaN where either is constant
    margin: float  # mean margin at the images
    crown: float  # mean of margin minus CROWN's bound
    images: int  # bounded by CROWN: those classified correctly
    fitting: float  # size for which the row loses on average what CROWN does
    eps: float  # pixel units


@dataclass(frozen=True, eq=False)
class _Traced:
    """A network of `networks.architectures` as `bounds` wants it."""

    name: str
    module: torch.nn.Module
    input_shape: tuple[int, int, int]
    classes: int
    device: torch.device


def fit_box(network: ResNet, images: ImageSet, eps: float = PUBLISHED_EPS) -> BoxFit:
    """Compare rows with CROWN on those of `images` that `network` classifies correctly, and find the size that fits.

    Args:
        network: in evaluation mode, on the device to compute on.
        images: about twenty are enough; CROWN bounds each. Not the ones that will be tested on.
        eps: radius of the whole box, pixel units.

    Raises:
        ParameterError: when the network classifies none of the images correctly.
        BoundsError: for images of another shape, or too little memory.
    """
    box = Box.around(images.pixels, images.stated_normalization(), eps)
    margins = class_margins(_logits(network, box), images.labels).values
    right = np.flatnonzero(margins.min(1) > 0)
    require(len(right) > 0, "images", f"{len(images)}, none classified correctly", "at least one that is")
    labels, box, margins = images.labels[right], box.take(right), margins[right]
    crown = margin_bounds(_traced(network), box, labels, BoundsConfig(method="crown")).lower
    nearest = margins.argmin(1)[:, None]
    margin, bound = (np.take_along_axis(values, nearest, axis=1)[:, 0] for values in (margins, crown))
    rows = np.stack([nearest_rows(network, box, labels, size) for size in BOXES])
    return BoxFit(
        boxes=np.array(BOXES),
        lost=(margin - rows).mean(1, dtype=np.float64),
        correlation=np.array([_correlation(row, bound) for row in rows]),
        margin=float(margin.mean()),
        crown=float((margin - bound).mean()),
        images=len(right),
        fitting=_largest(lambda size: nearest_rows(network, box, labels, size).mean() >= bound.mean()),
        eps=eps,
    )


def nearest_rows(network: ResNet, box: Box, labels: np.ndarray, size: float) -> np.ndarray:
    """Lower end float32 [N] of the nearest rival's row over each box, with intervals of a box `size` times as large.

    With the size that fits, the share of positive ones among images is a guess, rather high, at the share that CROWN
    proves, for a few passes an image: good for comparing networks. It is no proof.
    """
    device, statistics, parts = _device(network), running_statistics(network), []
    for start in range(0, len(labels), _BATCH):
        few = box.take(range(start, min(start + _BATCH, len(labels))))
        ends = torch.from_numpy(few.lower).to(device), torch.from_numpy(few.upper).to(device)
        truth = torch.from_numpy(labels[start : start + _BATCH]).to(device)
        with torch.no_grad():
            logits = network(torch.from_numpy(few.center).to(device))
            margins = row_margins(network, statistics, logits, truth, ends, size)
        # all others lie as far above the nearest rival's as at the centre
        margins.scatter_(1, truth[:, None], torch.inf)
        parts.append(margins.min(1).values.cpu().numpy())
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


def _logits(network: ResNet, box: Box) -> np.ndarray:
    """Logits [N, K] at the centres."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(box), _BATCH):
            parts.append(network(torch.from_numpy(box.center[start : start + _BATCH]).to(_device(network))).cpu())
    return torch.cat(parts).numpy()


def _traced(network: ResNet) -> _Traced:
    """`network` for `bounds`, which knows graphs."""
    shape = network.architecture
    module = torch.fx.symbolic_trace(network)
    # a shortcut without weights goes: CROWN's own pass takes no layer it does not know
    for node in list(module.graph.nodes):
        if node.op == "call_module" and isinstance(module.get_submodule(node.target), torch.nn.Identity):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    module.recompile()
    return _Traced(shape.name, module, shape.input_shape, shape.classes, _device(network))


def _device(network: ResNet) -> torch.device:
    return next(network.parameters()).device


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    flat = len(one) < 2 or one.std() == 0 or other.std() == 0
    return float("nan") if flat else float(np.corrcoef(one, other)[0, 1])


def _largest(holds: Callable[[float], bool]) -> float:
    """Largest size up to 1 for which `holds`, which it does below some size and above it does not."""
    low, high = np.log(_LEAST), 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(float(np.exp(middle))) else (low, middle)
    return float(np.exp((low + high) / 2))
