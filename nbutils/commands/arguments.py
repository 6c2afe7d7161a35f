"""Arguments that several commands share: which images, which radius, which attack."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import SelectionConfig
    from ..records import ImageSet


def add_images(parser: argparse.ArgumentParser) -> None:
    """`--images`, `--path`, `--dataset`, `--download`, `--set-aside`, `--count`, `--sample-seed`."""
    group = parser.add_argument_group("images")
    group.add_argument(
        "--images", default="embedded", help="image source: embedded, cifar100, tinyimagenet, npz, folder, properties"
    )
    group.add_argument("--path", type=Path, help="folder or file of the source")
    group.add_argument("--dataset", help="class names and normalisation of an npz or folder: cifar100 or tinyimagenet")
    group.add_argument("--download", action="store_true", help="download the data set when it is missing")
    group.add_argument(
        "--set-aside",
        type=int,
        metavar="N",
        help="of training images, the N that `train` keeps aside (by default 5000): for choosing between networks",
    )
    group.add_argument("--count", type=int, help="use this many images, drawn from --sample-seed (default: all)")
    group.add_argument("--sample-seed", type=int, default=0, help="seed of that draw (default 0)")


def images_from(args: argparse.Namespace) -> ImageSet:
    """The images the arguments ask for: test images, or of the training images those set aside."""
    from ..errors import require
    from ..images import load_images

    aside = args.set_aside
    card = aside is not None and getattr(args, "write_card", False)
    require(not card, "--write-card with --set-aside", aside, "one of the two: a card's figures are of test images")
    split = {"split": "train"} if aside is not None and args.images in ("cifar100", "tinyimagenet") else {}
    images = load_images(args.images, path=args.path, dataset=args.dataset, download=args.download, **split)
    if aside is not None:
        from ..training.data import split as parted  # torch, which the other images do without

        allowed = f"1 to {len(images) - 1}, fewer than {images.source} has"
        require(0 < aside < len(images), "--set-aside", aside, allowed)
        images = parted(images, aside)[1]
    return images if args.count is None else images.sample(args.count, args.sample_seed)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """`--eps`, `--steps`, `--restarts`, `--attack-seed`, `--method`."""
    group = parser.add_argument_group("filter")
    group.add_argument("--eps", default="1/255", help="radius in pixel units, as 2/255 or 0.0078 (default 1/255)")
    group.add_argument("--steps", type=int, default=100, help="PGD steps (default 100)")
    group.add_argument("--restarts", type=int, default=20, help="PGD restarts (default 20)")
    group.add_argument("--attack-seed", type=int, default=0, help="seed of the random starts (default 0)")
    group.add_argument("--method", default="crown", help="bound method that decides 'verified' (default crown)")


def selection_from(args: argparse.Namespace) -> SelectionConfig:
    """Settings of the funnel the arguments ask for."""
    from ..config import AttackConfig, BoundsConfig, SelectionConfig, parse_eps

    return SelectionConfig(
        eps=parse_eps(args.eps),
        attack=AttackConfig(steps=args.steps, restarts=args.restarts, seed=args.attack_seed),
        bounds=BoundsConfig(method=args.method),
    )


def chosen(args: argparse.Namespace) -> list[str]:
    """The options that decide what is measured, as they are written on the command line."""
    images = ("images", "path", "dataset", "set_aside", "count", "sample_seed")
    names = (*images, "eps", "steps", "restarts", "attack_seed", "method")
    given = [(name, getattr(args, name, None)) for name in names if name != "sample_seed" or args.count is not None]
    words = [word for name, value in given if value is not None for word in (f"--{name.replace('_', '-')}", str(value))]
    methods = getattr(args, "methods", None)
    return words if methods is None else [*words, "--methods", *methods]
