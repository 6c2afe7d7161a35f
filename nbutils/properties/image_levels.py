"""The image inside a property: exact uint8 levels from the bounds alone.

The middle of the box is no answer: where clipping cut the box at 0 or 1 it is off by up to half a radius, and
float32 rounding moves it everywhere else. Each level has its own pair of float32 bounds instead, so the level is
looked up by that pair.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..core import Box, Normalization, Property, PropertyError, check_eps, require


def recover_levels(prop: Property, normalization: Normalization, eps: float | None = None) -> tuple[np.ndarray, float]:
    """Levels uint8 [C, H, W] and radius (pixel units) whose `Box.around` is the box of `prop`, float32 for float32.

    Args:
        prop: a property around an image of uint8 levels.
        normalization: the one its bounds were made with.
        eps: the radius; without it, k/255 and round decimals near the box's width are tried.

    Raises:
        PropertyError: if no image and radius give exactly this box, or several images do.
    """
    require(
        len(prop.shape) == 3 and prop.shape[0] == len(normalization.mean),
        f"{prop.name}: shape",
        prop.shape,
        f"({len(normalization.mean)}, H, W), one channel for each mean of the normalization",
        error=PropertyError,
    )
    radii = list(_radii(prop, normalization)) if eps is None else [check_eps(eps)]
    for radius in radii:
        levels = _look_up(prop, normalization, radius)
        if levels is not None:
            return levels, radius
    raise PropertyError(
        f"{prop.name}: found bounds that no image of levels 0-255 gives with mean {normalization.mean}, std "
        f"{normalization.std} and radius {radii or 'above 0'}; allowed: a box around an image. "
        "Pass the normalization and the radius the file was made with."
    )


def _look_up(prop: Property, normalization: Normalization, eps: float) -> np.ndarray | None:
    """Levels by their pair of bounds, channel by channel; None if some pair belongs to no level."""
    channels = prop.shape[0]
    ramp = np.broadcast_to(np.arange(256, dtype=np.float32) / np.float32(255), (1, channels, 1, 256))
    ladder = Box.around(ramp, normalization, eps)
    known = _pairs(ladder.lower, ladder.upper).reshape(channels, 256)
    wanted = _pairs(prop.lower, prop.upper).reshape(channels, -1)
    levels = np.empty(wanted.shape, dtype=np.uint8)
    for channel in range(channels):
        order = np.argsort(known[channel])
        rungs = known[channel][order]
        places = np.minimum(np.searchsorted(rungs, wanted[channel]), 255)
        if (rungs[places] != wanted[channel]).any():
            return None
        twins = np.flatnonzero(rungs[1:] == rungs[:-1])
        if np.isin(rungs[twins], wanted[channel]).any():
            hint = "Boxes this large are cut at 0 and 1 alike, so several images share one"
            raise PropertyError(f"{prop.name}: found radius {eps}; allowed: one below 0.5. {hint}.")
        levels[channel] = order[places]
    return levels.reshape(prop.shape)


def _pairs(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """uint64 [...]: both float32 bounds of an element in one key, with -0 taken as 0."""
    pairs = np.stack([lower.ravel(), upper.ravel()], axis=-1) + np.float32(0)
    return pairs.view(np.uint64)[:, 0]


def _radii(prop: Property, normalization: Normalization) -> Iterator[float]:
    """Round radii near what the widest element says: k/255 first, then decimals, then fractions of a level.

    The widest element is 2 eps wide, or eps where every element is cut.
    """
    std = np.asarray(normalization.std).reshape(-1, 1)
    widths = (prop.upper.astype(np.float64) - prop.lower).reshape(len(std), -1) * std
    for estimate in (widths.max() / 2, widths.max()):
        guesses = [round(estimate * 255) / 255]
        guesses += [round(estimate, digits) for digits in range(2, 8)]
        guesses += [round(estimate * 255, digits) / 255 for digits in range(1, 4)]
        for guess in dict.fromkeys(guesses):
            if abs(guess - estimate) < 1e-6 and 0 < guess < 1:
                yield float(guess)
