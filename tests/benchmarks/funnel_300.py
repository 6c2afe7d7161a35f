"""The funnel on real images, settled in every way there is: one process, Dask, other groupings, killed and resumed.

    OMP_NUM_THREADS=1 .venv/bin/python tests/benchmarks/funnel_300.py --count 300

Prints seconds and counts of every way, and each row that differs in anything but its seconds; exit code 1 if one does.
About five times the time of a single run. `python -m nbutils bench --parts funnel --count 300 ...` measures the ratios.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nbutils.core import SelectionConfig
from nbutils.images import load_images
from nbutils.networks import open_network
from nbutils.selection import Ledger, run_funnel, run_key

Rows = list[tuple]


def rows(ledger: Path) -> Rows:
    """Everything the ledger holds of its images but the seconds."""
    if not ledger.exists():
        return []
    with sqlite3.connect(ledger) as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(verdicts)") if row[1] != "seconds"]
        quoted = ", ".join(f'"{name}"' for name in names)
        return db.execute(f"SELECT {quoted} FROM verdicts").fetchall() if names else []


def command(args: argparse.Namespace, ledger: Path, *more: str) -> list[str]:
    """`select` on the images of this comparison."""
    images = ["--images", "npz", "--path", str(args.path), "--dataset", args.dataset]
    sample = ["--count", str(args.count), "--sample-seed", str(args.sample_seed)]
    return [sys.executable, "-m", "nbutils", "select", args.network, *images, *sample, "--ledger", str(ledger), *more]


def once(args: argparse.Namespace, *more: str) -> Callable[[Path], str]:
    """`select` from beginning to end."""

    def run(ledger: Path) -> str:
        subprocess.run(command(args, ledger, *more), check=True, stdout=subprocess.DEVNULL)
        return ""

    return run


def killed(args: argparse.Namespace, times: int, seconds: float) -> Callable[[Path], str]:
    """`select` killed `times` times at random moments of a run that takes about `seconds`, then run to its end."""

    def run(ledger: Path) -> str:
        moments, found = random.Random(args.sample_seed), []
        for _ in range(times):
            process = subprocess.Popen(command(args, ledger), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before = time.perf_counter()
            while not len(rows(ledger)) > (found[-1] if found else 0) and process.poll() is None:
                time.sleep(0.1)  # until it started and settled an image
            limit = moments.uniform(0, max(0.0, seconds / (times + 1) - (time.perf_counter() - before)))
            time.sleep(limit)
            process.kill()
            process.wait()
            found.append(len(rows(ledger)))
        once(args)(ledger)
        return f", killed with {found} images in the ledger"

    return run


def grouped(args: argparse.Namespace, size: int) -> Callable[[Path], str]:
    """This process, `size` images a call, in an order of its own."""

    def run(ledger: Path) -> str:
        network, config = open_network(args.network), SelectionConfig()
        images = load_images("npz", path=args.path, dataset=args.dataset).sample(args.count, args.sample_seed)
        order = np.random.default_rng(size).permutation(len(images))
        key = run_key(network.card.sha256, config, network.normalization or images.normalization)
        with Ledger(ledger, key) as book:
            for first in range(0, len(order), size):
                run_funnel(network, images.take(order[first : first + size]), config, ledger=book, progress=False)
        return ""

    return run


def main() -> int:
    """Settle the images in every way and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="CIFAR100_resnet_small")
    parser.add_argument("--path", type=Path, default=Path("data/cifar100_test.npz"))
    parser.add_argument("--dataset", default="cifar100")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--sample-seed", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("runs/funnel_300"), help="folder for the ledgers")
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"--out: {args.out} exists; name a folder that does not")
    began = time.perf_counter()
    once(args)(args.out / "one process.sqlite")
    single = time.perf_counter() - began
    expected = rows(args.out / "one process.sqlite")
    status = {name: sum(name in row for row in expected) for name in ("misclassified", "attacked", "verified", "open")}
    print(f"{args.count} images, one process: {single:.1f} s, {status}", flush=True)
    ways = {
        "two Dask workers": once(args, "--workers", "2"),
        "killed three times": killed(args, 3, single),
        "one at a time, other order": grouped(args, 1),
        "64 at a time, other order": grouped(args, 64),
    }
    failed = False
    for name, run in ways.items():
        ledger, began = args.out / f"{name}.sqlite", time.perf_counter()
        remark = run(ledger)
        found, seconds = rows(ledger), time.perf_counter() - began
        different = set(expected) ^ set(found)
        failed |= bool(different) or len(found) != len(expected)
        print(f"{name}: {seconds:.1f} s, {len(found)} rows, {len(different)} differ{remark}", flush=True)
        for row in different:
            print("    ", row[:-1])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
