"""Draw a whole benchmark from a seed and write it: VNN-COMP's `generate_properties.py`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import ImageError, ParameterError, SelectionError, require

if TYPE_CHECKING:
    from ..benchmark import Draw
    from ..core import ImageSet
    from ..selection import Selection

HELP = "draw instances from a seed and the recorded selections; write instances.csv, vnnlib/ and a manifest"
LAYOUTS = ("flat", "vnncomp")
DATA_HINT = (
    "To get the images: --download fetches them; --images npz --path FILE --dataset cifar100 reads an archive; "
    "--images embedded takes the twenty images that are here already"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("seed", type=int, metavar="SEED", help="of the draw; another seed gives other instances")
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="of onnx/ (default: all with a selection)")
    images = parser.add_argument_group("images")
    images.add_argument(
        "--images",
        help="image source: cifar100, tinyimagenet, npz, folder, properties, embedded (default: the selected images "
        "kept beside the selections, else the data set of each network, in data/)",
    )
    images.add_argument("--path", type=Path, help="folder or file of the source")
    images.add_argument("--dataset", help="class names and normalisation of an npz or folder: cifar100 or tinyimagenet")
    images.add_argument("--download", action="store_true", help="download the data set when it is missing")
    images.add_argument("--eps", help="with --images embedded: run the funnel on them at this radius, as 3/255")
    drawn = parser.add_argument_group("draw")
    modes = (
        "hard: open images; mixed: attackable ones among them; stratified: easy, middle and hard ones in equal parts"
    )
    drawn.add_argument("--mode", default="hard", help=modes)
    drawn.add_argument("--share", type=float, default=0.15, help="of attackable images in mode mixed (default 0.15)")
    files = parser.add_argument_group("files")
    files.add_argument("--out", type=Path, help="a folder of its own (default: the root of the checkout, in place)")
    files.add_argument("--layout", default="flat", help="flat, or vnncomp: 1.0/ and 2.0/ below --out (default flat)")
    files.add_argument("--versions", nargs="+", metavar="V", help="of VNN-LIB: 1.0, 2.0 (default 1.0; vnncomp: both)")
    files.add_argument("--gzip", action="store_true", help="write .vnnlib.gz (and .onnx.gz below --out)")


def run(args: argparse.Namespace) -> None:
    """Draw, write, and say for every network what was drawn."""
    from ..benchmark import check_target, export_benchmark, generation
    from ..images import SOURCES
    from ..properties import VERSIONS

    require(args.layout in LAYOUTS, "--layout", args.layout, " or ".join(LAYOUTS))
    require(args.layout == "flat" or args.out is not None, "--layout", args.layout, "flat without --out FOLDER")
    versions = args.versions or (VERSIONS if args.layout == "vnncomp" else VERSIONS[:1])
    ok = len(set(versions)) == len(versions) and set(versions) <= set(VERSIONS)
    ok = ok and (len(versions) == 1 or args.layout == "vnncomp")
    require(ok, "--versions", versions, " or ".join(VERSIONS) + ", both with --layout vnncomp --out FOLDER")
    require(args.images in (None, *SOURCES), "--images", args.images, ", ".join(SOURCES))
    if args.out is not None:
        check_target(args.out)  # before hours of work, not after
    how = generation.Draw(seed=args.seed, mode=args.mode, share=args.share)
    networks = generation.find_networks()
    for name in args.networks or ():
        require(name in networks, "--networks", name, ", ".join(networks) or "a network in onnx/")
    networks = {name: path for name, path in networks.items() if name in (args.networks or networks)}
    if args.images == "embedded":
        pool, selections = _embedded(args, networks, how)
    else:
        require(args.eps is None, "--eps", args.eps, "nothing but with --images embedded", "A selection has its radius")
        selections = generation.recorded_selections(networks)
        _require_selections(selections, networks, args.networks)
        pool = _load(args, selections)
    print(f"seed {how.seed}, mode {how.mode}, on {generation.assumed_of(selections, pool)}", flush=True)
    instances = generation.draw_instances(selections, networks, pool, how)
    manifest = generation.facts(selections, how)
    if args.out is None:
        files = generation.write_in_place(instances, manifest, version=versions[0], gzip=args.gzip)
        where = f"instances.csv, vnnlib/ ({len(files) - 1} properties) and vnnlib/manifest.json"
    else:
        report = export_benchmark(
            instances, args.out, manifest=manifest, versions=versions, gzip=args.gzip, layout=args.layout
        )
        where = f"{args.out} ({len(report.files)} files, {report.megabytes:.1f} MB)"
    for name, selection in selections.items():
        wanted, timeout = generation.plan(name)
        drawn = how.of(selection)
        attackable = sum(verdict.status == "attacked" for verdict in drawn)
        note = f", {attackable} of them attackable" if attackable else ""
        note += f"; only {len(selection.of('open'))} are open" if len(drawn) < wanted else ""
        print(f"{name}: {len(drawn)} of {wanted} instances, {timeout} s each{note}")
    for name in (name for name in networks if name not in selections):
        print(f"{name}: no selection, left out")
    print(f"seed {args.seed}, {sum(i.timeout for i in instances)} s in all: {where}")


def _require_selections(selections: Mapping[str, Selection], networks: Mapping[str, Path], named: list | None) -> None:
    missing = [name for name in named or networks if name not in selections]
    if missing if named else not selections:
        first = (missing or ["NETWORK"])[0]
        raise SelectionError(
            f"vnnlib/selected: found no selection of {', '.join(missing) or 'any network'}; allowed: NETWORK.csv. "
            f"Record one: python -m nbutils select {first} --images cifar100 --export vnnlib/selected/{first}.csv; "
            "or take --images embedded."
        )


def _load(args: argparse.Namespace, selections: Mapping[str, Selection]) -> list[ImageSet]:
    """The images asked for, or the data set of each network."""
    from ..benchmark import generation
    from ..images import load_images

    if args.images is not None:
        return [load_images(args.images, path=args.path, dataset=args.dataset, download=args.download)]
    require(args.dataset is None, "--dataset", args.dataset, "nothing without --images npz or folder")
    if args.path is None and not args.download:
        kept = generation.kept_images(selections)
        if kept is not None:
            return kept
    unknown = [name for name, selection in selections.items() if selection.dataset is None]
    require(not unknown, f"data set of {unknown}", None, "one named by the network's card, or --images SOURCE")
    names = sorted({selection.dataset for selection in selections.values() if selection.dataset})
    require(len(names) == 1 or args.path is None, "--path", str(args.path), f"nothing for several data sets, {names}")
    try:
        return [load_images(name, path=args.path, download=args.download) for name in names]
    except ImageError as problem:
        raise ImageError(f"{problem} {DATA_HINT}.") from problem


def _embedded(
    args: argparse.Namespace, networks: Mapping[str, Path], how: Draw
) -> tuple[list[ImageSet], dict[str, Selection]]:
    """The twenty images, and what is recorded of a whole test set of them, or else what the funnel says at `--eps`."""
    from ..benchmark import generation
    from ..core import IMAGES, PUBLISHED_EPS, SelectionConfig, parse_eps
    from ..images import load_images
    from ..networks import parse, ports, read_bytes

    images = load_images("embedded", path=args.path, dataset=args.dataset, download=args.download)
    known = generation.recorded_selections(networks)
    if known and not args.networks:  # as with other images: one without a selection may take minutes an image
        networks = {name: path for name, path in networks.items() if name in known}
    recorded = {} if args.eps else known
    settings = SelectionConfig(eps=parse_eps(args.eps) if args.eps else PUBLISHED_EPS)
    selections = {}
    for name, path in networks.items():
        if ports(parse(read_bytes(path), path), path).input_shape != images.levels.shape[1:]:
            continue
        whole = name in recorded and sum(recorded[name].counts.values()) >= IMAGES  # a sample says nothing of the rest
        kept = generation.among(recorded[name], images) if whole else None
        if kept is None or not how.of(kept):
            radius = f"{args.eps} (--eps)" if args.eps else "1/255 (the default)"
            print(
                f"{name}: no selection of the whole test set, running the funnel on these {len(images)} images, "
                f"{images.origin.order}; normalisation from the network's card; radius {radius}",
                flush=True,
            )
            kept = generation.fresh_selection(path, images, settings)
        selections[name] = kept
    if not any(how.of(selection) for selection in selections.values()):
        found = "; ".join(f"{name}: {dict(kept.counts)}" for name, kept in selections.items()) or "no network that fits"
        raise ParameterError(
            f"--images embedded at radius {args.eps or '1/255'}: found no open image ({found}); allowed: a radius that "
            "leaves some, as --eps 2/255."
        )
    return [images], selections
