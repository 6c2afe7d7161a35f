"""Images of a reader's own in a NumPy archive: usual names, layouts and types of its arrays; the rest is refused."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from functools import partial
from math import isqrt
from pathlib import Path

import numpy as np

from ..core import ImageError, ImageSet, Normalization, Origin, require
from .datasets import DATASETS
from .picture_files import check_bytes

IMAGES: dict[str, tuple[str, ...]] = {
    "": ("images", "image", "imgs", "x", "data", "inputs"),
    "test": ("x_test", "test_x", "test_images", "images_test", "test_data"),
    "train": ("x_train", "train_x", "train_images", "images_train", "train_data"),
}
"""Names under which images are looked for, by split; capitals do not count. `images` goes before all others."""
LABELS: dict[str, tuple[str, ...]] = {
    "": ("labels", "label", "y", "targets", "target", "fine_labels"),
    "test": ("y_test", "test_y", "test_labels", "labels_test", "test_targets"),
    "train": ("y_train", "train_y", "train_labels", "labels_train", "train_targets"),
}
MAX_CLASSES = 100_000
"""Most classes that are numbered for want of names."""

_NAMES = ("class_names", "label_names")
_GRID_TOLERANCE = 1e-6  # of a float pixel from a multiple of 1/255: a few float32 steps
_require = partial(require, error=ImageError)


def npz(
    path: str | Path,
    *,
    dataset: str | None = None,
    split: str = "test",
    normalization: Normalization | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageSet:
    """Images out of a NumPy archive.

    Arrays: `images`, levels 0 to 255, or pixels float32/64 in [0, 1] on the grid of multiples of 1/255, [N, H, W, C]
    or [N, C, H, W] with C 1 or 3, or grey ones [N, H, W] or [N, H*W] with H = W; `labels` integers [N] or [N, 1], or
    one-hot [N, K]; optional `indices` integers [N] (true indices, else positions), `dataset` (a name), `class_names`
    [K]. Other usual names are in `IMAGES` and `LABELS`; where two fit, none is taken. Other arrays are ignored.
    Keywords go before fields. Without class names classes are numbers; without data set and normalisation the network
    has to say it.

    Args:
        split: `test` or `train`, which names with a split in them are about: `x_test`, `x_train`.

    Raises:
        ImageError: not such an archive; the message names the array.
        ParameterError: an unknown data set, or class names that do not fit it.
    """
    path = Path(path)
    arrays, chosen = _read(path, split)
    if dataset is None and "dataset" in arrays:
        dataset = str(arrays["dataset"])
    given = next((arrays[name] for name in _NAMES if name in arrays), None)
    if class_names is None and given is not None:
        class_names = [str(name) for name in np.atleast_1d(given)]
    notes = [] if chosen == ("images", "labels") else [f"images are the array {chosen[0]}, labels {chosen[1]}"]
    levels, said = to_levels(f"{path}: {chosen[0]}", arrays[chosen[0]])
    notes += said
    labels, said = _labels(f"{path}: {chosen[1]}", arrays[chosen[1]], len(levels))
    notes += said
    indices = _integers(f"{path}: indices", arrays.get("indices", np.arange(len(levels))), len(levels))
    distinct = len(np.unique(indices)) == len(indices) and bool((indices >= 0).all())
    _require(distinct, f"{path}: indices", "repeated or negative numbers", "distinct ones, 0 or more")
    names, normalization, origin = meaning(
        str(path), dataset, normalization, class_names, classes=max(0, int(labels.max())) + 1,
        order="in the order of the archive", numbers="numbers, no names in the archive", notes=notes,
    )  # fmt: skip
    levels = fit_size(path, levels, dataset)
    return ImageSet(levels, labels, indices, f"npz/{path.name}", names, normalization, origin)


def meaning(
    where: str,
    dataset: str | None,
    normalization: Normalization | None,
    class_names: Sequence[str] | None,
    *,
    classes: int,
    order: str,
    numbers: str,
    notes: Iterable[str] = (),
) -> tuple[tuple[str, ...], Normalization | None, Origin]:
    """Class names and normalisation, those given or else the data set's, and what was assumed.

    Args:
        classes: number of classes where neither gives names; they are then numbered.
        order: of the images, in words.
        numbers: what to say of numbered classes.
    """
    known = DATASETS.get(dataset) if dataset is not None else None
    require(dataset is None or known is not None, f"{where}: dataset", dataset, ", ".join(DATASETS))
    names = tuple(str(name) for name in class_names or (known.class_names if known else ()))
    numbered = not names
    if numbered:
        most = f"0 to {MAX_CLASSES - 1}"
        require(classes <= MAX_CLASSES, f"{where}: largest label", classes - 1, most, error=ImageError)
        names = tuple(f"class {number}" for number in range(known.classes if known else classes))
    fits = known is None or len(names) == known.classes
    require(fits, f"{where}: class_names", f"{len(names)} names", f"as many as {dataset} has classes")
    origin = Origin(
        order=order,
        classes=numbers if numbered else "",
        normalization="as given" if normalization else f"usual for {dataset}" if known else "unknown",
        settled=normalization is not None,
        numbered=numbered and known is None,
        notes=tuple(notes),
    )
    return names, normalization or (known.normalization if known else None), origin


def fit_size(path: Path, levels: np.ndarray, dataset: str | None) -> np.ndarray:
    """`levels` at the size of the data set's network input; as they are without a data set."""
    return levels if dataset is None else np.ascontiguousarray(DATASETS[dataset].fit(levels, str(path)))


def to_levels(where: str, images: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """uint8 [N, C, H, W] of an archive's images, and what was converted."""
    images, notes = _layout(where, images)
    kind = images.dtype.kind
    allowed = "uint8, or float32/64 in [0, 1]"
    _require(kind in "ui" or images.dtype in (np.float32, np.float64), where, str(images.dtype), allowed)
    largest = images.max()
    if kind in "ui":
        levels = bool(images.min() >= 0) and bool(largest <= 255)
        _require(levels, where, f"{images.dtype} from {images.min()} to {largest}", "levels 0 to 255", "Scale them")
        hint = "Save 0 and 255, or float32, if 1 is white"
        _require(largest != 1, where, f"{images.dtype} with 0 and 1 only", "levels 0 to 255, or float32 pixels", hint)
        return np.ascontiguousarray(images, dtype=np.uint8), notes
    if 1 < largest <= 255 and bool(((images >= 0) & (images == np.rint(images))).all()):
        notes.append(f"{images.dtype} whole numbers read as levels 0 to 255")
        return np.ascontiguousarray(images, dtype=np.uint8), notes
    inside = bool(((images >= 0) & (images <= 1)).all())
    _require(inside, where, "numbers outside [0, 1], or NaN", "pixels in [0, 1]", "Do not normalise them")
    levels = np.rint(images * 255).astype(np.uint8)
    off = float(np.abs(levels / 255 - images).max())
    hint = "Save levels as uint8: an image is named by the hash of its levels"
    _require(off <= _GRID_TOLERANCE, where, f"{off:.2g} off the grid", "multiples of 1/255 (within 1e-6)", hint)
    return np.ascontiguousarray(levels), notes


def _layout(where: str, images: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """`images` as [N, C, H, W], and what was assumed for it."""
    found = (str(images.dtype), images.shape)
    allowed = "uint8, or float32/64 in [0, 1], [N, H, W, C] or [N, C, H, W] with C 1 or 3, or grey [N, H, W]"
    if images.ndim == 2 and images.size:
        side = isqrt(images.shape[1])
        hint = "Give them their shape, images.reshape(N, 3, H, W) or (N, H, W, 3): flat rows do not say which"
        _require(side**2 == images.shape[1], where, found, f"{allowed}, or flat grey ones [N, H*W] with H = W", hint)
        return images.reshape(len(images), 1, side, side), [f"flat rows read as {side} x {side} grey pictures"]
    if images.ndim == 3:
        hint = "One picture alone is images[None]"
        _require(images.size > 0 and images.shape[2] not in (1, 3), where, found, allowed, hint)
        return images[:, None], []
    channels = [axis for axis in (1, 3) if images.ndim == 4 and images.shape[axis] in (1, 3)]
    _require(len(channels) == 1 and images.size > 0, where, found, allowed)
    return (images.transpose(0, 3, 1, 2) if channels == [3] else images), []


def _labels(where: str, array: np.ndarray, count: int) -> tuple[np.ndarray, list[str]]:
    """int64 [N], and what was converted."""
    if array.ndim == 2 and array.shape[1] > 1 and len(array) == count and array.dtype.kind in "iufb":
        one = ((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all()
        _require(
            bool(one), where, f"{array.shape} numbers", "one-hot rows, each a single 1 among zeros, or integers [N]"
        )
        return array.argmax(axis=1).astype(np.int64), ["one-hot labels read as class numbers"]
    return _integers(where, array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array, count), []


def _integers(where: str, array: np.ndarray, count: int) -> np.ndarray:
    fits = array.dtype.kind in "iu" and array.shape == (count,)
    _require(fits, where, (str(array.dtype), array.shape), f"integers [{count}], one for each image")
    return array.astype(np.int64)


def _read(path: Path, split: str) -> tuple[dict[str, np.ndarray], tuple[str, str]]:
    """The arrays of an archive that matter, and the names of images and labels among them."""
    require(split in ("test", "train"), "split", split, "test or train")
    _require(path.is_file(), str(path), "no such file", "a NumPy archive (.npz)")
    try:
        with zipfile.ZipFile(path) as packed:
            sizes = {member.filename.removesuffix(".npy"): member.file_size for member in packed.infolist()}
        chosen = _choose(path, list(sizes), split)
        wanted = [*chosen, *(name for name in ("indices", "dataset", *_NAMES) if name in sizes)]
        check_bytes(str(path), sum(sizes[name] for name in wanted))
        with np.load(path, allow_pickle=False) as bundle:
            return {name: bundle[name] for name in wanted}, chosen
    except ImageError:
        raise
    except Exception as error:  # foreign bytes: zip, deflate and header parsers raise whatever they trip over
        reason = str(error).partition("\n")[0]
        raise ImageError(
            f"{path}: cannot be read ({reason}); allowed: an undamaged NumPy archive of plain arrays. "
            "Write it with numpy.savez_compressed."
        ) from error


def _choose(path: Path, names: list[str], split: str) -> tuple[str, str]:
    """Names of the images and of the labels."""
    if sorted(names) == ["arr_0", "arr_1"]:  # numpy.savez(file, images, labels)
        return "arr_0", "arr_1"
    chosen = []
    for what, known in (("images", IMAGES), ("labels", LABELS)):
        if what in names:
            chosen.append(what)
            continue
        fitting: list[str] = []
        for part in (split, ""):
            fitting = fitting or [name for name in names if name.lower() in known[part]]
        others = ", ".join((*known[""][1:], *known[split]))
        allowed = f"an archive with the array {what}, or one of {others}"
        _require(bool(fitting), str(path), sorted(names), allowed)
        hint = f"Rename the one that holds them to {what}"
        _require(len(fitting) == 1, f"{path}: arrays that may hold {what}", fitting, "one", hint)
        chosen += fitting
    return chosen[0], chosen[1]
