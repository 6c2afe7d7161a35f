"""What a property asks of its network: which classes are compared, and the network that gives just those.

Most properties compare the label with every other class. Others name some rivals, or ask for one class ahead of all
others at once; they are looked at through a network of fewer outputs (`networks.columns`, `networks.best_against`), so
that margins, attack and bounds speak of what was asked and of nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core import ImageSet, Property
from ..networks import Network, best_against, columns


@dataclass(frozen=True, eq=False)
class Asked:
    """A property as a question to a network; the label is `images.labels[0]`, the other classes are the rivals."""

    network: Network  # for margins and attack: a point where its label does not lead is a counterexample
    bounded: Network  # for bounds: where one proves its label ahead everywhere, there is no counterexample
    images: ImageSet  # the image, its label and class names as those networks number them
    words: str  # a sentence: what is asked

    @property
    def label(self) -> int:
        """Number of the label among the outputs of `network`."""
        return int(self.images.labels[0])


def ask(network: Network, prop: Property, images: ImageSet) -> Asked:
    """The question of `prop` to `network`, about the one image of `images` (classes numbered as in the network)."""
    name = images.name_of
    if prop.group:
        rival, others = prop.rivals[0], len(prop.group)
        everyone = "every other class" if others == network.classes - 1 else f"{others} others"
        words = (
            f"Is there a point where class {rival} ({name(rival)}) is level with or ahead of {everyone} at once? "
            "Margins and attack take the best of these; bounds take the best at the middle of the box, class "
            f"{prop.label} ({name(prop.label)}): where it stays ahead, the answer is no."
        )
        judged = best_against(network, prop.group, rival)
        seen = _renamed(images, 0, (f"best of {others}", name(rival)))
        return Asked(judged, columns(network, [prop.label, rival]), seen, words)
    if not prop.rivals:
        words = (
            f"Is some other class level with or ahead of class {prop.label} ({name(prop.label)}) at a point of the box?"
        )
        return Asked(network, network, images, words)
    shown = ", ".join(f"{rival} ({name(rival)})" for rival in prop.rivals[:5])
    more = f" and {len(prop.rivals) - 5} more" if len(prop.rivals) > 5 else ""
    words = (
        f"Is class {shown}{more} level with or ahead of class {prop.label} ({name(prop.label)}) at a point of the box? "
        f"Other classes ({network.classes - 1 - len(prop.rivals)}) are not asked about."
    )
    classes = sorted({prop.label, *prop.rivals})
    fewer = columns(network, classes)
    return Asked(fewer, fewer, _renamed(images, classes.index(prop.label), tuple(map(name, classes))), words)


def _renamed(images: ImageSet, label: int, names: tuple[str, ...]) -> ImageSet:
    return replace(images, labels=np.array([label]), class_names=names)
