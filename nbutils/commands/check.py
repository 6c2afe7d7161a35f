"""Replay a counterexample as the competition does."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "replay a solver's counterexample on onnxruntime: correct, correct_with_tolerance (exit code 0) or wrong (1)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("network", help="name in onnx/, or a path to an ONNX classifier")
    parser.add_argument("property", type=Path, help="VNN-LIB file, 1.0 or 2.0, plain or .gz")
    parser.add_argument("counterexample", type=Path, help="what the solver wrote, as ((X_0 v) …) or as VNN-LIB 2.0")


def run(args: argparse.Namespace) -> int:
    """Print the verdict and its reason; 0 if the counterexample holds, 1 if not."""
    from ..core import PropertyError, require
    from ..networks import open_network
    from ..properties import competition_reads, read_counterexample, read_file, read_property, replay

    network = open_network(args.network, device="cpu")
    prop = read_property(args.property, network.input_shape, logits=network.judge, declared=network.declared_input)
    found = f"{prop.classes} outputs"
    hint = "The property was made for another network"
    require(prop.classes == network.classes, prop.name, found, f"{network.classes}", hint, error=PropertyError)
    result = replay(network, prop, read_counterexample(args.counterexample, prop))
    print(f"{result.verdict}\n{result.reason}")
    if note := competition_reads(read_file(args.counterexample)):
        print(note)
    return 1 if result.verdict == "wrong" else 0
