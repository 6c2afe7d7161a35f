"""The row of the loss `crown-row` beside the whole of CROWN: which size of the small box comes nearest to it.

    OMP_NUM_THREADS=1 .venv/bin/python tests/benchmarks/crown_row.py CIFAR100_resnet_medium

For the nearest rival of every image that is classified correctly: margin at the image, row over the whole eps-box with
intervals of a small box for the ReLUs' inputs, and CROWN's lower bound. The last line is the size for which the row
loses on average what CROWN does, the one to train with. By default on the embedded images; `--images npz --path FILE
--dataset cifar100 --set-aside 5000 --count 40` takes images set aside from training.

With `--at BOX` CROWN is left out: on what share of the images the row with that box is positive. With the size named
above that comes near the share that CROWN proves, in a second's fraction an image: good for choosing between networks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from nbutils.bounds import margin_bounds
from nbutils.commands.arguments import add_images, images_from
from nbutils.config import PUBLISHED_EPS, BoundsConfig, root
from nbutils.margins import class_margins
from nbutils.networks import open_network
from nbutils.records import Box
from nbutils.training.crown_row import row_margins
from nbutils.training.interval import running_statistics
from nbutils.training.onnx_import import import_onnx

BATCH = 50  # images at once where there are many
SHARES = (0.001, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1)


def main() -> None:
    """Print one line a size of the box: mean loss of margin, beside CROWN's, and the correlation over the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", default="CIFAR100_resnet_medium", help="architecture; onnx/NAME.onnx")
    parser.add_argument("--file", type=Path, help="another ONNX file of that architecture")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--at", type=float, metavar="BOX", help="only count positive rows with this box, without CROWN")
    add_images(parser)
    args = parser.parse_args()
    path = args.file or root() / "onnx" / f"{args.network}.onnx"
    judge, images = open_network(path, device=args.device), images_from(args)
    network = import_onnx(path, args.network).to(args.device)
    box = Box.around(images.pixels, judge.normalization, PUBLISHED_EPS)
    if args.at is not None:
        parts = np.array_split(np.arange(len(images)), -(-len(images) // BATCH))
        rows = [nearest_rows(network, box.take(part), images.labels[part])[0](args.at) for part in parts]
        share = (np.concatenate(rows) > 0).mean()
        print(f"{path.stem}, {len(images)} images ({images.source}): {share:.1%} with a positive row, box {args.at:g}")
        return
    predicted = class_margins(judge.judge(box.center), images.labels).predicted
    right = np.flatnonzero(predicted == images.labels)
    images, box = images.take(right), box.take(right)
    row_at, seen = nearest_rows(network, box, images.labels)
    bounds = margin_bounds(judge, box, images.labels, BoundsConfig(method="crown"))
    crown = bounds.lower[bounds.rivals == seen.argmin(1)[:, None]]
    natural = seen.min(1)
    print(f"{path.stem}, {len(images)} images ({images.source}), eps {PUBLISHED_EPS * 255:g}/255, nearest rival")
    print(f"mean margin {natural.mean():.2f}; CROWN loses {(natural - crown).mean():.2f} of it")
    print("box / eps   the row loses   correlation with CROWN's bound")
    for share in SHARES:
        row = row_at(share)
        print(f"{share:9g}   {(natural - row).mean():13.2f}   {np.corrcoef(row, crown)[0, 1]:30.3f}")
    low, high = np.log(SHARES[0] / 10), 0.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if row_at(np.exp(middle)).mean() > crown.mean() else (low, middle)
    print(f"the row loses as much as CROWN with a box of {np.exp((low + high) / 2):.4f}")


def nearest_rows(network, box: Box, labels: np.ndarray):
    """Lower end [N] of the nearest rival's row by size of the small box, and the margins [N, K] at the centres."""
    device = next(network.parameters()).device
    lower, upper, truth = (torch.from_numpy(values).to(device) for values in (box.lower, box.upper, labels))
    statistics = running_statistics(network)
    with torch.no_grad():
        logits = network((lower + upper) / 2)
        seen = (logits.gather(1, truth[:, None]) - logits).scatter(1, truth[:, None], float("inf"))
    rows, rival = torch.arange(len(labels)), seen.argmin(1)

    def row_at(share: float) -> np.ndarray:
        with torch.no_grad():
            return row_margins(network, statistics, logits, truth, (lower, upper), share)[rows, rival].cpu().numpy()

    return row_at, seen.cpu().numpy()


if __name__ == "__main__":
    main()
