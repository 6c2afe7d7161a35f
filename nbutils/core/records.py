"""The shared vocabulary: frozen records over NumPy arrays.

Space: `ImageSet` holds pixels; `Box`, adversarial points and all bounds live in network input space
(normalised), because that is what a property file says. `Normalization` is the only converter.

Sign: margin of rival j = logit of the true label - logit of j; positive means the true label wins. A lower
bound above zero on every rival proves robustness.

Letters in shapes: N images, C channels, H rows, W columns, K classes, R restarts, S steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from .errors import ImageError, require
from .randomness import draw
from .settings import check_eps

STATUSES: tuple[str, ...] = ("misclassified", "attacked", "verified", "open")
"""What the funnel can say of an image, in the order in which it is decided."""


@dataclass(frozen=True)
class Normalization:
    """Per-channel mean and standard deviation, in pixel units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        require(len(self.mean) == len(self.std) > 0, "normalization", (self.mean, self.std), "as many means as stds")
        require(all(s > 0 for s in self.std), "normalization std", self.std, "numbers above 0")

    def to_network(self, pixels: np.ndarray) -> np.ndarray:
        """Network input of `pixels` [..., C, H, W], (pixels - mean) / std, every step in float32."""
        mean, std = self._columns(pixels)
        return (pixels.astype(np.float32) - mean) / std

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Pixels of network inputs [..., C, H, W], float32; inverse of `to_network` up to rounding."""
        mean, std = self._columns(points)
        return points.astype(np.float32) * std + mean

    def _columns(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        require(
            array.ndim >= 3 and array.shape[-3] == len(self.mean),
            "image shape",
            array.shape,
            f"[..., {len(self.mean)}, H, W], one channel for each mean",
            error=ImageError,
        )
        shape = (len(self.mean), 1, 1)
        return np.asarray(self.mean, np.float32).reshape(shape), np.asarray(self.std, np.float32).reshape(shape)


@dataclass(frozen=True)
class Origin:
    """What was assumed when images were read, in words; the first line of a run says it."""

    order: str = "in the order given"
    classes: str = ""  # where class numbers or names come from; empty where nothing was assumed
    normalization: str = "as given"
    settled: bool = True  # False: the normalisation is usual for the data set, nobody said that the network takes it
    numbered: bool = False  # class names are numbers up to the largest label: the network may have more classes
    notes: tuple[str, ...] = ()  # what was left out or converted


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images and where they came from.

    An image is identified by the SHA-256 of its uint8 levels in CHW order; `indices` are its true positions
    in the source.
    """

    levels: np.ndarray  # uint8 [N, C, H, W], pixel levels 0-255
    labels: np.ndarray  # int64 [N]
    indices: np.ndarray  # int64 [N], position in the source's own order
    source: str
    class_names: tuple[str, ...]
    normalization: Normalization | None  # None where neither source nor caller says one
    origin: Origin = Origin()
    ids: tuple[str, ...] = field(init=False)  # 64 hex digits an image

    def __post_init__(self) -> None:
        n = len(self.levels)
        require(
            self.levels.dtype == np.uint8 and self.levels.ndim == 4,
            f"{self.source}: levels",
            (str(self.levels.dtype), self.levels.shape),
            "uint8 [N, C, H, W]",
            error=ImageError,
        )
        require(
            self.labels.shape == (n,) and self.indices.shape == (n,),
            f"{self.source}: labels and indices",
            (self.labels.shape, self.indices.shape),
            f"one for each of {n} images",
            error=ImageError,
        )
        classes = len(self.class_names)
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= classes))
        require(
            not len(wrong),
            f"{self.source}: label of image {int(self.indices[wrong[0]]) if len(wrong) else ''}",
            int(self.labels[wrong[0]]) if len(wrong) else None,
            f"0 to {classes - 1}",
            error=ImageError,
        )
        hashes = tuple(hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in self.levels)
        object.__setattr__(self, "ids", hashes)

    def __len__(self) -> int:
        return len(self.levels)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """`id/label` of each image: CIFAR-100's test set holds two pairs of equal images with different labels."""
        return tuple(f"{image_id}/{label}" for image_id, label in zip(self.ids, self.labels, strict=True))

    @property
    def pixels(self) -> np.ndarray:
        """float32 [N, C, H, W] in [0, 1]: levels / 255. Made anew at each call: of a few images take `pixels_of`."""
        return self.pixels_of(slice(None))

    def pixels_of(self, rows: slice | Sequence[int] | np.ndarray) -> np.ndarray:
        """float32 [n, C, H, W] in [0, 1] of the images at `rows`."""
        return self.levels[rows].astype(np.float32) / np.float32(255)

    def stated_normalization(self) -> Normalization:
        """The normalisation that goes with the images.

        Raises:
            ImageError: when neither source nor caller said one.
        """
        if self.normalization is None:
            raise ImageError(f"{self.source}: normalisation: found none; pass mean and std to load_images.")
        return self.normalization

    def name_of(self, label: int) -> str:
        """Class name of `label`, in words."""
        return self.class_names[label].replace("_", " ")

    def take(self, rows: Sequence[int] | np.ndarray) -> ImageSet:
        """The images at `rows`, in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        return replace(self, levels=self.levels[rows], labels=self.labels[rows], indices=self.indices[rows])

    def sample(self, n: int, seed: int) -> ImageSet:
        """`n` images drawn without replacement from `seed`, in source order; independent of present order."""
        require(0 < n <= len(self), "number of images", n, f"1 to {len(self)}, as many as {self.source} has")
        require(seed >= 0, "seed of the sample", seed, "a whole number, 0 or more")
        drawn = self.take(draw(self.keys, n, seed, "sample"))
        if n == len(self):
            return drawn
        order = f"{n} of {len(self)} drawn with seed {seed}, {self.origin.order}"
        return replace(drawn, origin=replace(self.origin, order=order))


@dataclass(frozen=True, eq=False)
class Box:
    """The perturbation box of N images, float32 for float32 what the property files say.

    Network input space. Made by `Box.around` alone, so attack, bounds and export share it.

    Example:
        >>> pixels, plain = np.full((1, 1, 1, 2), 0.5, np.float32), Normalization((0.5,), (0.5,))
        >>> Box.around(pixels, plain, 0.25).lower.ravel()
        array([-0.5, -0.5], dtype=float32)
    """

    lower: np.ndarray  # float32 [N, C, H, W]
    upper: np.ndarray  # float32 [N, C, H, W]
    center: np.ndarray  # float32 [N, C, H, W], the unperturbed image (the middle, where none is known)

    def __post_init__(self) -> None:
        same = self.lower.shape == self.upper.shape == self.center.shape
        require(same, "box", (self.lower.shape, self.upper.shape, self.center.shape), "three arrays of one shape")
        for name in ("lower", "upper", "center"):
            array = getattr(self, name)
            require(array.dtype == np.float32, f"box {name}", str(array.dtype), "float32")
            require(bool(np.isfinite(array).all()), f"box {name}", "NaN or infinity", "finite numbers")
        require(bool((self.lower <= self.upper).all()), "box", "lower above upper", "lower <= upper everywhere")

    @classmethod
    def around(cls, pixels: np.ndarray, normalization: Normalization, eps: float) -> Box:
        """The box of radius `eps` (pixel units, L-infinity) around `pixels` float32 [N, C, H, W] in [0, 1].

        bounds = (clip(x +- eps, 0, 1) - mean) / std, every step in float32, as the published generator
        (VNN-COMP 2022, CIFAR100_TinyImageNet_ResNet) writes them.
        """
        step = np.float32(check_eps(eps))
        pixels = pixels.astype(np.float32)
        zero, one = np.float32(0), np.float32(1)
        return cls(
            lower=normalization.to_network(np.clip(pixels - step, zero, one)),
            upper=normalization.to_network(np.clip(pixels + step, zero, one)),
            center=normalization.to_network(pixels),
        )

    def __len__(self) -> int:
        return len(self.lower)

    def take(self, rows: Sequence[int] | np.ndarray) -> Box:
        """The boxes at `rows`, in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        return Box(self.lower[rows], self.upper[rows], self.center[rows])

    def contains(self, points: np.ndarray) -> np.ndarray:
        """bool [N]: whether `points` [N, C, H, W] lie in their boxes, bounds included, no tolerance."""
        inside = (points >= self.lower) & (points <= self.upper)
        return np.asarray(inside.reshape(len(self), -1).all(axis=1))

    def __iter__(self) -> Iterator[Box]:
        return (self.take([row]) for row in range(len(self)))
