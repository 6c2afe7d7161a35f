"""The property of one image in one box."""

from __future__ import annotations

from ..core import Box, ImageSet, Property, require


def make_property(images: ImageSet, row: int, box: Box, classes: int, network_name: str, eps: float) -> Property:
    """The property of image `row` of `images`, with `box` (of that one image) as its bounds, named after both.

    Args:
        box: one image, network input space: what attack and bounds were run on.
        network_name: file stem of the network, first part of the property's name.
        eps: radius of `box`, pixel units, for the name and the manifest.

    Raises:
        ParameterError: for a box of several images or another shape, or a label the network does not have.
    """
    require(len(box) == 1, "box", f"{len(box)} boxes", "the box of one image")
    shape = images.levels.shape[1:]
    require(box.lower.shape[1:] == shape, "box", box.lower.shape, f"[1, {', '.join(map(str, shape))}]")
    index, label = int(images.indices[row]), int(images.labels[row])
    return Property(
        lower=box.lower.ravel(),
        upper=box.upper.ravel(),
        label=label,
        classes=classes,
        shape=shape,
        name=f"{network_name}_prop_idx_{index}_eps_{eps:.4f}.vnnlib",
        meta={
            "index": index,
            "image_id": images.ids[row],
            "label_name": images.name_of(label),
            "eps": float(eps),
            "source": images.source,
        },
    )
