"""A plane through a box: the margin on a grid in it, and PGD's paths projected to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core import AttackTrace, Box, ParameterError, class_margins, require, stream

if TYPE_CHECKING:
    from ..networks import Network

BATCH = 256  # rows given to the network at once
REACH = 1.25  # the picture goes this much farther than the farthest path
SLIM = 0.4  # shorter side of the picture over the longer one, at least


@dataclass(frozen=True, eq=False)
class Slice:
    """The smallest margin in a plane through a box's center.

    Coordinates are root-mean-square displacements in radii: an offset (a, b) moves the image by
    sqrt(d) * (a u + b v), where u, v are orthonormal over the d = C*H*W elements, each measured in its half-width of
    the box. A corner of the box is at distance 1. Plane points outside the box are projected to it, element by
    element; a path is projected to the plane orthogonally, so its own margins (`path_margins`) and the grid's agree
    only where it lies in the plane.
    """

    across: np.ndarray  # float64 [A], coordinates along u, the best end point's direction
    up: np.ndarray  # float64 [B], coordinates along v
    margins: np.ndarray  # float32 [B, A], smallest margin, logits
    paths: np.ndarray  # float64 [S+1, R, 2], NaN beyond an early stop
    path_margins: np.ndarray  # float32 [S+1, R], margins at the iterates themselves

    def __post_init__(self) -> None:
        grid = (len(self.up), len(self.across))
        require(self.margins.shape == grid, "slice: margins", self.margins.shape, f"{grid}, one for each grid point")
        require(bool(np.isfinite(self.margins).all()), "slice: margins", "NaN or infinity", "finite numbers")
        shape = (*self.path_margins.shape, 2)
        require(self.paths.shape == shape, "slice: paths", self.paths.shape, f"{shape}, a position for each margin")
        start = bool(np.isfinite(self.paths[0]).all())
        require(start, "slice: paths at step 0", "NaN or infinity", "finite numbers")


def box_slice(network: Network, box: Box, label: int, trace: AttackTrace, row: int, *, resolution: int = 41) -> Slice:
    """The plane through image `row` of `box` and the two best end points of `trace`.

    Args:
        network: judged through its torch twin, `BATCH` rows at a time.
        box: boxes of the images that `trace` is about; network input space.
        label: true class of image `row`.
        trace: attack with `paths` kept.
        row: image in `box` and `trace`.
        resolution: grid points along either side.

    Raises:
        ParameterError: for a trace without paths, a row outside it, or a resolution outside 3 to 501.
    """
    ok = isinstance(row, int) and 0 <= row < min(len(box), len(trace.margins))
    require(ok, "row", row, f"a whole number from 0 to {min(len(box), len(trace.margins)) - 1}")
    require(
        isinstance(resolution, int) and 3 <= resolution <= 501, "resolution", resolution, "a whole number, 3 to 501"
    )
    require(trace.paths is not None, "trace: paths", None, "every iterate", "call run_attack with keep_paths=True")
    center = box.center[row].astype(np.float64)
    half = np.maximum(box.upper[row] - center, center - box.lower[row])
    scale = np.where(half > 0, half, 1.0)
    moved = (trace.paths[row].astype(np.float64) - center) / scale  # type: ignore[index]
    steps, restarts = moved.shape[:2]
    moved = moved.reshape(steps, restarts, -1)
    best = ((trace.points[row] - center) / scale).ravel()
    plane = _plane(best, moved, trace.margins[row])
    root = np.sqrt(best.size)
    paths = moved @ plane.T / root
    across, up = _axes(paths, resolution)
    offsets = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2) * root
    values = np.concatenate(
        [
            _smallest(network, box, row, center + (block @ plane).reshape(-1, *center.shape) * scale, label)
            for block in np.array_split(offsets, -(-len(offsets) // BATCH))
        ]
    )
    return Slice(across, up, values.reshape(resolution, resolution), paths, trace.margins[row])


def _smallest(network: Network, box: Box, row: int, points: np.ndarray, label: int) -> np.ndarray:
    inside = np.clip(points.astype(np.float32), box.lower[row], box.upper[row])
    return class_margins(network.logits(inside), np.full(len(inside), label)).smallest


def _plane(best: np.ndarray, moved: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Orthonormal [2, d]: the best point's direction, then that of the best other iterate off this line.

    Ends of restarts are tried in order of their margin, then every other direction a path took, then a random one,
    so one restart or a flat network still gives a plane.
    """
    candidates = [best]
    for restart in np.argsort(np.nanmin(margins, axis=0), kind="stable"):
        path = moved[np.isfinite(moved[:, restart]).all(axis=1), restart]
        candidates += [path[-1], path[0]]
    candidates += list(stream("slice", best.size).standard_normal((2, best.size)))
    basis: list[np.ndarray] = []
    for candidate in candidates:
        rest = candidate - sum((np.dot(candidate, axis) * axis for axis in basis), np.zeros_like(candidate))
        length = float(np.linalg.norm(rest))
        if length > 1e-3 * max(float(np.linalg.norm(candidate)), 1e-12):
            basis.append(rest / length)
        if len(basis) == 2:
            return np.stack(basis)
    raise ParameterError(f"box: found {best.size} element(s) a point; allowed: 2 or more, to span a plane.")


def _axes(paths: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Both axes reach `REACH` times as far as image and paths need, and neither less than `SLIM` of the other."""
    low, high = np.minimum(np.nanmin(paths, axis=(0, 1)), 0), np.maximum(np.nanmax(paths, axis=(0, 1)), 0)
    middle, reach = (low + high) / 2, REACH * (high - low) / 2
    reach = np.maximum(reach, max(SLIM * reach.max(), 0.05))
    across, up = (np.linspace(m - r, m + r, resolution) for m, r in zip(middle, reach, strict=True))
    return across, up
