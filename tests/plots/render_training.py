"""Made-up records of training for the pictures; `render_plots.made` takes the scenes over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nbutils import plots
from nbutils.core import ImageSet, LayerBounds, MarginBounds
from nbutils.images import load_images
from nbutils.training import BoxLosses, Fed, Fusion, Snapshot, Step, TrainConfig, TrainingLog, recipe, training_log
from nbutils.training.losses import Batch

EPS = 1 / 255
SHOWN = {"certified_from": 0, "ramp_epochs": 4, "weight": 0.15, "box": 0.06, "box_start": 0.002}


def made_log(epochs: int = 12, config: TrainConfig | None = None, *, validation: bool = True) -> TrainingLog:
    """A run whose losses fall and whose accuracies rise."""
    config = recipe("sabr", epochs=12, **SHOWN) if config is None else config
    rows = []
    for epoch in range(epochs):
        weight, box, _ = config.certified_at(epoch + 1)
        certified = 3e8 * 10 ** (-1.1 * epoch) + 2 if weight else 0.0
        base = 5.5 - 0.3 * epoch
        row = {"epoch": epoch, "loss": base + weight * certified, "base": base, "certified": certified}
        row |= {
            "accuracy": epoch / 20,
            "lr": config.lr * (1 - epoch / 12),
            "weight": weight,
            "box": box,
            "seconds": 9.5,
        }
        if validation:
            row |= {"validation_clean": 4.0 * epoch, "validation_pgd": 3.0 * epoch}
        rows.append(row)
    return training_log(config, rows)


def made_steps(log: TrainingLog, batches: int = 5) -> list[Step]:
    """Batches around the epochs of a log, and a few after its last one."""
    rng = np.random.default_rng(0)
    known = [float(value) for value in log.loss] or [5.0]
    return [
        Step(epoch + (batch + 1) / batches, loss * float(rng.uniform(0.7, 1.3)), 1.0, 1.0, 0.5)
        for epoch, loss in enumerate([*known, known[-1]])
        for batch in range(batches)
    ]


def made_boxes(gain: float = 4.0, *, crown: bool = True) -> BoxLosses:
    """Losses that grow in proportion to intervals which widen `gain` times a layer, five ReLUs."""
    fractions = np.array([0.001, 0.01, 0.06, 0.25, 1.0])
    widths = fractions[:, None] * 0.03 * gain ** np.arange(6)
    ibp = 1.5 + widths[:, -1]
    certified = {"ibp": ibp, **({"crown-ibp": 1.5 + widths[:, -1] / 3} if crown else {})}
    return BoxLosses(fractions, EPS, 8, 100, 1.2, 1.5, certified, widths, np.clip(widths[:, 1:], 0, 1))


def made_fusion() -> Fusion:
    """Four images; fused at most twice the plain loss."""
    fractions = np.array([0.01, 0.06, 0.25, 1.0])
    plain = np.outer(1 + 20 * fractions, [0.1, 1.0, 1.5, 3.0])
    fused = plain * (1 + fractions)[:, None]
    return Fusion(fractions, EPS, plain, fused, 100, np.array([1.0, 1.2, 0.9]), np.array([0.05, 0.05, 0.06]))


def made_fed(count: int = 8) -> Fed:
    """Embedded images flipped, and moved by a random sign pattern of 1.5/255."""
    images, config = load_images("embedded").take(range(count)), recipe("sabr", attack_eps=1.5)
    pixels = images.pixels[..., ::-1].copy()
    points = pixels + np.float32(1.5 / 255) * np.sign(np.random.default_rng(0).normal(size=pixels.shape)).astype("f4")
    clean = torch.from_numpy(images.normalization.to_network(pixels))
    return Fed(images, pixels, points, Batch(clean, clean, clean, clean, torch.from_numpy(images.labels)), config)


def made_snapshots(count: int = 6) -> tuple[Snapshot, Snapshot, ImageSet]:
    """Before: margins around 0, bounds far below. After: the first images proven, the last wrong."""
    images = load_images("embedded").take(range(count))
    lead = np.linspace(9, -7, count)

    def shot(name: str, natural: np.ndarray, loss: float, share: float) -> Snapshot:
        lower = np.repeat((natural - loss)[:, None], 99, axis=1).astype(np.float32)
        layers = tuple(
            LayerBounds(f"relu{k}", 100 * (4 - k), np.full(count, 0.1 * k), np.full(count, min(1.0, share * k)))
            for k in range(1, 4)
        )
        others = np.zeros((count, 99), np.int64)
        bounds = MarginBounds("crown-ibp", lower, others, images.labels, np.ones(count), 1e-4, layers)
        return Snapshot(name, EPS, images.labels, natural.astype("f4"), (natural - 0.3).astype("f4"), bounds)

    return shot("before", np.full(count, -0.2), 4e6, 0.5), shot("after", lead, 1.5, 0.05), images


def made_training() -> dict[str, Callable[[], Figure | Axes]]:
    """Every picture of training once or twice."""
    log, (before, after, images) = made_log(), made_snapshots()
    adversarial = made_log(12, recipe("adversarial", epochs=12), validation=False)
    return {
        "training": lambda: plots.figure_training(log, made_steps(log)),
        "training_running": lambda: plots.figure_training(made_log(3), made_steps(made_log(3), 20)),
        "training_new": lambda: plots.figure_training(made_log(0), made_steps(made_log(0))),
        "training_empty": lambda: plots.figure_training(made_log(0)),
        "training_adversarial": lambda: plots.figure_training(adversarial),
        "boxes": lambda: plots.figure_boxes(made_boxes()),
        "boxes_steep": lambda: plots.figure_boxes(made_boxes(400.0)),
        "boxes_losses": lambda: plots.draw_box_losses(made_boxes(crown=False)),
        "boxes_widening": lambda: plots.draw_widening(made_boxes()),
        "fusion": lambda: plots.figure_fusion(made_fusion()),
        "fed": lambda: plots.figure_fed(made_fed()),
        "fed_one": lambda: plots.figure_fed(made_fed(1)),
        "change": lambda: plots.figure_change(before, after, images, 3),
        "change_all_seen": lambda: plots.draw_change(before, after, images, 6),
        "change_unstable": lambda: plots.draw_unstable_change(before, after, images, 3),
    }
