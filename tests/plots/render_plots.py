"""Render every figure of `nbutils.plots` to PNG: `python tests/render_plots.py FOLDER [--real] [--grey]`.

Without `--real` the records are made up (seconds); with it they come from CIFAR100_resnet_small on the embedded
images at 3/255 (about a minute). `--grey` adds a copy of each picture without colour.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from PIL import Image
from render_training import made_training

from nbutils import plots
from nbutils.analysis import RadiusCurve, Slice
from nbutils.core import (
    STATUSES,
    AttackConfig,
    AttackTrace,
    Box,
    ImageSet,
    LayerBounds,
    MarginBounds,
    Margins,
    Normalization,
    Verdict,
    class_margins,
)
from nbutils.images import load_images
from nbutils.networks import Figure
from nbutils.zoo import Entry, Evaluation
from nbutils.zoo.accuracy import Share
from nbutils.zoo.entries import PUBLISHED, NetworkFile

METHODS = ("ibp", "crown-ibp", "crown", "alpha-crown")
EPS = 3 / 255
Drawn = Drawing | Axes


def made_margins(labels: np.ndarray, classes: int, lead: float = 1.5) -> Margins:
    """Margins of normal logits in which the true class leads by about `lead`."""
    logits = np.random.default_rng(classes).normal(0, 1.2, (len(labels), classes)).astype(np.float32)
    logits[np.arange(len(labels)), labels] = logits.max(axis=1) + np.float32(lead)
    return class_margins(logits, np.asarray(labels))


def made_trace(
    margins: Margins, shape: tuple[int, ...] = (3, 32, 32), steps: int = 40, restarts: int = 20, drop: float = 1.0,
    stop: bool = False,
) -> AttackTrace:  # fmt: skip
    """Restarts that lower the smallest margin by about `drop`; with `stop`, NaN after the first crossing."""
    rng = np.random.default_rng(steps)
    n = len(margins.labels)
    fall = 1 - np.exp(-np.linspace(0, 4, steps + 1))[None, :, None]
    noise = rng.normal(0, 0.03, (n, steps + 1, restarts)).cumsum(axis=1) * 0.3
    depth = drop * rng.uniform(0.75, 1.05, (n, 1, restarts))
    paths = (margins.smallest[:, None, None] - fall * depth + noise).astype(np.float32)
    used = np.full(n, steps)
    for row in range(n if stop else 0):
        hit = np.flatnonzero((paths[row] <= 0).any(axis=1))
        if len(hit):
            used[row], paths[row, hit[0] + 1 :] = hit[0], np.nan
    lowest = np.nanmin(paths, axis=(1, 2))
    values = margins.values - (margins.smallest - lowest)[:, None] * rng.uniform(0.5, 1, margins.values.shape)
    values = np.maximum(values, lowest[:, None]).astype(np.float32)
    values[np.arange(n), margins.values.argmin(axis=1)] = lowest
    points = np.zeros((n, *shape), dtype=np.float32)
    return AttackTrace(paths, paths.copy(), points, values, margins.rivals, lowest <= 0, used, np.ones(n))


def made_bounds(margins: Margins, trace: AttackTrace, layers: int = 11) -> list[MarginBounds]:
    """Bounds of every method, ever tighter, below what `trace` saw."""
    rng = np.random.default_rng(layers)
    result = []
    for k, method in enumerate(METHODS):
        loss = (60.0, 3.0, 0.6, 0.4)[k] * rng.uniform(0.8, 1.2, margins.values.shape)
        lower = (np.minimum(margins.values, trace.values) - loss).astype(np.float32)
        places = np.arange(layers)
        summed = tuple(
            LayerBounds(f"relu_{place}", 500 + place, np.full(len(lower), 0.05 * (2.6 - 0.5 * k) ** place),
                        np.full(len(lower), min(0.9, 0.03 * (1.5 - 0.1 * k) ** place)))
            for place in places
        )  # fmt: skip
        result.append(MarginBounds(method, lower, margins.rivals, margins.labels, np.ones(len(lower)), 1e-4, summed))
    return result


def made_verdicts(images: ImageSet, margins: Margins, statuses: list[str] | None = None) -> list[Verdict]:
    """Verdicts with all statuses in turn, or those given."""
    verdicts = []
    for row in range(len(images)):
        status = statuses[row] if statuses else STATUSES[row % 4]
        natural = float(margins.smallest[row]) * (-1 if status == "misclassified" else 1)
        rival = int(margins.rivals[row, margins.values[row].argmin()])
        attack = {"attacked": -0.21, "verified": natural - 0.2, "open": 0.34}.get(status)
        step = {"misclassified": "forward", "attacked": ("pgd-10x4", "pgd-100x20")[row % 3 == 0], "open": "pgd-100x20",
                "verified": ("ibp", "crown-ibp", "crown")[row % 3]}[status]  # fmt: skip
        verdicts.append(
            Verdict(
                images.ids[row], int(images.indices[row]), int(images.labels[row]),
                rival if status == "misclassified" else int(images.labels[row]), status, step, natural, attack,
                None if attack is None else rival, None if attack is None else 100,
                {"verified": 0.2, "open": -0.71}.get(status), "crown",
                point=images.normalization.to_network(made_twin(images.pixels[row])) if attack is not None else None,
            )
        )  # fmt: skip
    return verdicts


def made_twin(pixels: np.ndarray) -> np.ndarray:
    """Pixels moved by up to 3/255 along a random sign pattern."""
    signs = np.sign(np.random.default_rng(3).normal(size=pixels.shape))
    return np.clip(pixels + np.float32(EPS) * signs, 0, 1).astype(np.float32)


def made_curve(label: int, seed: int, *, broken: bool = True) -> RadiusCurve:
    """Margins that fall with the radius, bounds faster than the attack."""
    eps = np.linspace(0.25, 6, 24) / 255
    natural = 0.6 + 1.8 * np.random.default_rng(seed).random()
    attack = natural - (0.55 if broken else 0.2) * eps * 255 * (1 - 0.01 * eps * 255)
    lower = {m: natural - k * (eps * 255) ** 1.3 for m, k in zip(METHODS[:3], (6.0, 1.4, 0.75), strict=True)}
    return RadiusCurve(eps, natural, attack.astype(np.float32), lower, label=label, image_id=f"{seed:064x}")


def made_slice(shift: float = 0.0, restarts: int = 12, steps: int = 30) -> Slice:
    """A bent valley with paths that run into it."""
    across, up = np.linspace(-0.3, 1.2, 41), np.linspace(-0.6, 0.9, 41)

    def height(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (1.1 - 1.5 * a - 0.6 * b * b + 0.3 * b + shift).astype(np.float32)

    rng = np.random.default_rng(0)
    ends = np.column_stack([rng.uniform(0.4, 0.95, restarts), rng.uniform(-0.4, 0.7, restarts)])
    paths = np.linspace(0, 1, steps + 1)[:, None, None] ** 0.7 * ends + rng.normal(0, 0.01, (steps + 1, restarts, 2))
    return Slice(across, up, height(*np.meshgrid(across, up)), paths, height(paths[..., 0], paths[..., 1]))


def made_entry(name: str, counts: tuple[int, ...] = (), n: int = 10_000, eps: float = 1 / 255) -> Entry:
    """A network whose card states `counts` images right: clean, PGD, CROWN; without counts it is not trained yet."""
    figures = made_figures(name, counts, n, eps)
    file = NetworkFile(Path(f"{name}.onnx"), "0" * 64, 5.4, 1_352_600, 11, (3, 32, 32), 100, "cifar100", "", figures)
    return Entry(name, file if counts else None, PUBLISHED.get(name))


def made_figures(name: str, counts: tuple[int, ...], n: int, eps: float = 1 / 255) -> dict[str, Figure]:
    """Shares of `n` images as `evaluate` writes them: clean, PGD 100 x 20, CROWN."""
    shares = {step: Share(count, n) for step, count in zip(("clean", "pgd", "crown"), counts, strict=False)}
    return Evaluation(name, "cifar100/test", eps, shares, {}, AttackConfig()).figures("by hand")


ZOO_ONE = [made_entry(name, (3690, 3041, 2103) if name.endswith("small") else ()) for name in PUBLISHED]
ZOO_FIVE = [
    made_entry(name, counts)
    for name, counts in zip(
        PUBLISHED,
        ((5230, 3811, 2240), (5401, 4102, 2775), (5324, 3900, 2989), (5010, 3600, 2600), (3610, 2000, 1400)),
        strict=True,
    )
]
ZOO_FOREIGN = [
    made_entry("mnist_conv", (9870, 9400, 9100), eps=0.1),
    made_entry("CIFAR100_resnet_small", (150, 98, 61), n=300, eps=3 / 255),
    made_entry("a_network_with_a_rather_long_name_of_its_own", (61, 40), n=100),
]


def large_images() -> ImageSet:
    """Four 56 x 56 images with very long names."""
    levels = np.random.default_rng(0).integers(0, 255, (4, 3, 14, 14), dtype=np.uint8).repeat(4, 2).repeat(4, 3)
    names = ("Chihuahua", "black-and-white colobus monkey", "sulphur-crested_cockatoo", "antidisestablishmentarianism")
    normalization = Normalization((0.48, 0.44, 0.39), (0.23, 0.22, 0.22))
    return ImageSet(levels, np.arange(4), np.array([3, 77, 1205, 9999]), "TinyImageNet val", names, normalization)


def made() -> dict[str, Callable[[], Drawn]]:
    """Pictures of made-up records, name -> drawing, ordinary and extreme cases."""
    images = load_images("embedded")
    names = images.class_names
    margins = made_margins(images.labels, 100)
    verdicts = made_verdicts(images, margins)
    trace = made_trace(margins, drop=1.15)
    bounds = made_bounds(margins, trace)
    stopped = made_trace(margins, drop=2.2, stop=True)
    large = large_images()
    large_margins = made_margins(large.labels, 4)
    two = class_margins(np.float32([[1.2, 0.1]]), np.array([0]))
    curves = [made_curve(int(label), row, broken=row % 5 > 0) for row, label in enumerate(images.labels)]
    all_open = made_verdicts(images, margins, ["open"] * 20)
    none_open = made_verdicts(images, margins, ["verified"] * 12 + ["misclassified"] * 8)
    return {
        "grid": lambda: plots.figure_grid(images, verdicts),
        "grid_4x5": lambda: plots.figure_grid(images, verdicts, columns=5),
        "grid_plain": lambda: plots.figure_grid(images.take(range(7))),
        "grid_margins": lambda: plots.figure_grid(images.take(range(3)), margins=made_margins(images.labels[:3], 100)),
        "grid_one": lambda: plots.figure_grid(images.take([0]), verdicts),
        "grid_open": lambda: plots.figure_grid(images, all_open),
        "grid_large": lambda: plots.figure_grid(large, made_verdicts(large, large_margins)),
        "card_attacked": lambda: plots.figure_card(images, 1, verdict=verdicts[1]),
        "card_open": lambda: plots.figure_card(images, 15, verdict=verdicts[15]),
        "card_plain": lambda: plots.figure_card(images, 2, margins=margins),
        "card_large": lambda: plots.figure_card(large, 3, verdict=made_verdicts(large, large_margins)[3]),
        "margins": lambda: plots.draw_margins(margins, 3, class_names=names),
        "margins_wrong": lambda: plots.draw_margins(made_margins(images.labels, 100, -1.0), 3, class_names=names),
        "ladder": lambda: plots.draw_ladder(margins, trace, bounds, row=3, class_names=names),
        "ladder_broken": lambda: plots.draw_ladder(
            margins, stopped, made_bounds(margins, stopped), row=5, class_names=names
        ),
        "ladder_crown": lambda: plots.draw_ladder(margins, trace, bounds[2:3], row=3, class_names=names, top=6),
        "ladder_two": lambda: plots.draw_ladder(two, made_trace(two), made_bounds(two, made_trace(two))),
        "ladder_margins": lambda: plots.draw_ladder(margins, row=1),
        "trajectories": lambda: plots.draw_trajectories(trace, 3),
        "trajectories_hit": lambda: plots.draw_trajectories(made_trace(margins, drop=1.75), 3),
        "trajectories_stop": lambda: plots.draw_trajectories(stopped, 4),
        "trajectories_start": lambda: plots.draw_trajectories(made_trace(margins, steps=0, restarts=3), 0),
        "slice": lambda: plots.draw_slice(made_slice()),
        "slice_quiet": lambda: plots.draw_slice(made_slice(2.0)),
        "radius": lambda: plots.draw_radius(curves[1], class_names=names),
        "radius_unbroken": lambda: plots.draw_radius(curves[0], class_names=names),
        "radii": lambda: plots.draw_radii(curves, class_names=names),
        "radii_many": lambda: plots.draw_radii([made_curve(0, row, broken=row % 7 > 0) for row in range(200)]),
        "layers": lambda: plots.figure_layers(bounds, 3),
        "layers_one": lambda: plots.figure_layers(bounds[2:3]),
        "funnel": lambda: plots.figure_funnel(verdicts, images),
        "funnel_open": lambda: plots.figure_funnel(all_open, images, thumbnails=20),
        "funnel_none": lambda: plots.figure_funnel(none_open, images),
        "zoo_one": lambda: plots.draw_zoo(ZOO_ONE),
        "zoo_none": lambda: plots.draw_zoo(ZOO_ONE[1:2]),
        "zoo_five": lambda: plots.draw_zoo(ZOO_FIVE),
        "zoo_foreign": lambda: plots.draw_zoo(ZOO_FOREIGN),
        "zoo_sample": lambda: plots.draw_zoo(
            ZOO_FIVE, sample={e.name: made_figures(e.name, (10, 7, 4), 20) for e in ZOO_FIVE[:2]}
        ),
        "zoo_sample_one": lambda: plots.draw_zoo(
            ZOO_ONE, sample={"CIFAR100_resnet_small": made_figures("", (10, 10, 0), 20)}
        ),
        "pools_one": lambda: plots.draw_pools(ZOO_ONE),
        "pools_five": lambda: plots.draw_pools(ZOO_FIVE),
        "pools_foreign": lambda: plots.draw_pools(ZOO_FOREIGN),
        "funnel_bars": lambda: plots.draw_funnel(verdicts),
        **made_training(),
    }


def real() -> dict[str, Callable[[], Drawn]]:
    """Pictures of what the small network does on the embedded images at 3/255."""
    from nbutils.analysis import radius_curve
    from nbutils.analysis.plane import box_slice
    from nbutils.attacks import run_attack
    from nbutils.bounds import margin_bounds
    from nbutils.core import AttackConfig, BoundsConfig, SelectionConfig
    from nbutils.networks import open_network
    from nbutils.selection import run_funnel

    images, network = load_images("embedded"), open_network("CIFAR100_resnet_small")
    names = images.class_names
    box = Box.around(images.pixels, images.normalization, EPS)
    margins = class_margins(network.judge(box.center), images.labels)
    pgd = AttackConfig(steps=40, restarts=12, early_stop=False)
    verdicts = run_funnel(network, images, SelectionConfig(eps=EPS, attack=AttackConfig(steps=40, restarts=10)))
    pick = {status: [r for r, v in enumerate(verdicts) if v.status == status] for status in STATUSES}
    rows = [pick[status][0] for status in STATUSES[1:] if pick[status]]
    some = box.take(rows)
    trace = run_attack(network, some, images.labels[rows], [images.ids[r] for r in rows], pgd, keep_paths=True)
    bounds = [
        margin_bounds(network, some, images.labels[rows], BoundsConfig(method=method), layers=True)
        for method in METHODS[:3]
    ]
    few = Margins(margins.values[rows], margins.rivals[rows], margins.labels[rows], margins.predicted[rows])
    radii = np.array([0.5, 1, 1.5, 2, 3, 4]) / 255
    quick = AttackConfig(steps=20, restarts=4)
    curves = [
        radius_curve(network, images.pixels[r], images.normalization, int(images.labels[r]), images.ids[r], radii,
                     attack=quick, bounds=[BoundsConfig(method=m) for m in ("crown-ibp", "crown")])
        for r in rows
    ]  # fmt: skip
    scenes: dict[str, Callable[[], Drawn]] = {
        "grid": lambda: plots.figure_grid(images, verdicts),
        "funnel": lambda: plots.figure_funnel(verdicts, images),
        "layers": lambda: plots.figure_layers(bounds),
        "radii": lambda: plots.draw_radii(curves, class_names=names),
    }
    for k, r in enumerate(rows):
        status = verdicts[r].status
        slices = box_slice(network, some, int(images.labels[r]), trace, k)
        scenes |= {
            f"card_{status}": lambda r=r: plots.figure_card(images, r, verdict=verdicts[r]),
            f"ladder_{status}": lambda k=k: plots.draw_ladder(few, trace, bounds, row=k, class_names=names),
            f"trajectories_{status}": lambda k=k: plots.draw_trajectories(trace, k),
            f"slice_{status}": lambda s=slices: plots.draw_slice(s),
            f"radius_{status}": lambda k=k: plots.draw_radius(curves[k], class_names=names),
        }
    return scenes


def render(scenes: dict[str, Callable[[], Drawn]], folder: Path, *, grey: bool = False) -> Iterator[Path]:
    """Draw every scene into `folder/NAME.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in scenes.items():
        drawn = draw()
        figure = drawn if isinstance(drawn, Drawing) else drawn.get_figure(root=True)
        path = folder / f"{name}.png"
        figure.savefig(path)
        if grey:
            with Image.open(path) as picture:
                picture.convert("L").save(folder / f"{name}.grey.png")
        yield path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the PNG files go")
    parser.add_argument("--real", action="store_true", help="records of the small network instead of made-up ones")
    parser.add_argument("--grey", action="store_true", help="also write every picture without colour")
    options = parser.parse_args()
    for path in render(real() if options.real else made(), options.folder, grey=options.grey):
        print(path)


if __name__ == "__main__":
    main()
