"""What CROWN costs beside slower ways to the same bounds: processor seconds an image, one after the other.

    OMP_NUM_THREADS=1 python tests/benchmarks/cheaper.py CIFAR100_resnet_small --count 8

Ways, image by image: as it is; with rows that go to the end after their sign is known; with the bounds library's own
rows (as patches where they are right) in the place of `crown_pass`; without the intervals through composed
convolutions; one call of plain auto_LiRPA, which `--plain` asks for, as it takes long. Each image begins with another
way, as the first one pays for products of shapes that were not seen before. Images: those of the embedded twenty that
the network classifies correctly, at 1/255.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch

from nbutils.bounds import lirpa, margin_bounds
from nbutils.bounds.composed_intervals import ComposedIntervals
from nbutils.bounds.crown_pass import Relaxed
from nbutils.bounds.methods import engine_of
from nbutils.core import PUBLISHED_EPS, BoundsConfig, Box, class_margins, specification
from nbutils.images import load_images
from nbutils.networks import open_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("--count", type=int, default=8, help="images at most")
    parser.add_argument("--plain", action="store_true", help="plain auto_LiRPA too")
    options = parser.parse_args()
    network, images = open_network(options.network, device="cpu"), load_images("embedded")
    boxes = Box.around(images.pixels, network.normalization or images.normalization, PUBLISHED_EPS)
    right = np.flatnonzero(class_margins(network.judge(boxes.center), images.labels).predicted == images.labels)

    def ours(row: int) -> np.ndarray:
        return margin_bounds(network, boxes.take([row]), images.labels[[row]], BoundsConfig()).lower[0]

    def whole_rows(row: int) -> np.ndarray:
        least = Relaxed.least
        with mock.patch.object(Relaxed, "least", lambda *asked: least(*asked[:-1], settle=False)):
            return ours(row)

    def library_rows(row: int) -> np.ndarray:
        with mock.patch.object(engine_of(network)._pass, "usable", False):
            return ours(row)

    def plain_intervals(row: int) -> np.ndarray:
        with mock.patch.object(ComposedIntervals, "bounds", return_value=None):
            return ours(row)

    module = lirpa.bounded_module(network.module, network.input_shape, network.device) if options.plain else None

    def plain(row: int) -> np.ndarray:
        box = boxes.take([row])
        x = lirpa.bounded_input(box.center, box.lower, box.upper, network.device)
        wanted = torch.from_numpy(specification(images.labels[[row]], network.classes))
        with torch.no_grad():
            return module.compute_bounds(x=(x,), C=wanted, method="CROWN", bound_upper=False)[0][0].numpy()

    ways: dict[str, Callable[[int], np.ndarray]] = {
        "as it is": ours,
        "rows to the end": whole_rows,
        "the library's rows": library_rows,
        "no composed intervals": plain_intervals,
    }
    if options.plain:
        ways["plain auto_LiRPA"] = plain
    for way in ways.values():
        way(right[0])  # builds and tries once
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    differences: list[float] = []
    names = list(ways)
    for number, row in enumerate(right[: options.count]):
        found = {}
        first = number % len(names)
        for name in names[first:] + names[:first]:
            began = time.process_time()
            found[name] = ways[name](row)
            seconds[name].append(time.process_time() - began)
        differences += [float(np.abs(lower - found["as it is"]).max()) for lower in found.values()]
    count = len(differences) // len(ways)
    print(f"{network.name}, CROWN, {count} images; bounds differ by at most {max(differences):.1e}")
    for name, times in seconds.items():
        ratios = np.array(times) / np.array(seconds["as it is"])
        print(
            f"  {name:22} {np.median(times):7.2f} s an image (median), {np.median(ratios):4.1f} x as long "
            f"({ratios.min():.1f} to {ratios.max():.1f})"
        )


if __name__ == "__main__":
    main()
