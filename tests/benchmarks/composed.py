"""What intervals through composed convolutions save CROWN: processor seconds an image with and without, same bounds.

    OMP_NUM_THREADS=1 python tests/benchmarks/composed.py CIFAR100_resnet_small --count 8

Images: those of the embedded twenty that the network classifies correctly, at 1/255, one after the other both ways.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from nbutils.bounds import engine_of, margin_bounds
from nbutils.config import PUBLISHED_EPS, BoundsConfig
from nbutils.images import load_images
from nbutils.margins import class_margins
from nbutils.networks import open_network
from nbutils.records import Box


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("--count", type=int, default=8, help="images at most")
    options = parser.parse_args()
    network, images = open_network(options.network, device="cpu"), load_images("embedded")
    boxes = Box.around(images.pixels, network.normalization or images.normalization, PUBLISHED_EPS)
    right = np.flatnonzero(class_margins(network.judge(boxes.center), images.labels).predicted == images.labels)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    differences = []
    margin_bounds(network, boxes.take(right[:1]), images.labels[right[:1]], BoundsConfig())  # builds and tries once
    numbers = engine_of(network)._numbers
    for row in right[: options.count]:
        found = {}
        for composed in (True, False):
            engine_of(network)._numbers = numbers if composed else {}
            began = time.process_time()
            found[composed] = margin_bounds(network, boxes.take([row]), images.labels[[row]], BoundsConfig()).lower
            seconds[composed].append(time.process_time() - began)
        differences.append(np.abs(found[True] - found[False]).max())
    ratios = np.array(seconds[False]) / np.array(seconds[True])
    print(
        f"{network.name}: CROWN {np.median(seconds[True]):.2f} s an image with composed intervals, "
        f"{np.median(seconds[False]):.2f} s without (medians of {len(ratios)}); ratio {np.median(ratios):.1f} "
        f"({ratios.min():.1f} to {ratios.max():.1f}); largest difference of a bound {max(differences):.1e}"
    )


if __name__ == "__main__":
    main()
