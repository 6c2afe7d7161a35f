"""Run the funnel over a set of images."""

from __future__ import annotations

import argparse
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import require
from .arguments import add_images, add_selection, chosen, fitted, say_first, selection_from

if TYPE_CHECKING:
    from ..core import Verdict
    from ..selection import Engine

HELP = "run the funnel over a set of images: misclassified, attacked, verified, open; resumable"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("network", help="name in onnx/, or a path to an ONNX classifier")
    parser.add_argument("--ledger", type=Path, help="SQLite file to keep verdicts in; the same command continues it")
    parser.add_argument(
        "--attack", choices=("pgd", "strong"), default="pgd",
        help="strong: targeted PGD and APGD on what PGD and bounds left open; its ledger is LEDGER.strong",
    )  # fmt: skip
    parser.add_argument("--export", type=Path, metavar="PATH", help="write the selection to this CSV file")
    parser.add_argument(
        "--write-card", action="store_true",
        help="put clean, PGD and verified accuracy, which the statuses settle, on the network's card",
    )  # fmt: skip
    add_images(parser)
    add_selection(parser)
    group = parser.add_argument_group("machines")
    one = group.add_mutually_exclusive_group()
    one.add_argument("--workers", type=int, metavar="N", help="Dask, on N processes of this machine, one thread each")
    one.add_argument("--scheduler", metavar="ADDRESS", help="Dask, on the cluster of this scheduler: tcp://host:8786")


def run(args: argparse.Namespace) -> None:
    """Settle every image, print counts by status and by deciding step, and the open images."""
    config = selection_from(args)
    if args.export is not None:
        require(not args.export.is_dir(), "--export", str(args.export), "the path of a file")
        from ..core import check_writable

        check_writable(args.export.absolute().parent)
    network, images = fitted(args)

    from ..attacks import StrongConfig
    from ..networks import add_figures, normalization_of
    from ..selection import (
        Ledger,
        check_fit,
        run_funnel,
        run_key,
        run_second_stage,
        second_key,
        second_path,
        usable_methods,
    )
    from ..zoo import evaluation_of

    check_fit(network, images)
    say_first(network, images, args.eps, ())
    usable_methods(network, config.bounds.method, print)
    normalization = normalization_of(network, images)
    key, strong = run_key(network.card.sha256, config, normalization), StrongConfig(seed=args.attack_seed)
    began = time.perf_counter()
    with ExitStack() as stack:
        engine = stack.enter_context(_engine(args))  # before any ledger: where it fails, nothing is written
        first = second = None
        if args.ledger is not None:
            first = stack.enter_context(Ledger(args.ledger, key))
            if args.attack == "strong":
                second = stack.enter_context(Ledger(second_path(args.ledger), second_key(key, strong)))
        known = len(first.verdicts(images.keys)) if first is not None else 0
        verdicts = run_funnel(network, images, config, ledger=first, engine=engine)
        seconds = time.perf_counter() - began
        print(f"{network.name} on {len(images)} {images.source} images, eps {args.eps}")
        print(_report(verdicts, known, seconds))
        accuracies = evaluation_of(verdicts, network.name, images.source, config)
        if args.attack == "strong":
            before = sum(verdict.status == "open" for verdict in verdicts)
            verdicts = run_second_stage(network, images, verdicts, config, strong, ledger=second, engine=engine)
            left = sum(verdict.status == "open" for verdict in verdicts)
            print(f"strong attack: {before - left} more attacked, of {before} open images")
    print("open: " + (", ".join(str(v.index) for v in verdicts if v.status == "open") or "none"))
    if args.export is not None:
        from ..selection import KEPT, keep_images, make_selection, put_selection, with_known_bounds

        second_stage = strong if args.attack == "strong" else None
        found = make_selection(network, verdicts, config, normalization, images.source, strong=second_stage)
        put_selection(args.export, with_known_bounds(args.export, found))
        print(f"selection {args.export}")
        pixels = args.export.parent / f"{network.card.dataset or network.name}.npz"
        held = keep_images(pixels, images, {verdict.key for verdict in verdicts if verdict.status in KEPT})
        print(f"pixels of the selected images {pixels}, {held} in all")
    if args.write_card:
        command = f"python -m nbutils select {args.network} " + shlex.join(chosen(args))
        card = replace(network.card, normalization=normalization)  # a card with figures says what they were taken with
        print(f"card {add_figures(network.path, card, accuracies.figures(command))}")


@contextmanager
def _engine(args: argparse.Namespace) -> Iterator[Engine]:
    if args.workers is None and args.scheduler is None:
        from ..selection import here

        yield here
        return
    from ..selection import dask_engine

    with dask_engine(args.workers, args.scheduler) as engine:
        yield engine


def _report(verdicts: Sequence[Verdict], known: int, seconds: float) -> str:
    """Counts by status and shares by deciding step; seconds of this run and of all images together."""
    from ..selection import count_statuses

    total = len(verdicts)
    lines = [f"{status:>14} {n:6d}  {n / total:6.1%}" for status, n in count_statuses(verdicts).items()]
    steps = Counter(verdict.decided_by for verdict in verdicts)
    lines.append("decided by: " + ", ".join(f"{step} {n} ({n / total:.1%})" for step, n in steps.most_common()))
    new = total - known
    rate = f", {new / seconds:.2f} images/s" if new else ""
    spent = sum(verdict.seconds for verdict in verdicts)
    lines.append(f"{new} images settled in {seconds:.1f} s{rate}; {known} were in the ledger; {spent:.1f} s in all")
    return "\n".join(lines)
