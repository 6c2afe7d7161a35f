"""List the networks of `onnx/`, or describe one ONNX file."""

from __future__ import annotations

import argparse

HELP = "list the networks in onnx/ with their cards, or open and describe one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "network", nargs="*", help="name in onnx/, or a path to an ONNX classifier (default: all of onnx/)"
    )


def run(args: argparse.Namespace) -> None:
    """Open each network, parity check included, and print its card."""
    from ..networks import list_networks, open_network

    for name in args.network or list_networks():
        print(open_network(name).describe(), end="\n\n")
