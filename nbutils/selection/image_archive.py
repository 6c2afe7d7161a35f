"""The pixels of selected images, beside the selections: one archive a data set, so that a draw needs no data set.

`vnnlib/selected/DATASET.npz` holds each image that a selection there names once: levels, label and true index, and the
class names. Images are found by hash, so a changed pixel makes an image missing, never another one.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from ..core import ImageError, ImageSet, Origin, require, write_atomically

MAX_BYTES = 2**30
"""Most bytes that an archive may unpack to."""

_ARRAYS = {"levels": "|u1", "labels": "<i8", "indices": "<i8", "class_names": "<U"}


def keep_images(path: Path, images: ImageSet, keys: Collection[str]) -> int:
    """Add those of `images` whose key is in `keys` to the archive `path`; returns how many it holds then.

    The file appears whole or not at all, and the same images give the same bytes in whatever order they came.

    Raises:
        ImageError: when the archive is damaged or of another shape or other classes.
        ExportError: when it cannot be written.
    """
    chosen = images.take([row for row, key in enumerate(images.keys) if key in keys])
    kept = [chosen]
    if path.exists():
        before = selected_images(path)
        same = before.class_names == images.class_names and before.levels.shape[1:] == images.levels.shape[1:]
        require(same, f"{path}: shape and classes", before.levels.shape[1:], "those of the images", error=ImageError)
        known = set(chosen.keys)
        kept.append(before.take([row for row, key in enumerate(before.keys) if key not in known]))
    rows = sorted(
        ((int(part.indices[row]), key, part, row) for part in kept for row, key in enumerate(part.keys)),
        key=lambda entry: entry[:2],
    )
    arrays = {
        "levels": np.stack([part.levels[row] for _, _, part, row in rows]) if rows else images.levels[:0],
        "labels": np.array([part.labels[row] for _, _, part, row in rows], dtype="<i8"),
        "indices": np.array([index for index, *_ in rows], dtype="<i8"),
        "class_names": np.array(images.class_names, dtype=str),
    }
    data = _packed(arrays)
    write_atomically(path, lambda file: file.write(data))
    return len(rows)


def selected_images(path: Path) -> ImageSet:
    """The images of the archive `path`, by true index.

    Raises:
        ImageError: a missing or damaged file, or one that `keep_images` did not write.
    """
    hint = "Record a selection with --export, or restore the file"
    require(path.is_file(), str(path), "no such file", "an archive of selected images", hint, error=ImageError)
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(entry.file_size for entry in packed.infolist())
        require(size <= MAX_BYTES, str(path), f"{size} bytes", f"at most {MAX_BYTES}", hint, error=ImageError)
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in _ARRAYS}
    except ImageError:
        raise
    except Exception as error:  # foreign bytes: zipfile and NumPy raise whatever they trip over
        raise ImageError(
            f"{path}: cannot be read ({error}); allowed: an archive of selected images. {hint}."
        ) from error
    odd = [name for name, kind in _ARRAYS.items() if not arrays[name].dtype.str.startswith(kind)]
    require(not odd, f"{path}: type of {', '.join(odd)}", [arrays[name].dtype.str for name in odd],
            "uint8 levels, int64 labels and indices, names as text", hint, error=ImageError)  # fmt: skip
    names = tuple(str(name) for name in arrays["class_names"])
    origin = Origin("selected images by true index", normalization="of the selection")
    return ImageSet(arrays["levels"], arrays["labels"], arrays["indices"], f"selected/{path.name}", names, None, origin)


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))  # no time of writing in the bytes
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, member.getvalue())
    return file.getvalue()
