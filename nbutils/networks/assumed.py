"""What a run assumes of its images: made to fit the network, or refused, and said in the run's first line.

Nothing is guessed: the normalisation is what a card or the caller states. The one that is usual for a data set is only
proposed, because a network may normalise inside, or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core import ImageError, ImageSet, Normalization, ParameterError, require
from ..images import DATASETS, one_channel
from .graph_start import options
from .opening import Network, card_path


def fit_images(
    network: Network,
    images: ImageSet,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    pixels: bool = False,
) -> ImageSet:
    """`images` as `network` takes them, with the normalisation of the run; `origin` says what was assumed.

    Grey pictures get the network's number of channels, images of a data set's stored size its centre crop, classes
    without names those of the card's data set. What does not fit any more is left for `funnel.check_fit` to refuse.

    Args:
        mean, std: what the network's input is normalised with, one number or one a channel; both or neither.
        pixels: the network takes pixels in [0, 1] as they are.

    Raises:
        ParameterError: no normalisation is known, or two different ones are.
        ImageError: pictures with colours for a network of one channel, or labels beyond its classes.

    Example:
        >>> network, images = open_network("CIFAR100_resnet_small", device="cpu"), load_images("embedded")
        >>> fit_images(network, images).origin.normalization
        "from the network's card"
    """
    given = stated(mean, std, pixels, network.input_shape[0])
    images = _with_names(network, _with_size(network, _with_channels(network, images)))
    if given is not None:
        known = images.normalization if images.origin.settled else None
        _same("images", known, given)
        how = "as stated by pixels" if pixels else "as stated by mean and std"
        images = replace(images, normalization=given, origin=replace(images.origin, normalization=how, settled=True))
    used = normalization_of(network, images)
    origin = images.origin
    if network.normalization is not None:
        origin = replace(origin, normalization="from the network's card", settled=True)
    return replace(images, normalization=used, origin=origin)


def normalization_of(network: Network, images: ImageSet) -> Normalization:
    """What the network's input is normalised with: its card's, or what was stated with the images.

    Raises:
        ParameterError: neither says it, they differ, or it has another number of channels than the network.
    """
    card = network.normalization
    said = images.normalization if images.origin.settled else None
    if card is not None:
        _same(f"card of {network.name}", card, said)
        return card
    channels = network.input_shape[0]
    if said is None:
        raise ParameterError(
            f"normalisation of {network.name}: found no card and nothing given; allowed: what the network expects, "
            "--mean ... --std ... (MEAN and STD in a notebook), --pixels (PIXELS), or a card "
            f"{card_path(network.path).name} beside the file. {_proposal(network, images)}"
        )
    count = len(said.mean)
    require(count == channels, "normalization", f"{count} channels", f"{channels}, the channels of {network.name}")
    return said


def stated(
    mean: Sequence[float] | None, std: Sequence[float] | None, pixels: bool, channels: int
) -> Normalization | None:
    """The normalisation that the parameters of a command or a notebook state; None where they say nothing.

    Raises:
        ParameterError: one of mean and std without the other, either beside `pixels`, or another number of channels.
    """
    both = (mean is None) == (std is None)
    require(both, "mean, std", (mean, std), "both or neither", "With mean 0 and std 1 a network takes pixels")
    require(not (pixels and mean is not None), "pixels with mean, std", (mean, std), "one of the two")
    if pixels:
        return Normalization((0.0,) * channels, (1.0,) * channels)
    if mean is None or std is None:
        return None
    return Normalization(*(_numbers(name, values, channels) for name, values in (("mean", mean), ("std", std))))


def first_line(network: Network, images: ImageSet, radius: str) -> str:
    """What a run assumed, and where each came from; `images` as `fit_images` gives them, `radius` in words."""
    origin, norm = images.origin, images.normalization
    classes = f"; classes: {origin.classes}" if origin.classes else ""
    noun = "image" if len(images) == 1 else "images"
    numbers = f"mean {_shown(norm.mean)}, std {_shown(norm.std)}" if norm else "unknown"
    if norm == Normalization((0.0,) * network.input_shape[0], (1.0,) * network.input_shape[0]):
        numbers = "none, pixels in [0, 1] as they are"
    return (
        f"{network.name} on {len(images)} {noun} of {images.source}, {origin.order}{classes}; "
        f"normalisation {numbers}, {origin.normalization}; radius {radius}"
        + (
            f"; its vectors of {network.card.flat[0]} values are images {network.input_shape}"
            if network.card.flat
            else ""
        )
        + "".join(f"; {note}" for note in origin.notes)
    )


def _shown(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def _numbers(name: str, values: Any, channels: int) -> tuple[float, ...]:
    listed = list(values) if isinstance(values, (list, tuple)) else [values]
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) and np.isfinite(v) for v in listed)
    allowed = f"one number, or {channels}, one a channel"
    require(numbers and len(listed) in (1, channels), name, values, allowed)
    return tuple(float(value) for value in (listed * channels if len(listed) == 1 else listed))


def _same(where: str, known: Normalization | None, said: Normalization | None) -> None:
    if known is None or said is None or known == said:
        return
    hint = "Leave it out; correct the card if it is wrong" if where.startswith("card") else "Give it once"
    allowed = f"that of the {where}, {options(known)}"
    raise ParameterError(f"normalisation: found {options(said)}; allowed: {allowed}. {hint}.")


def _proposal(network: Network, images: ImageSet) -> str:
    """What the file, or else the data set, gives reason to state."""
    start, usual = network.card.start, images.normalization
    if start is not None:
        return start.describe()
    if usual is not None and len(usual.mean) == network.input_shape[0]:
        return f"The one {images.origin.normalization}: {options(usual)}."
    return "A network that was trained on pixels in [0, 1] takes --pixels."


def _with_channels(network: Network, images: ImageSet) -> ImageSet:
    wanted, found = network.input_shape[0], images.levels.shape[1]
    if wanted == found or {wanted, found} != {1, 3}:
        return images
    if wanted == 3:
        levels, note = images.levels.repeat(3, axis=1), "grey pictures, repeated in three channels"
    else:
        grey = one_channel(images.levels)
        where, hint = f"{images.source}: pictures", "Convert them yourself, so that you know how"
        allowed = f"grey ones, as {network.name} takes one channel"
        require(grey is not None, where, "colours", allowed, hint, error=ImageError)
        assert grey is not None
        levels, note = grey, "three equal channels taken as one"
    origin, normalization = images.origin, images.normalization
    if not origin.settled:
        origin, normalization = replace(origin, normalization="unknown"), None
    origin = replace(origin, notes=(*origin.notes, note))
    return replace(images, levels=levels, normalization=normalization, origin=origin)


def _with_size(network: Network, images: ImageSet) -> ImageSet:
    known = DATASETS.get(network.card.dataset or "")
    sides = images.levels.shape[2:]
    if known is None or sides == network.input_shape[1:] or set(sides) != {known.stored}:
        return images
    levels = np.ascontiguousarray(known.fit(images.levels, images.source))
    note = f"centre {known.side} x {known.side} of {known.stored} x {known.stored} pixels, as for {known.name}"
    return replace(images, levels=levels, origin=replace(images.origin, notes=(*images.origin.notes, note)))


def _with_names(network: Network, images: ImageSet) -> ImageSet:
    """Names of the card's data set for classes that are numbers, or folders of its names; the network's count."""
    known = DATASETS.get(network.card.dataset or "")
    names = known.class_names if known and known.classes == network.classes else ()
    origin = images.origin
    if origin.numbered:
        largest = int(images.labels.max())
        where, allowed = f"{images.source}: largest label", f"0 to {network.classes - 1}, the classes of {network.name}"
        require(largest < network.classes, where, largest, allowed, "Labels count from 0", error=ImageError)
        names = names or tuple(f"class {number}" for number in range(network.classes))
        return replace(images, class_names=names, origin=replace(origin, numbered=False))
    if (
        known is not None
        and origin.classes
        and names
        and images.class_names != names
        and set(images.class_names) <= set(names)
    ):
        labels = np.array([names.index(images.class_names[label]) for label in images.labels], dtype=np.int64)
        origin = replace(origin, classes=f"the folders, named as in {known.name}")
        return replace(images, labels=labels, class_names=names, origin=origin)
    return images
