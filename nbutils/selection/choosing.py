"""The choice of instances among settled images: from a seed, or by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..core import Box, ImageSet, Instance, ParameterError, SelectionConfig, Verdict, draw, require
from ..networks import Network, normalization_of
from ..properties import make_property


def choose(verdicts: Sequence[Verdict], count: int, seed: int) -> list[Verdict]:
    """`count` open images, drawn without replacement from `seed`, in the order of `verdicts`.

    Where fewer are open, all of them: a benchmark is never filled up with images that are already decided. The draw
    ranks hashes of images, so it does not depend on the order of `verdicts`.
    """
    check_count(count)
    left = [verdict for verdict in verdicts if verdict.status == "open"]
    return [left[row] for row in draw([v.key for v in left], count, seed, "instances")]


def check_count(count: object) -> None:
    """Refuse a number of instances below 1."""
    ok = isinstance(count, int) and not isinstance(count, bool) and count >= 1
    require(ok, "COUNT", count, "a whole number of instances, 1 or more")


def choose_indices(verdicts: Sequence[Verdict], indices: Iterable[int]) -> list[Verdict]:
    """The verdicts with the given true indices, in the order of `verdicts`; only open images may be chosen.

    Raises:
        ParameterError: an index that is not among the images, or whose image is not open.
    """
    wanted = set(indices)
    by_index = {verdict.index: verdict for verdict in verdicts}
    for index in sorted(wanted):
        verdict = by_index.get(index)
        status = "not among the images" if verdict is None else verdict.status
        if status != "open":
            names = ", ".join(str(v.index) for v in verdicts if v.status == "open") or "none: try a larger radius"
            raise ParameterError(f"chosen image {index}: found {status}; allowed: open images ({names}).")
    return [verdict for verdict in verdicts if verdict.index in wanted]


def instances_of(
    verdicts: Iterable[Verdict], images: ImageSet, network: Network, config: SelectionConfig, timeout: float
) -> list[Instance]:
    """One instance a verdict, with the same box the attack and the bounds were run on.

    Args:
        timeout: seconds a verifier is given for each instance.
    """
    rows = {key: row for row, key in enumerate(images.keys)}
    normalization = normalization_of(network, images)
    instances = []
    for verdict in verdicts:
        row = rows[verdict.key]
        box = Box.around(images.pixels_of([row]), normalization, config.eps)
        prop = make_property(images, row, box, network.classes, network.name, config.eps)
        instances.append(Instance(prop, network.path, timeout, images.levels[row], verdict))
    return instances
