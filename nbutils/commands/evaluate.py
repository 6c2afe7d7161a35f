"""Measure clean, PGD and verified accuracy of a network."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from .arguments import EPS, add_images, chosen, fitted, say_first

HELP = "clean, PGD and verified accuracy on a set of images, with 95 % intervals; resumable"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("network", help="name in onnx/, or a path to an ONNX classifier")
    add_images(parser)
    parser.add_argument("--eps", default=EPS, help="radius in pixel units, as 2/255 or 0.0078 (default 1/255)")
    parser.add_argument("--steps", type=int, default=100, help="PGD steps (default 100)")
    parser.add_argument("--restarts", type=int, default=20, help="PGD restarts (default 20)")
    parser.add_argument("--attack-seed", type=int, default=0, help="seed of the random starts (default 0)")
    parser.add_argument(
        "--methods",
        nargs="*",
        default=["ibp", "crown-ibp", "crown"],
        help="bound methods run on every image that survives PGD (default ibp crown-ibp crown)",
    )
    parser.add_argument("--record", type=Path, help="JSON lines file of measurements; the same command continues it")
    parser.add_argument("--write-card", action="store_true", help="put the figures on the network's card")


def run(args: argparse.Namespace) -> None:
    """Print every share with its interval; with --write-card, keep them beside the ONNX file."""
    from ..core import AttackConfig, parse_eps
    from ..networks import add_figures
    from ..selection import check_fit
    from ..zoo import evaluate

    attack = AttackConfig(steps=args.steps, restarts=args.restarts, seed=args.attack_seed)
    eps = parse_eps(args.eps)
    network, images = fitted(args)
    check_fit(network, images)
    say_first(network, images, args.eps, args.methods)
    result = evaluate(
        network, images, eps=eps, attack=attack, methods=args.methods, record=args.record, progress=sys.stderr.isatty()
    )
    print(f"{result.network} on {len(images)} {result.source} images, eps {args.eps}")
    for name, share in result.shares.items():
        print(f"{name:>12}  {share}  {result.seconds[name]:.3f} s an image")
    if args.write_card:
        command = f"python -m nbutils evaluate {args.network} " + shlex.join(chosen(args))
        card = replace(network.card, normalization=images.normalization)
        print(add_figures(network.path, card, result.figures(command)))
