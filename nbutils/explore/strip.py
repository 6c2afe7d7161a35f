"""Which images the strip shows, in which order, and their thumbnails in one picture."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..core import ImageSet, Verdict

SHOWN = 1000
"""Most thumbnails in the strip. The filters go over all images, and the first that fit are shown."""
COLUMNS = 32  # thumbnails side by side in the one picture that holds them
SIDE = 64  # pixels of a thumbnail at most; of larger images blocks are averaged
_KEPT = 3  # pictures that are kept: that of all images, and of the last filters


@dataclass(frozen=True)
class Filter:
    """What an image has to be to stand in the strip."""

    status: str = "all"
    text: str = ""  # part of its class's name
    within: tuple[str, float, float] | None = None  # margin or hardness, from, to
    sort: str = "index"  # index, margin or hardness


@dataclass(frozen=True)
class Sheet:
    """A picture of thumbnails, row by row, `COLUMNS` wide."""

    png: bytes
    places: Mapping[int, int]  # image -> number of its thumbnail
    side: int  # pixels of a thumbnail across

    @property
    def rows(self) -> int:
        """Rows of thumbnails."""
        return -(-len(self.places) // COLUMNS)


class Sheets:
    """The picture that holds the thumbnails of given images: an earlier one where it has them all."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images
        self._made: OrderedDict[tuple[int, ...], Sheet] = OrderedDict()

    def of(self, rows: Sequence[int]) -> Sheet:
        """A picture with the thumbnails of `rows`, and maybe more; the latest that will do."""
        for key in reversed(self._made):
            if self._made[key].places.keys() >= set(rows):
                self._made.move_to_end(key)
                return self._made[key]
        wanted = tuple(sorted(rows))
        levels = thumbnails(self.images.levels[list(wanted)])
        sheet = Sheet(sheet_png(levels), {row: place for place, row in enumerate(wanted)}, levels.shape[-1])
        self._made[wanted] = sheet
        if len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return sheet


def shown_rows(
    images: ImageSet, smallest: np.ndarray | None, settled: Mapping[str, Verdict], wanted: Filter
) -> tuple[list[int], int]:
    """Rows of the images that the strip shows, at most `SHOWN`, and how many fit the filter.

    Args:
        images: all images.
        smallest: natural margins [N], logits; only read to sort by them.
        settled: verdicts by the images' keys.
        wanted: what is asked for.
    """
    rows = list(range(len(images)))
    if wanted.status != "all":
        keys = {key for key, verdict in settled.items() if verdict.status == wanted.status}
        rows = [row for row in rows if images.keys[row] in keys]
    if text := wanted.text.strip().lower():
        found = {int(label) for label in np.unique(images.labels) if text in images.name_of(int(label)).lower()}
        rows = [row for row in rows if int(images.labels[row]) in found]
    if wanted.within is not None:
        kind, low, high = wanted.within
        verdicts = {row: settled[images.keys[row]] for row in rows if images.keys[row] in settled}
        value = {row: v.natural_margin if kind == "margin" else hardness(v) for row, v in verdicts.items()}
        slack = 1e-5 * max(1.0, abs(low), abs(high))  # the browser's ends are rounded
        rows = [row for row in rows if row in value and low - slack <= value[row] <= high + slack]
    if wanted.sort == "margin" and smallest is not None:
        rows.sort(key=lambda row: float(smallest[row]))
    elif wanted.sort == "hardness":  # the open ones first, the hardest before all
        rows.sort(key=lambda row: -hardness(settled.get(images.keys[row])))
    return rows[:SHOWN], len(rows)


def hardness(verdict: Verdict | None) -> float:
    """For sorting: of an open image its gap between bound and attack, below all else for the others."""
    known = verdict is not None and verdict.status == "open" and verdict.hardness is not None
    return float(verdict.hardness) if known else float("-inf")  # type: ignore[union-attr, arg-type]


def thumbnails(levels: np.ndarray) -> np.ndarray:
    """uint8 [N, C, H, W], blocks of larger images averaged until `SIDE` pixels hold them."""
    step = -(-max(levels.shape[-2:]) // SIDE)
    if step == 1:
        return levels
    n, channels, height, width = levels.shape
    high, wide = max(1, height // step), max(1, width // step)
    tall, broad = min(step, height), min(step, width)
    blocks = levels[..., : high * tall, : wide * broad].reshape(n, channels, high, tall, wide, broad)
    return blocks.mean(axis=(3, 5)).round().astype(np.uint8)


def sheet_png(levels: np.ndarray) -> bytes:
    """The thumbnails uint8 [N, C, H, W] side by side, as a PNG file."""
    n, channels, height, width = levels.shape
    grid = np.zeros((channels, max(1, -(-n // COLUMNS)) * height, COLUMNS * width), np.uint8)
    for place, image in enumerate(levels):
        y, x = divmod(place, COLUMNS)
        grid[:, y * height : (y + 1) * height, x * width : (x + 1) * width] = image
    picture = grid[0] if channels == 1 else np.ascontiguousarray(np.moveaxis(grid, 0, -1))
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1)  # a third of the time, a tenth more bytes
    return buffer.getvalue()
