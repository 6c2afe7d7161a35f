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

from ..core import ImageError, require

SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg")
MAX_SIDE = 4096
"""Most pixels a side of one image, so that no small file can unpack to more than 50 MB."""
MAX_BYTES = 8 * 2**30
"""Most bytes the images of one source may take in memory."""

_MODES = ("RGB", "L", "P", "1")
_KINDS = {"RGBA": "transparency", "LA": "transparency", "PA": "transparency", "CMYK": "CMYK colours", "I;16": "16 bits"}
_ORIENTATION = 0x0112  # EXIF tag
_require = partial(require, error=ImageError)


def is_picture(name: str) -> bool:
    """Whether a file name says PNG or JPEG; hidden files do not count."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def read_picture(file: Path) -> np.ndarray:
    """Pixel levels uint8 [3, H, W] of one PNG or JPEG file; grey images get three equal channels.

    What decoders change without a word is refused: 16 bits a channel (cut to 8), transparency and CMYK (how to convert
    is a choice), several pictures in one file (the first would be taken), an EXIF orientation (viewers turn the
    picture, decoders do not). Palettes and 1, 2 or 4 bits a channel convert exactly.

    Raises:
        ImageError: naming the file, where it is missing, damaged, too large, or one of these.
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
    kind = _odd_kind(file, picture)
    hint = "Convert it yourself, so that you know how, and save it as 8-bit RGB or grey"
    _require(not kind, str(file), kind, "8-bit RGB or grey, one upright picture a file", hint)


def _odd_kind(file: Path, picture: Image.Image) -> str:
    """What keeps a picture from being plain 8-bit RGB or grey; empty if nothing does."""
    if picture.format == "PNG":
        with file.open("rb") as data:
            bits = data.read(25)[24]  # of IHDR, always the first chunk; Pillow says RGB for 16 bits too
        if bits > 8:
            return f"Pillow mode {picture.mode}, {bits} bits a channel"
    if getattr(picture, "n_frames", 1) > 1:
        return f"{picture.n_frames} pictures in one file"  # type: ignore[attr-defined]
    if picture.mode not in _MODES or "transparency" in picture.info:
        return f"Pillow mode {picture.mode}, {_KINDS.get(picture.mode, 'a transparent colour')}"
    turned = picture.getexif().get(_ORIENTATION, 1)
    return f"EXIF orientation {turned}, a picture stored turned or mirrored" if turned not in (0, 1) else ""


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


def one_channel(levels: np.ndarray) -> np.ndarray | None:
    """`levels` [N, 3, H, W] of grey pictures as [N, 1, H, W]; None where a pixel has a colour."""
    grey = levels[:, :1]
    return np.ascontiguousarray(grey) if (levels == grey).all() else None


def check_bytes(name: str, count: int) -> None:
    """Refuse a source, before it is read, that would take more than `MAX_BYTES` of memory."""
    _require(count <= MAX_BYTES, name, f"{count / 2**30:.1f} GiB", f"at most {MAX_BYTES / 2**30:.0f} GiB", "Split it")
