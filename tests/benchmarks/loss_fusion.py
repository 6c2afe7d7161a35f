"""Loss fusion beside plain CROWN-IBP on a real network: both losses, their difference, and the time of both.

    OMP_NUM_THREADS=1 .venv/bin/python tests/benchmarks/loss_fusion.py --count 8

Evaluation statistics, boxes around one-step adversarial points. Times are a forward and backward pass of the batch at
the largest box, taken in turns in one process.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from nbutils.core import root
from nbutils.images import load_images
from nbutils.training import TrainConfig, import_onnx
from nbutils.training.batches import adversarial_batch
from nbutils.training.data import Pixels
from nbutils.training.probe import compare_fusion


def main() -> None:
    """Print one row a box size, then the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="CIFAR100_resnet_small", help="architecture; onnx/NAME.onnx is read")
    parser.add_argument("--path", type=Path, help="npz of CIFAR-100 images; without it the embedded ones")
    parser.add_argument("--count", type=int, default=8, help="images")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    source = {"source": "npz", "path": args.path, "dataset": "cifar100"} if args.path else {}
    images = load_images(**source).take(range(args.count))
    network = import_onnx(root() / "onnx" / f"{args.network}.onnx", args.network)
    config = TrainConfig(network=args.network)
    place = torch.device("cpu")
    space = Pixels(images.normalization, place)
    pixels, labels = torch.from_numpy(images.pixels), torch.from_numpy(images.labels)
    batch = adversarial_batch(config, network, space, pixels, labels, 0, 0)
    found = compare_fusion(network, batch, config.eps, rows=args.count, turns=args.turns)

    print(f"{args.network}, {len(images)} images of {images.source}, eps {config.eps * 255:g}/255")
    print("box / eps   plain (mean)   fused (mean)   fused - plain: smallest, mean, largest   fused / plain (mean)")
    for fraction, plain, fused in zip(found.fractions, found.plain, found.fused, strict=True):
        gap = fused - plain
        print(
            f"{fraction:9g}   {plain.mean():12.5f}   {fused.mean():12.5f}   "
            f"{gap.min():14.5f}  {gap.mean():12.5f}  {gap.max():12.5f}   {fused.mean() / plain.mean():12.4f}"
        )
    plain, fused = found.seconds_plain, found.seconds_fused
    print(
        f"forward + backward, {args.turns} turns: plain {np.median(plain):.3f} s, fused {np.median(fused):.3f} s, "
        f"ratio {found.ratio:.2f} (from {(plain / fused).min():.2f} to {(plain / fused).max():.2f})"
    )


if __name__ == "__main__":
    main()
