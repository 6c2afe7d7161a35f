"""What it saves CROWN to settle signs by cheaper means first: processor seconds an image with and without, same bounds.

    OMP_NUM_THREADS=1 python tests/benchmarks/cheaper.py CIFAR100_resnet_small --count 8

Three ways one after the other, image by image: with intervals through composed convolutions and the affine map where
it pays, with the intervals alone, with neither. Images: those of the embedded twenty that the network classifies
correctly, at 1/255.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from nbutils.bounds import margin_bounds
from nbutils.bounds.methods import engine_of
from nbutils.core import PUBLISHED_EPS, BoundsConfig, Box, class_margins
from nbutils.images import load_images
from nbutils.networks import open_network

WAYS = {"both": (True, True), "composed intervals": (True, False), "neither": (False, False)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("--count", type=int, default=8, help="images at most")
    options = parser.parse_args()
    network, images = open_network(options.network, device="cpu"), load_images("embedded")
    boxes = Box.around(images.pixels, network.normalization or images.normalization, PUBLISHED_EPS)
    right = np.flatnonzero(class_margins(network.judge(boxes.center), images.labels).predicted == images.labels)
    margin_bounds(network, boxes.take(right[:1]), images.labels[right[:1]], BoundsConfig())  # builds and tries once
    engine = engine_of(network)
    numbers, usable = engine._numbers, engine._affine.usable
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    differences = []
    for row in right[: options.count]:
        found = {}
        for way, (composed, affine) in WAYS.items():
            engine._numbers, engine._affine.usable = numbers if composed else {}, usable and affine
            began = time.process_time()
            found[way] = margin_bounds(network, boxes.take([row]), images.labels[[row]], BoundsConfig()).lower
            seconds[way].append(time.process_time() - began)
        differences += [np.abs(found[way] - found["both"]).max() for way in WAYS]
    print(f"{network.name}, CROWN, {len(seconds['both'])} images; bounds differ by at most {max(differences):.1e}")
    for way, times in seconds.items():
        ratios = np.array(times) / np.array(seconds["both"])
        print(
            f"  {way:18} {np.median(times):7.2f} s an image (median), {np.median(ratios):4.1f} x the time of both "
            f"({ratios.min():.1f} to {ratios.max():.1f})"
        )


if __name__ == "__main__":
    main()
