"""Arguments that several commands share: which images, which radius, which attack."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..core import ImageSet, Normalization, SelectionConfig
    from ..networks import Network

EPS = "1/255"
"""Default of `--eps`, as it is written."""


def add_images(parser: argparse.ArgumentParser) -> None:
    """`--images`, `--path`, `--dataset`, `--download`, `--set-aside`, `--count`, `--sample-seed`, normalisation."""
    group = parser.add_argument_group("images")
    group.add_argument(
        "--images", default="embedded", help="image source: embedded, cifar100, tinyimagenet, npz, folder, properties"
    )
    group.add_argument("--path", type=Path, help="folder or file of the source")
    group.add_argument("--dataset", help="class names and size of an npz or folder: cifar100 or tinyimagenet")
    group.add_argument("--download", action="store_true", help="download the data set when it is missing")
    group.add_argument(
        "--set-aside",
        type=int,
        metavar="N",
        help="of training images, the N that `train` keeps aside (by default 5000): for choosing between networks",
    )
    group.add_argument("--count", type=int, help="use this many images, drawn from --sample-seed (default: all)")
    group.add_argument("--sample-seed", type=int, default=0, help="seed of that draw (default 0)")
    add_normalization(parser)


def add_normalization(parser: argparse.ArgumentParser) -> None:
    """`--mean`, `--std`, `--pixels`: what the network expects, where no card says it."""
    group = parser.add_argument_group("normalisation", "of the network's input; needed where the network has no card")
    text = "{} that pixels in [0, 1] are normalised with, one number or one a channel"
    group.add_argument("--mean", type=float, nargs="+", metavar="M", help=text.format("mean"))
    group.add_argument("--std", type=float, nargs="+", metavar="S", help=text.format("standard deviation"))
    group.add_argument("--pixels", action="store_true", help="the network takes pixels in [0, 1] as they are")


def fitted(args: argparse.Namespace) -> tuple[Network, ImageSet]:
    """The opened network and the images the arguments ask for, made to fit it.

    Images come first, as it takes seconds to open a network; property files are read with the network's normalisation.
    """
    images = None if args.images == "properties" else images_from(args)
    from ..networks import fit_images, open_network, stated

    network = open_network(args.network)
    if images is None:
        given = stated(args.mean, args.std, args.pixels, network.input_shape[0])
        images = images_from(args, network, given)
    return network, fit_images(network, images, mean=args.mean, std=args.std, pixels=args.pixels)


def say_first(network: Network, images: ImageSet, eps: str, methods: Sequence[str]) -> None:
    """Print the first line of a run, what it assumes and where each came from, and which of `methods` are refused."""
    from ..bounds import held_methods
    from ..networks import first_line

    print(first_line(network, images, f"{eps} ({'the default' if eps == EPS else '--eps'})"), flush=True)
    if methods:
        held_methods(network, methods, print)


def images_from(
    args: argparse.Namespace, network: Network | None = None, normalization: Normalization | None = None
) -> ImageSet:
    """The images the arguments ask for: test images, or of the training images those set aside.

    Args:
        network, normalization: what property files are about, where neither data set nor card says it.
    """
    from ..core import require
    from ..images import load_images

    aside = args.set_aside
    card = aside is not None and getattr(args, "write_card", False)
    require(not card, "--write-card with --set-aside", aside, "one of the two: a card's figures are of test images")
    split: dict[str, Any] = (
        {"split": "train"} if aside is not None and args.images in ("cifar100", "tinyimagenet", "npz") else {}
    )
    known: dict[str, Any] = {"dataset": args.dataset}
    if network is not None and args.dataset is None:
        known = _known(network, normalization)
    images = load_images(args.images, path=args.path, download=args.download, **known, **split)
    if aside is not None:
        from ..training import split as parted  # torch, which the other images do without

        allowed = f"1 to {len(images) - 1}, fewer than {images.source} has"
        require(0 < aside < len(images), "--set-aside", aside, allowed)
        images = parted(images, aside)[1]
    return images if args.count is None else images.sample(args.count, args.sample_seed)


def _known(network: Network, normalization: Normalization | None) -> dict[str, Any]:
    """What a network says of the property files it is to read."""
    from ..images import DATASETS

    normalization = network.normalization or normalization
    if network.card.dataset in DATASETS and normalization is not None:
        return {"dataset": network.card.dataset, "normalization": normalization}
    names = [f"class {number}" for number in range(network.classes)]
    return {} if normalization is None else {"class_names": names, "normalization": normalization}


def add_selection(parser: argparse.ArgumentParser) -> None:
    """`--eps`, `--steps`, `--restarts`, `--attack-seed`, `--method`."""
    group = parser.add_argument_group("filter")
    group.add_argument("--eps", default=EPS, help="radius in pixel units, as 2/255 or 0.0078 (default 1/255)")
    group.add_argument("--steps", type=int, default=100, help="PGD steps (default 100)")
    group.add_argument("--restarts", type=int, default=20, help="PGD restarts (default 20)")
    group.add_argument("--attack-seed", type=int, default=0, help="seed of the random starts (default 0)")
    group.add_argument("--method", default="crown", help="bound method that decides 'verified' (default crown)")


def selection_from(args: argparse.Namespace) -> SelectionConfig:
    """Settings of the funnel the arguments ask for."""
    from ..core import AttackConfig, BoundsConfig, SelectionConfig, parse_eps

    return SelectionConfig(
        eps=parse_eps(args.eps),
        attack=AttackConfig(steps=args.steps, restarts=args.restarts, seed=args.attack_seed),
        bounds=BoundsConfig(method=args.method),
    )


def stated_words(args: argparse.Namespace) -> list[str]:
    """The options that state a normalisation, as they are written on the command line."""
    given = [(name, getattr(args, name, None)) for name in ("mean", "std")]
    words = [[f"--{name}", *(f"{number:.9g}" for number in values)] for name, values in given if values is not None]
    return [word for option in words for word in option] + (["--pixels"] if getattr(args, "pixels", False) else [])


def _words(args: argparse.Namespace, names: Sequence[str]) -> list[str]:
    given = [(name, getattr(args, name, None)) for name in names]
    return [word for name, value in given if value is not None for word in (f"--{name.replace('_', '-')}", str(value))]


def chosen(args: argparse.Namespace) -> list[str]:
    """The options that decide what is measured, as they are written on the command line."""
    images = ("images", "path", "dataset", "set_aside", "count", *(() if args.count is None else ("sample_seed",)))
    words = [*_words(args, images), *stated_words(args)]
    words += _words(args, ("eps", "steps", "restarts", "attack_seed", "method"))
    methods = getattr(args, "methods", None)
    return words if methods is None else [*words, "--methods", *methods]
