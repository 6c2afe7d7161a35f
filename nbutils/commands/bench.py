"""Print what attack, bounds and funnel cost on this machine, each measured in a process of its own."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import TYPE_CHECKING

from ..core import METHODS
from .arguments import add_images, add_selection, fitted, say_first, selection_from

if TYPE_CHECKING:
    from ..core import ImageSet, SelectionConfig
    from ..networks import Network

HELP = "seconds and peak memory of attack, bounds and funnel, beside the network's raw passes"
PARTS = ("attack", "ibp", "crown-ibp", "crown", "alpha-crown", "funnel")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("network", nargs="?", default="CIFAR100_resnet_small", help="default CIFAR100_resnet_small")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--here", action="store_true", help="measure in this process (peak memory then adds up)")
    parser.add_argument("--said", action="store_true", help=argparse.SUPPRESS)  # the first line of this run is printed
    add_images(parser)
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Measure `args.parts` one after the other; the exit code of the first that fails, else 0."""
    config = selection_from(args)  # refuses wrong settings before anything starts
    if not args.here and len(args.parts) > 1:
        rest = sys.argv[2:]
        if "--parts" in rest:
            first = rest.index("--parts")
            rest = rest[:first] + rest[first + 1 + len(args.parts) :]
        for part in args.parts:
            command = [sys.executable, "-m", "nbutils", "bench", *rest, "--parts", part, "--here"]
            command += ["--said"] if part != args.parts[0] else []
            if failed := subprocess.run(command).returncode:
                return failed
        return 0
    network, images = fitted(args)
    if not args.said:
        say_first(network, images, args.eps, [part for part in args.parts if part in METHODS])
    for part in args.parts:
        print(_measure(part, network, images, config), flush=True)
    return 0


def _measure(part: str, network: Network, images: ImageSet, config: SelectionConfig) -> str:
    from dataclasses import replace

    from ..bench import bench_attack, bench_bounds, bench_funnel

    show = sys.stderr.isatty()
    if part == "attack":
        attack = replace(config.attack, early_stop=False)
        return bench_attack(network, images, config.eps, attack, progress=show).describe()
    if part == "funnel":
        return bench_funnel(network, images, config, progress=show).describe()
    return bench_bounds(network, images, config.eps, config.bounds.by(part), progress=show).describe()
