"""Run alpha-CROWN on open images of a recorded selection."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "run alpha-CROWN on open images of vnnlib/selected/NETWORK.csv and keep its bounds there; resumable"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("network", help="name of a network in onnx/ with a recorded selection")
    parser.add_argument("--count", type=int, default=100, help="open images with a bound in the end (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of images (default 0)")


def run(args: argparse.Namespace) -> None:
    """Print how many alpha-CROWN proves; the pixels are those kept beside the selections."""
    from ..benchmark import generation
    from ..core import ImageError, require, root
    from ..networks import open_network
    from ..selection import add_alpha_bounds, read_selection

    network = open_network(args.network)
    path: Path = root() / "vnnlib" / "selected" / f"{network.name}.csv"
    pool = generation.kept_images({network.name: read_selection(path, network.card.sha256)})
    hint = "Record the selection again with python -m nbutils select … --export"
    require(pool is not None, f"{path.parent}: pixels of the selection", "not there", "an archive beside it", hint,
            error=ImageError)  # fmt: skip
    selection = add_alpha_bounds(path, network, pool or [], args.count, seed=args.seed, progress=sys.stderr.isatty())
    groups = generation.levels(selection)
    known = sum(map(len, groups.values()))
    share = len(groups["easy"]) / known
    print(f"{network.name}: alpha-CROWN proves {len(groups['easy'])} of {known} open images tried ({share:.0%})")
