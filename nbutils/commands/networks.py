"""List the networks of `onnx/` beside the published ones, or describe ONNX files."""

from __future__ import annotations

import argparse

HELP = "list the networks in onnx/ with their figures beside the published, or open and describe some"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "network",
        nargs="*",
        help="name in onnx/, or a path to an ONNX classifier: open it, check it and print its card "
        "(default: a table of all networks, read off files and cards)",
    )


def run(args: argparse.Namespace) -> None:
    """Print the table of all networks; or open each one named, parity check included, and print its card."""
    if not args.network:
        from ..zoo import SOURCE, accuracy_text, read_zoo

        print(accuracy_text(read_zoo()))
        print(f"\nPublished: {SOURCE}, all 10,000 test images, 1/255. Differences in percentage points.")
        return
    from ..networks import open_network

    for name in args.network:
        print(open_network(name).describe(), end="\n\n")
