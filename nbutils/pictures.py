"""Image files to pixel levels: PNG and JPEG only, checked before they are decoded."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from .errors import ImageError, require

SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg")
MAX_SIDE = 4096
"""Most pixels a side of one image; refused from the header, before anything is decompressed."""
MAX_BYTES = 8 * 2**30
"""Most bytes one image source may take in memory or, packed, claim to unpack to."""

_MODES = ("RGB", "L", "P", "1")
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def is_picture(file: Path) -> bool:
    """Whether the name says PNG or JPEG; hidden files do not count."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def read_picture(file: Path) -> np.ndarray:
    """Pixel levels uint8 [3, H, W] of one PNG or JPEG file; grey images get three equal channels.

    Raises:
        ImageError: naming the file, where it is missing, damaged, too large, or not 8-bit RGB or grey.
    """
    try:
        with warnings.catch_warnings(), Image.open(file, formats=("PNG", "JPEG")) as picture:
            _check_header(file, picture)
            return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    except Image.DecompressionBombError:
        raise _too_large(file, "more pixels than Pillow's own limit") from None
    except _DAMAGE as error:
        reason = str(error).replace(str(file), file.name)
        raise ImageError(
            f"{file}: cannot be read as an image ({reason}); allowed: a whole PNG or JPEG file."
        ) from error


def _check_header(file: Path, picture: Image.Image) -> None:
    if max(picture.size) > MAX_SIDE:
        raise _too_large(file, f"{picture.size[0]} x {picture.size[1]} pixels")
    depth = picture.mode in _MODES and "transparency" not in picture.info
    hint = "Save it without transparency and with 8 bits a channel"
    require(depth, str(file), f"Pillow mode {picture.mode}", "8-bit RGB or grey", hint, error=ImageError)


def _too_large(file: Path, found: str) -> ImageError:
    return ImageError(f"{file}: found {found}; allowed: at most {MAX_SIDE} pixels a side. Scale it down.")


def read_pictures(files: Sequence[Path], *, crop: int | None = None) -> np.ndarray:
    """Pixel levels uint8 [N, 3, H, W] of `files`, in that order, all of one size.

    Decodes in threads (Pillow releases the interpreter lock) straight into one array. `crop` keeps the
    central crop x crop pixels of each.

    Raises:
        ImageError: as `read_picture`, or for images of unequal size or too many for memory.
    """
    require(len(files) > 0, "image files", "none", "one or more", error=ImageError)
    first = read_picture(files[0])
    shape = (len(files), *center_crop(first, crop).shape) if crop else (len(files), *first.shape)
    check_bytes(str(files[0].parent), int(np.prod(shape)))
    levels = np.empty(shape, dtype=np.uint8)

    def place(row: int) -> None:
        image = read_picture(files[row])
        found, allowed = _size(image), f"{_size(first)} as {files[0].name} has"
        require(
            image.shape == first.shape, str(files[row]), found, allowed, "All images need one size", error=ImageError
        )
        levels[row] = center_crop(image, crop) if crop else image

    with ThreadPool(min(8, os.cpu_count() or 1)) as pool:
        done = pool.imap(place, range(len(files)), chunksize=32)
        for _ in tqdm(done, total=len(files), desc="reading images", unit="image", delay=1, leave=False):
            pass
    return levels


def _size(image: np.ndarray) -> str:
    return f"{image.shape[2]} x {image.shape[1]} pixels"


def center_crop(levels: np.ndarray, size: int) -> np.ndarray:
    """The central `size` x `size` pixels of `levels` [..., H, W]; a view."""
    height, width = levels.shape[-2:]
    fits = size <= min(height, width)
    require(fits, "image size", (height, width), f"at least {size} x {size} pixels", error=ImageError)
    top, left = (height - size) // 2, (width - size) // 2
    return levels[..., top : top + size, left : left + size]


def check_bytes(name: str, count: int) -> None:
    """Refuse a source that would need more than `MAX_BYTES` of memory."""
    allowed = f"at most {MAX_BYTES / 2**30:.0f} GiB at once"
    require(count <= MAX_BYTES, name, f"{count / 2**30:.1f} GiB of images", allowed, "Split it", error=ImageError)
