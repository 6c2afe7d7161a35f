"""`train` on the command line: one run in one folder, resumed by the same command."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import require
from .arguments import add_normalization, stated_words

if TYPE_CHECKING:
    from ..core import ImageSet
    from ..training import TrainConfig

HELP = "train one of the five networks: adversarial and certified losses, resumable, ONNX out"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("network", help="name of the architecture, as CIFAR100_resnet_small")
    parser.add_argument("--recipe", default="sabr", help="named settings (default sabr)")
    parser.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change one setting of the recipe, for example --set epochs=40; repeatable",
    )
    parser.add_argument("--images", default="npz", help="image source of the training images (default npz)")
    parser.add_argument("--path", type=Path, help="file or folder of the source")
    parser.add_argument("--dataset", help="class names and normalisation of an npz or folder: cifar100, tinyimagenet")
    add_normalization(parser)
    parser.add_argument("--download", action="store_true", help="download the data set when it is missing")
    parser.add_argument(
        "--test-images",
        type=Path,
        metavar="PATH",
        help="test images of an npz or folder: training images equal to one of them are left out",
    )
    parser.add_argument(
        "--keep-equal", action="store_true", help="train on images that equal a test image too, as older runs did"
    )
    parser.add_argument("--out", type=Path, help="folder of the run (default runs/NETWORK); it is resumed from there")
    parser.add_argument(
        "--start", type=Path, help="what a new run begins with: a checkpoint's averaged weights, or NETWORK.onnx"
    )
    parser.add_argument(
        "--new-head",
        action="store_true",
        help="of --start, take convolutions and norms alone, and draw the linear layers: for other classes or pictures",
    )
    parser.add_argument(
        "--teacher",
        dest="teachers",
        type=Path,
        action="append",
        default=[],
        metavar="NETWORK.onnx",
        help="classifier whose probabilities are mixed into the labels, in the share --set soft_labels=; repeatable",
    )
    parser.add_argument("--until", type=int, help="stop after this many epochs of the schedule")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as many as torch takes)")
    parser.add_argument("--export", type=Path, help="folder that gets NETWORK.onnx and its card at the end")
    parser.add_argument(
        "--costs", action="store_true", help="measure each loss beside the raw pass instead of training"
    )
    parser.add_argument(
        "--fit-box",
        type=int,
        nargs="?",
        const=24,
        metavar="N",
        help="find the box of crown-row that fits --start, on N images set aside (default 24), and stop",
    )
    parser.add_argument(
        "--curves",
        type=Path,
        metavar="FILE.png",
        help="draw the log of the run in --out, finished or going on, and stop",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> None:
    """Train, then export where asked to; prints the last row of the log."""
    import torch

    from ..core import check_writable, root
    from ..networks import ARCHITECTURES, stated
    from ..training import LAST, SOURCES, account, export_onnx, load_network, recipe, train, training_images

    if args.threads is not None:
        require(args.threads >= 1, "threads", args.threads, "1 or more")
        torch.set_num_threads(args.threads)
    if args.until is not None:
        require(args.until >= 1, "--until", args.until, "1 epoch or more")
    if args.export is not None:
        check_writable(args.export)  # before days of work, not after
    out = args.out or root() / "runs" / args.network
    if args.costs:
        print_costs(args.network, args.device)
        return
    if args.curves is not None:
        draw_curves(out, args.curves)
        return
    config = recipe(args.recipe, network=args.network, **parse_changes(args.changes))
    sources = [name for name in SOURCES if name != "embedded"]  # twenty test images
    require(args.images in sources, "--images", args.images, ", ".join(sources) + ", which hold training images")
    channels = ARCHITECTURES[config.network].input_shape[0]
    images = training_images(
        args.images,
        path=args.path,
        dataset=args.dataset,
        download=args.download,
        normalization=stated(args.mean, args.std, args.pixels, channels),
        tests=args.test_images,
        keep_equal=args.keep_equal,
    )
    changed = any(text.startswith("eps=") for text in args.changes)
    print(first_line(config, images, "--set eps" if changed else f"recipe {args.recipe}"), flush=True)
    if args.fit_box is not None:
        print_box_fit(config, images, args.start, args.device, args.fit_box)
        return
    train(
        config,
        images,
        out,
        start=args.start,
        new_head=args.new_head,
        teachers=args.teachers,
        device=args.device,
        progress=not args.quiet,
        until=args.until,
    )
    made_with, network, history = load_network(out / LAST)
    print(json.dumps(history[-1]))
    if args.export is not None:
        target = export_onnx(
            network,
            args.export / f"{args.network}.onnx",
            dataset=args.dataset or args.images,
            normalization=images.normalization,
            recipe=account(
                command_line(args), made_with, history, args.start, args.teachers, images.origin.notes, args.new_head
            ),
        )
        print(target)


def first_line(config: TrainConfig, images: ImageSet, radius_from: str) -> str:
    """What the run assumes, and where each came from."""
    origin, norm = images.origin, images.normalization
    hint = "Give --mean and --std, --pixels, or --dataset"
    require(norm is not None, f"normalisation of {images.source}", None, "what the network is to be fed with", hint)
    assert norm is not None
    mean, std = (" ".join(f"{value:.6g}" for value in values) for values in (norm.mean, norm.std))
    return (
        f"{config.network} on {len(images) - config.validation} images of {images.source}, {origin.order}, "
        f"{config.validation} set aside; normalisation mean {mean}, std {std}, {origin.normalization}; "
        f"radius {config.eps * 255:.6g}/255 ({radius_from})" + "".join(f"; {note}" for note in origin.notes)
    )


def draw_curves(folder: Path, target: Path) -> None:
    """Draw the log of the run in `folder` as the PNG file `target`, and print what it says."""
    from ..core import write_atomically
    from ..findings import of_training
    from ..notebook import png
    from ..plots import figure_training
    from ..training import read_log

    require(target.suffix == ".png", "--curves", str(target), "a file name ending in .png")
    log = read_log(folder)
    picture = png(figure_training(log))
    write_atomically(target, lambda file: file.write(picture))
    print(of_training(log).replace("**", ""))
    print(target)


def print_costs(network: str, device: str) -> None:
    """A line for each loss: milliseconds an image and multiples of the raw forward and backward pass."""
    from ..training import measure_losses, pick_device

    for cost in measure_losses(network, device=pick_device(device).type):
        name = f"{cost.name}, {cost.images} images"
        print(f"{name:>32}  {cost.milliseconds:9.2f} ms an image  {cost.ratio:6.1f} x the raw pass")


def print_box_fit(config: TrainConfig, images: ImageSet, start: Path | None, device: str, count: int) -> None:
    """What rows with intervals of small boxes lose beside CROWN, the box that fits, and its rows of more images."""
    from ..core import Box
    from ..networks import ARCHITECTURES
    from ..training import first_weights, fit_box, nearest_rows, pick_device, split

    require(start is not None, "--start", start, "the network that the box is to fit, a checkpoint or an ONNX file")
    assert start is not None
    aside = split(images, config.validation, ARCHITECTURES[config.network].input_shape[-1])[1]
    require(1 <= count <= len(aside), "--fit-box", count, f"1 to {len(aside)}, the images set aside")
    network = first_weights(config, start)[1].to(pick_device(device)).eval()
    fit = fit_box(network, aside.sample(count, 0), config.eps)
    print(f"{start.name}, {fit.images} of {count} images set aside are right, eps {fit.eps * 255:g}/255, nearest rival")
    print(f"mean margin {fit.margin:.2f}; CROWN loses {fit.crown:.2f} of it")
    print("box / eps   the row loses   correlation with CROWN's bound")
    for size, lost, correlation in zip(fit.boxes, fit.lost, fit.correlation, strict=True):
        print(f"{size:9g}   {lost:13.2f}   {correlation:30.3f}")
    more = aside.sample(min(len(aside), 1000), 0)
    assert more.normalization is not None
    rows = nearest_rows(network, Box.around(more.pixels, more.normalization, config.eps), more.labels, fit.fitting)
    print(f"the row loses what CROWN does with --set box={fit.fitting:.3g}")
    share = f"{(rows > 0).mean():.1%} of {len(more)} images set aside"
    print(f"with it the row is positive on {share}: a guess, rather high, at what CROWN proves")


def parse_changes(changes: list[str]) -> dict[str, Any]:
    """Settings from NAME=VALUE texts; the value takes the type of the setting's default."""
    from ..training import TrainConfig

    types: dict[str, Any] = {field.name: type(field.default) for field in dataclasses.fields(TrainConfig)}
    parsed: dict[str, Any] = {}
    for text in changes:
        name, found, value = text.partition("=")
        require(bool(found) and name in types, "--set", text, "NAME=VALUE with a NAME of " + ", ".join(types))
        wanted = types[name]
        if wanted is bool:
            require(value in ("true", "false"), f"--set {name}", value, "true or false")
            parsed[name] = value == "true"
            continue
        try:
            parsed[name] = wanted(value)
        except ValueError:
            require(False, f"--set {name}", value, {int: "a whole number", float: "a number"}[wanted])
    return parsed


def command_line(args: argparse.Namespace) -> str:
    """The command with the options that decide the weights; on a CPU they do not depend on the device."""
    from ..training import pick_device

    sets = [f"--set {shlex.quote(text)}" for text in args.changes]
    sets += [f"--teacher {shlex.quote(path.name)}" for path in args.teachers]
    device = ["--device cuda"] if pick_device(args.device).type == "cuda" else []
    more = [*sets, *stated_words(args), *device]
    return " ".join([f"python -m nbutils train {args.network} --recipe {args.recipe}", *more])
