"""What is still open after alpha-CROWN: its bound for open images of a recorded selection, kept in the selection
itself.

The filter stops at CROWN, as the published benchmark did. How many of its open images a stronger bound proves says how
hard a benchmark is for the verifiers that begin with it (alpha-CROWN, Xu et al. 2021).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from ..bounds import margin_bounds
from ..core import BoundsConfig, Box, ImageError, ImageSet, SelectionError, draw, require
from .selection_reading import read_selection
from .selection_writing import Selection, put_selection

if TYPE_CHECKING:
    from ..networks import Network


def add_alpha_bounds(
    path: Path, network: Network, pool: Sequence[ImageSet], count: int, *, seed: int = 0, progress: bool = True
) -> Selection:
    """Run alpha-CROWN on `count` open images of the selection at `path`, drawn by hash, and write what it proves there.

    Images that have a bound already are left alone, and the file is written after each image: a killed run goes on.

    Args:
        path: of a selection file.
        network: the one it is about.
        pool: sets of images that hold those of the selection.
        count: of open images that have a bound in the end; more than there are takes all.
        seed: of the draw; the first 50 of a seed are among its first 100.
        progress: show a progress bar.

    Raises:
        SelectionError: a damaged selection, one of another network, or none open.
        ImageError: an image that `pool` does not hold.
    """
    selection = read_selection(path, network.card.sha256)
    left = selection.of("open")
    require(len(left) > 0, str(path), "no open image", "one or more", error=SelectionError)
    require(count >= 1, "count", count, "1 or more")
    keys = tuple(verdict.key for verdict in left)
    wanted = [left[row] for row in draw(keys, min(count, len(left)), seed, f"alpha {selection.network}")]
    rows = {key: (images, row) for images in pool for row, key in enumerate(images.keys)}
    config = dataclasses.replace(BoundsConfig(**selection.settings["bounds"]), method="alpha-crown")
    todo = [verdict for verdict in wanted if verdict.key not in selection.alpha]
    for verdict in tqdm(todo, desc="alpha-CROWN", unit="image", disable=not progress):
        place = rows.get(verdict.key)
        require(place is not None, "images", f"none of SHA-256 {verdict.image_id[:12]}…", "those of the selection",
                error=ImageError)  # fmt: skip
        assert place is not None
        images, row = place
        box = Box.around(images.pixels_of([row]), selection.normalization, selection.eps)
        found = float(margin_bounds(network, box, np.array([verdict.label]), config, only_smallest=True).smallest[0])
        selection = dataclasses.replace(selection, alpha={**selection.alpha, verdict.key: found})
        put_selection(path, selection)
    return selection


def with_known_bounds(path: Path, selection: Selection) -> Selection:
    """`selection` with the bounds that the file at `path` holds for images that are open in both.

    Nothing is taken from a file that is none, or about another network, other settings or another normalisation.
    """
    if not path.is_file():
        return selection
    with contextlib.suppress(SelectionError):
        known = read_selection(path, selection.network_sha256)
        settings = [{**one.settings, "strong": None} for one in (known, selection)]
        if settings[0] == settings[1] and known.normalization == selection.normalization:
            keys = {verdict.key for verdict in selection.of("open")}
            return dataclasses.replace(selection, alpha={k: b for k, b in known.alpha.items() if k in keys})
    return selection
