"""Run the funnel over a set of images."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from .arguments import add_images, add_selection, images_from, selection_from

HELP = "run the funnel over a set of images: misclassified, attacked, verified, open; resumable"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("network", help="name in onnx/, or a path to an ONNX classifier")
    parser.add_argument("--ledger", type=Path, help="SQLite file to keep verdicts in; the same command continues it")
    add_images(parser)
    add_selection(parser)


def run(args: argparse.Namespace) -> None:
    """Settle every image, print counts by status and by deciding step, and the open images."""
    config, images = selection_from(args), images_from(args)

    from ..funnel import count_statuses, run_funnel
    from ..ledger import Ledger, run_key
    from ..networks import open_network

    network = open_network(args.network)
    began = time.perf_counter()
    if args.ledger is None:
        verdicts = run_funnel(network, images, config)
    else:
        key = run_key(network.card.sha256, config, network.normalization or images.normalization)
        with Ledger(args.ledger, key) as ledger:
            verdicts = run_funnel(network, images, config, ledger=ledger)
    seconds = time.perf_counter() - began
    print(f"{network.name} on {len(images)} {images.source} images, eps {args.eps}: {seconds:.1f} s")
    for status, count in count_statuses(verdicts).items():
        print(f"{status:>14} {count:6d}  {count / len(images):6.1%}")
    steps: dict[str, int] = {}
    for verdict in verdicts:
        steps[verdict.decided_by] = steps.get(verdict.decided_by, 0) + 1
    print("decided by: " + ", ".join(f"{step} {count}" for step, count in steps.items()))
    print("open: " + (", ".join(str(v.index) for v in verdicts if v.status == "open") or "none"))
