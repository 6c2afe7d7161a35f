"""Image files to pixel levels: PNG and JPEG only, checked from their headers before they are decoded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from .errors import ImageError, require

SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg")
MAX_SIDE = 4096
"""Most pixels a side of one image, so that no small file can unpack to more than 50 MB."""
MAX_BYTES = 8 * 2**30
"""Most bytes the images of one source may take in memory."""

_MODES = ("RGB", "L", "P", "1")
_require = partial(require, error=ImageError)


def is_picture(name: str) -> bool:
    """Whether a file name says PNG or JPEG; hidden files do not count."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def read_picture(file: Path) -> np.ndarray:
    """Pixel levels uint8 [3, H, W] of one PNG or JPEG file; grey images get three equal channels.

    Raises:
        ImageError: naming the file, where it is missing, damaged, too large, or not 8-bit RGB or grey.
    """
    _require(os.path.isfile(file), str(file), "no such file", "a PNG or JPEG file")
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as picture:
            _check_header(file, picture)
            return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    except ImageError:
        raise
    except Exception as error:  # foreign bytes: Pillow's decoders raise whatever they trip over
        reason = str(error).replace(str(file), file.name)
        raise ImageError(f"{file}: cannot be read ({reason}); allowed: an undamaged PNG or JPEG file.") from error


def _check_header(file: Path, picture: Image.Image) -> None:
    found, allowed = f"{_size(*picture.size)}", f"at most {MAX_SIDE} pixels a side"
    _require(max(picture.size) <= MAX_SIDE, str(file), found, allowed, "Scale it down")
    plain = picture.mode in _MODES and "transparency" not in picture.info
    hint = "Save it without transparency and with 8 bits a channel"
    _require(plain, str(file), f"Pillow mode {picture.mode}", "8-bit RGB or grey", hint)


def read_pictures(files: Sequence[Path], *, crop: int | None = None) -> np.ndarray:
    """Pixel levels uint8 [N, 3, H, W] of `files`, one or more, in that order, all of one size.

    Decodes in threads (Pillow releases the interpreter lock) straight into one array. `crop` keeps the
    central crop x crop pixels of each.

    Raises:
        ImageError: as `read_picture`, or for images of unequal size or too many for memory.
    """
    first = read_picture(files[0])
    height, width = first.shape[1:] if crop is None else (crop, crop)
    check_bytes(str(files[0].parent), len(files) * 3 * height * width)
    levels = np.empty((len(files), 3, height, width), dtype=np.uint8)
    allowed = f"{_size(*first.shape[:0:-1])}, as {files[0].name} has"

    def place(row: int) -> None:
        image = read_picture(files[row])
        same = image.shape == first.shape
        _require(same, str(files[row]), _size(*image.shape[:0:-1]), allowed, "All images need one size")
        levels[row] = image if crop is None else center_crop(image, crop)

    with ThreadPool(min(8, os.cpu_count() or 1)) as pool:
        done = pool.imap(place, range(len(files)), chunksize=32)
        for _ in tqdm(done, total=len(files), desc="reading images", unit="image", delay=1, leave=False):
            pass
    return levels


def _size(width: int, height: int) -> str:
    return f"{width} x {height} pixels"


def center_crop(levels: np.ndarray, size: int) -> np.ndarray:
    """The central `size` x `size` pixels of `levels` [..., H, W]; a view."""
    height, width = levels.shape[-2:]
    _require(size <= min(height, width), "image size", _size(width, height), f"at least {_size(size, size)}")
    top, left = (height - size) // 2, (width - size) // 2
    return levels[..., top : top + size, left : left + size]


def check_bytes(name: str, count: int) -> None:
    """Refuse a source, before it is read, that would take more than `MAX_BYTES` of memory."""
    _require(count <= MAX_BYTES, name, f"{count / 2**30:.1f} GiB", f"at most {MAX_BYTES / 2**30:.0f} GiB", "Split it")
