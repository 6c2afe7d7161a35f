"""What a property file holds: the image its box was made around, as far as the file tells.

A file gives two numbers an input and a label, no image and no normalisation. Where a normalisation is known (given, the
network's card's, or one in common use) the levels are looked up; where none fits, the middle of the box is shown in a
range of its own, and `Inside.how` says so.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core import Box, ExportError, ImageSet, Normalization, Property, PropertyError, index_in_name, require, root
from ..images import CIFAR100, TINYIMAGENET, load_images
from ..networks import Network, open_network
from ..properties import (
    Replay,
    make_property,
    parse_counterexample,
    read_counterexample,
    read_property,
    read_text,
    recover_levels,
    replay,
    write_counterexample,
    write_text,
)

KNOWN: dict[str, Normalization] = {
    "CIFAR-100": CIFAR100.normalization,
    "TinyImageNet": TINYIMAGENET.normalization,
    "CIFAR-10": Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "ImageNet's mean over 0.225": Normalization((0.485, 0.456, 0.406), (0.225, 0.225, 0.225)),
    "plain pixels": Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "plain pixels, one channel": Normalization((0.0,), (1.0,)),
}
"""Normalisations tried where none is given: the data sets of this package, and those of VNN-COMP's other CIFAR-10
benchmarks (sri_resnet and oval21; read off their property files)."""

NEAR = 0.05
"""Levels (1/255) that an image read off a box with other rounding may lie beside whole ones."""


@dataclass(frozen=True, eq=False)
class Inside:
    """The image in a property, and the box around it."""

    images: ImageSet  # that one image, in pixels; approximate unless `exact`
    box: Box  # bounds of the file; its center is the image where its levels are known, else the middle
    exact: bool  # `Box.around` the image gives the file's bounds, float32 for float32
    eps: float | None  # radius in pixel units; None where the normalisation is unknown
    how: str  # a sentence: what is shown, and how sure it is

    @property
    def unit(self) -> str:
        """What to say of a difference drawn in 1/255, where that is not a pixel step."""
        return "" if self.eps is not None else " Without a normalisation 1/255 means 1/255 of the picture's range."


def find_network(name_or_path: str) -> Network:
    """`open_network`, with a path relative to the checkout instead of the working directory."""
    return open_network(root() / name_or_path if os.sep in name_or_path else name_or_path)


def open_property(network: Network, path: str | None, *, look_at: int, eps: float) -> Property:
    """The property in the file `path` (relative to the checkout), or one made here if there is none.

    Args:
        look_at: index of the embedded image that the property is made around if `path` is None.
        eps: its radius, pixel units.

    Raises:
        PropertyError: a file that is no such property, or that does not fit `network`.
        ParameterError: no embedded image has the index.
    """
    if path is not None:
        shape, declared = network.input_shape, network.declared_input
        prop = read_property(root() / path, shape=shape, logits=network.judge, declared=declared)
        return _fitting(prop, network)
    images = load_images("embedded")
    rows = np.flatnonzero(images.indices == look_at)
    require(len(rows) == 1, "LOOK_AT", look_at, f"an embedded image, 0 to {len(images) - 1}")
    row = int(rows[0])
    normalization = network.normalization or images.normalization
    assert normalization is not None  # the embedded images have one
    box = Box.around(images.pixels_of([row]), normalization, eps)
    prop = make_property(images, row, box, len(images.class_names), network.name, eps)
    text = write_text(prop, "2.0")
    return _fitting(read_text(text, name=prop.name), network)


def _fitting(prop: Property, network: Network) -> Property:
    found, needed = (prop.shape, prop.classes), (network.input_shape, network.classes)
    allowed = f"{needed}, as network {network.name} has them"
    hint = "The property belongs to another network"
    require(found == needed, f"{prop.name}: shape and classes", found, allowed, hint, error=PropertyError)
    return prop


def normalization_from(mean: Sequence[float] | None, std: Sequence[float] | None) -> Normalization | None:
    """The normalisation of the parameters `MEAN` and `STD`; None where neither is given.

    Raises:
        ParameterError: one without the other, or unequal lengths.
    """
    require((mean is None) == (std is None), "MEAN, STD", (mean, std), "both, or neither")
    if mean is None or std is None:
        return None
    return Normalization(tuple(map(float, mean)), tuple(map(float, std)))


def image_inside(prop: Property, network: Network, given: Normalization | None = None) -> Inside:
    """The image that `prop` was made around, exactly where that can be told, else as near as it can be shown.

    Args:
        given: normalisation of the file; without it the network card's and those of `KNOWN` are tried.

    Raises:
        PropertyError: `given` has another number of channels than the property.
    """
    channels = prop.shape[0]
    tried = {"the given normalisation": given} if given else {"the network's card": network.normalization} | KNOWN
    fitting = {name: norm for name, norm in tried.items() if norm and len(norm.mean) == channels}
    allowed = f"{channels} numbers each, one a channel"
    require(bool(fitting) or given is None, "MEAN, STD", given, allowed, error=PropertyError)
    for name, norm in fitting.items():
        with contextlib.suppress(PropertyError):
            levels, eps = recover_levels(prop, norm)
            how = (
                f"The levels are exact: with {name} (mean {norm.mean}, std {norm.std}) and radius {eps * 255:.4g}/255 "
                "they give the file's bounds float32 for float32."
            )
            return _inside(prop, network, levels, norm, eps, how, exact=True)
    for name, norm in fitting.items():
        if (found := _nearest(prop, norm)) is not None:
            levels, eps, off = found
            how = (
                f"The levels are right: with {name} (mean {norm.mean}, std {norm.std}) and radius {eps * 255:.4g}/255 "
                f"all values lie within {off:.2g} of a whole level. "
            )
            moving = float((prop.upper > prop.lower).mean())
            how += (
                "The file's own bounds were rounded in another way than here; they are what is attacked and bounded "
                "below."
                if moving == 1
                else f"Only {moving:.1%} of the values may change in this property; the others are fixed."
            )
            return _inside(prop, network, levels, norm, eps, how)
    return _shown(prop, network, next(iter(fitting.items()), None) if given or network.normalization else None)


def _nearest(prop: Property, norm: Normalization) -> tuple[np.ndarray, float, float] | None:
    """Levels, radius (pixel units) and distance from whole levels, if all elements lie near whole levels."""
    lower, upper = (norm.to_pixels(a.reshape(prop.shape)).astype(np.float64) for a in (prop.lower, prop.upper))
    eps = float((upper - lower).max() / 2)
    slack = 1e-4
    if not eps or lower.min() < -slack or upper.max() > 1 + slack:
        return None
    values = 255 * np.where(lower > slack, lower + eps, upper - eps)  # the side that was not cut
    width = upper - lower
    fixed = width < slack  # one value alone is allowed: it is the image's
    cut = (lower < slack) | (upper > 1 - slack)
    if not (fixed | (np.abs(width - 2 * eps) < slack) | (cut & (width >= eps - slack))).all():
        return None  # elements of several radii: which value the image had cannot be told
    values = np.where(fixed, 255 * lower, values)
    levels = np.round(values)
    off = float(np.abs(values - levels).max())
    return (np.clip(levels, 0, 255).astype(np.uint8), eps, off) if off < NEAR else None


def _shown(prop: Property, network: Network, known: tuple[str, Normalization] | None) -> Inside:
    """The middle of the box as a picture: by a normalisation that is known but does not fit levels, or by its range."""
    middle = prop.box.center[0]
    if known is not None:
        name, norm = known
        pixels = norm.to_pixels(middle)
        how = (
            f"**Not an image of whole levels** under {name}: what is shown is the middle of the box, converted to "
            "pixels, cut to [0, 1] and rounded; where the box itself was cut, its middle is off by up to half a radius."
        )
        width = norm.to_pixels(prop.box.upper) - norm.to_pixels(prop.box.lower)
        eps: float | None = float(width.max() / 2)
    else:
        low, high = float(middle.min()), float(middle.max())
        scale = 1 / ((high - low) or 1.0)
        norm = Normalization((-low * scale,) * prop.shape[0], (scale,) * prop.shape[0])
        pixels = norm.to_pixels(middle)
        eps = None
        how = (
            f"**No known normalisation fits**, so the picture is the middle of the box, its own range [{low:.3g}, "
            f"{high:.3g}] stretched from black to white: shapes are right, colours are not. Give `MEAN` and `STD` if "
            "you know them; margins, attack and bounds below do not need them."
        )
    levels = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return _inside(prop, network, levels, norm, eps, how, known=False)


def _inside(
    prop: Property,
    network: Network,
    levels: np.ndarray,
    norm: Normalization,
    eps: float | None,
    how: str,
    *,
    exact: bool = False,
    known: bool = True,
) -> Inside:
    index = index_in_name(prop.name)
    named = network.card.dataset == CIFAR100.name or (known and norm == CIFAR100.normalization)
    names = CIFAR100.class_names if named and prop.classes == CIFAR100.classes else ()
    images = ImageSet(
        levels[None],
        np.array([prop.label]),
        np.array([0 if index is None else index]),
        "inside the property",
        names or tuple(f"class {number}" for number in range(prop.classes)),
        norm,
    )
    box, image = prop.box, norm.to_network(images.pixels)
    center = image if known and box.contains(image)[0] else box.center
    return Inside(images, Box(box.lower, box.upper, center), exact, eps, how)


def hand_in(
    network: Network, prop: Property, point: np.ndarray, version: str, folder: Path | None = None
) -> tuple[Path | None, Replay]:
    """Do with `point` what a solver's answer goes through: write it as text, read that back, replay it.

    Args:
        point: float32 [C, H, W], network input space.
        version: of VNN-LIB, for the text.
        folder: where `NAME.counterexample.txt` is written; None keeps the text in memory.

    Raises:
        ExportError: the file cannot be written; nothing is left of it.
    """
    text = write_counterexample(point, network.judge(point[None])[0], version, prop.declared)
    name = f"{prop.name.removesuffix('.vnnlib')}.counterexample.txt"
    if folder is None:
        return None, replay(network, prop, parse_counterexample(text, prop, name=name))
    path, partial = folder / name, folder / f".{name}.{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="ascii")
        partial.replace(path)
    except OSError as problem:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise ExportError(f"{path}: cannot be written ({problem.strerror}). Choose another OUT_DIR.") from None
    return path, replay(network, prop, read_counterexample(path, prop))
