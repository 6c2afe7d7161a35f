"""The strip's filters over all images, and the picture of its thumbnails."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from nbutils.core import ImageSet, Verdict
from nbutils.explore.strip import COLUMNS, SHOWN, SIDE, Filter, Sheets, in_one, shown_rows, thumbnail

NAMES = ("ant", "bee", "wasp")


@pytest.fixture(scope="module")
def images():
    """1,200 images of 2 x 2; the wasps are the last two hundred."""
    count = SHOWN + 200
    numbers = np.arange(count)
    levels = np.zeros((count, 3, 2, 2), np.uint8)
    levels[:, 0], levels[:, 1] = (numbers // 256)[:, None, None], (numbers % 256)[:, None, None]
    labels = np.where(numbers < SHOWN, numbers % 2, 2)
    return ImageSet(levels, labels, numbers + 50, "numbered", NAMES, None)


def verdict(images, row, status, attack=0.5, bound=-0.5):
    more = {"attack_margin": attack, "bound": bound, "bound_method": "crown"} if status == "open" else {}
    return Verdict(
        image_id=images.ids[row], index=int(images.indices[row]), label=int(images.labels[row]), predicted=0,
        status=status, natural_margin=float(row), decided_by="crown", **more,
    )  # fmt: skip


def test_every_filter_searches_all_images(images):
    settled = {
        images.keys[row]: verdict(images, row, "open" if row > 1100 else "verified") for row in range(1000, 1200)
    }
    assert shown_rows(images, None, {}, Filter()) == (list(range(SHOWN)), 1200)
    assert shown_rows(images, None, {}, Filter(text=" WASP")) == (list(range(1000, 1200)), 200)
    assert shown_rows(images, None, {}, Filter(text="e")) == (list(range(1, 1000, 2)), 500)
    assert shown_rows(images, None, {}, Filter(text="fly")) == ([], 0)
    assert shown_rows(images, None, settled, Filter(status="open")) == (list(range(1101, 1200)), 99)
    assert shown_rows(images, None, settled, Filter(status="open", within=("margin", 1150.0, 1152.0)))[0] == [
        1150, 1151, 1152,
    ]  # fmt: skip


def test_order_by_margin_and_by_hardness(images):
    smallest = -np.arange(1200.0)
    assert shown_rows(images, smallest, {}, Filter(sort="margin"))[0] == list(range(1199, 199, -1))
    settled = {images.keys[row]: verdict(images, row, "open", bound=-row / 1000) for row in (1003, 1100, 1190)}
    assert shown_rows(images, smallest, settled, Filter(sort="hardness"))[0][:4] == [1190, 1100, 1003, 0]


def test_a_sheet_has_every_thumbnail_in_its_place(images):
    sheets = Sheets(images)
    assert sheets.of([]).png, "no image fits: still a picture"
    rows = [1100, 3, 700]
    sheet = sheets.of(rows)
    picture = np.asarray(Image.open(io.BytesIO(sheet.png)))
    assert picture.shape == (2 * sheet.rows, 2 * COLUMNS, 3)
    for row in rows:
        y, x = divmod(sheet.places[row], COLUMNS)
        seen = picture[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].reshape(4, 3)
        assert (seen == [row // 256, row % 256, 0]).all()
    assert sheets.of([700]) is sheet, "what a sheet holds already is not sent again"
    assert sheets.of([]) is sheet
    whole = sheets.of(range(SHOWN))
    assert whole.rows == -(-SHOWN // COLUMNS)
    assert sheets.of([3]) is whole, "the latest that will do"
    assert sheets.of([1100]) is sheet
    for first in (1100, 1110, 1120):
        sheets.of([first])
    assert sheets.of(range(SHOWN)) is not whole, "a few are kept, not all"


def test_large_pictures_are_averaged_and_small_ones_kept():
    small = np.random.default_rng(0).integers(9, 247, (1, SIDE, 40), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(thumbnail(small)), small[0])
    large = np.kron(small, np.ones((1, 3, 3), np.uint8))
    large[0, 0, 0] += 9
    difference = np.asarray(thumbnail(large)).astype(int) - small[0]
    assert difference[0, 0] == 1
    assert not difference.reshape(-1)[1:].any()
    assert thumbnail(np.zeros((3, 1, 300), np.uint8)).size == (60, 1)
    assert Image.open(io.BytesIO(in_one([thumbnail(small)]))).mode == "L"
