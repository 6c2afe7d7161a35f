"""The row of the loss `crown-row` beside the whole of CROWN: which size of the small box comes nearest to it.

    OMP_NUM_THREADS=1 .venv/bin/python tests/benchmarks/crown_row.py CIFAR100_resnet_medium

For the nearest rival of every embedded image that is classified correctly: margin at the image, row over the whole
eps-box with intervals of a small box for the ReLUs' inputs, and CROWN's lower bound.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from nbutils.bounds import margin_bounds
from nbutils.config import PUBLISHED_EPS, BoundsConfig, root
from nbutils.images import load_images
from nbutils.networks import open_network
from nbutils.records import Box
from nbutils.training.crown_row import row_margins
from nbutils.training.interval import running_statistics
from nbutils.training.onnx_import import import_onnx

SHARES = (0.001, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05)


def main() -> None:
    """Print one line a size of the box: mean loss of margin, beside CROWN's, and the correlation over the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", default="CIFAR100_resnet_medium", help="architecture; onnx/NAME.onnx")
    args = parser.parse_args()
    path = root() / "onnx" / f"{args.network}.onnx"
    judge, network, images = open_network(path, device="cpu"), import_onnx(path, args.network), load_images()
    logits = judge.logits(judge.normalization.to_network(images.pixels))
    images = images.take(np.flatnonzero(logits.argmax(1) == images.labels))
    box = Box.around(images.pixels, judge.normalization, PUBLISHED_EPS)
    lower, upper, labels = (torch.from_numpy(values) for values in (box.lower, box.upper, images.labels))
    rows = torch.arange(len(labels))
    with torch.no_grad():
        logits = network((lower + upper) / 2)
        seen = (logits.gather(1, labels[:, None]) - logits).scatter(1, labels[:, None], float("inf"))
        rival, statistics = seen.argmin(1), running_statistics(network)
        found = {
            share: row_margins(network, statistics, logits, labels, (lower, upper), share)[rows, rival].numpy()
            for share in SHARES
        }
    bounds = margin_bounds(judge, box, images.labels, BoundsConfig(method="crown"))
    crown = bounds.lower[bounds.rivals == rival.numpy()[:, None]]
    natural = seen[rows, rival].numpy()
    print(f"{args.network}, {len(labels)} embedded images, eps {PUBLISHED_EPS * 255:g}/255, nearest rival")
    print(f"mean margin {natural.mean():.2f}; CROWN loses {(natural - crown).mean():.2f} of it")
    print("box / eps   the row loses   correlation with CROWN's bound")
    for share, row in found.items():
        print(f"{share:9g}   {(natural - row).mean():13.2f}   {np.corrcoef(row, crown)[0, 1]:30.3f}")


if __name__ == "__main__":
    main()
