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
        needed = set(rows)
        for key in reversed(self._made):
            if self._made[key].places.keys() >= needed:
                self._made.move_to_end(key)
                return self._made[key]
        wanted = tuple(sorted(needed)) or (0,)
        tiles = [thumbnail(self.images.levels[row]) for row in wanted]
        sheet = Sheet(in_one(tiles), {row: place for place, row in enumerate(wanted)}, tiles[0].width)
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


def thumbnail(levels: np.ndarray) -> Image.Image:
    """uint8 [C, H, W] as a picture, blocks of a larger one averaged until `SIDE` pixels hold it."""
    picture = Image.fromarray(levels[0] if len(levels) == 1 else np.ascontiguousarray(np.moveaxis(levels, 0, -1)))
    step = -(-max(picture.size) // SIDE)
    return picture if step == 1 else picture.reduce(step)


def in_one(tiles: Sequence[Image.Image]) -> bytes:
    """Thumbnails of one size side by side, as a PNG file."""
    width, height = tiles[0].size
    picture = Image.new(tiles[0].mode, (COLUMNS * width, -(-len(tiles) // COLUMNS) * height))
    for place, tile in enumerate(tiles):
        y, x = divmod(place, COLUMNS)
        picture.paste(tile, (x * width, y * height))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=1)  # it is made while somebody waits, and travels but once
    return buffer.getvalue()
