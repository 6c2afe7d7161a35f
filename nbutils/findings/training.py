"""One sentence under each figure of a training run: what its numbers say."""

from __future__ import annotations

import math
import os

import numpy as np

from ..core import Margins, root
from ..networks import Network
from ..plots import compact
from ..training import BoxLosses, Fed, Fusion, Snapshot, TrainingLog


def of_fed(fed: Fed) -> str:
    """How far adversarial points are from the images, and where in the box they lie."""
    config = fed.config
    change = np.abs(fed.points - fed.pixels) * 255
    radius = config.eps * config.attack_eps * 255
    edge = float((change > 0.99 * radius).mean())
    return (
        f"Every epoch crops and flips anew, so no two batches are alike. The attack moves a channel by "
        f"{change.mean():.2f}/255 on average and at most {change.max():.2f}/255; {edge:.0%} of the channels end on the "
        f"edge of its {radius:g}/255. One step is a weak attack, but it is made anew from a random start for every "
        "batch, and against the network as it is at that moment."
    )


def of_boxes(losses: BoxLosses) -> str:
    """Why the certified loss of the whole box is out of reach and that of a small one is not."""
    ibp, chance = losses.certified["ibp"], math.log(losses.classes)
    layers = losses.widths.shape[1] - 1
    gain = float(losses.widths[-1, -1] / losses.widths[-1, 0])
    text = (
        f"From the input to the last of {layers} ReLUs the intervals of the largest box become **{compact(gain)} "
        f"times** as wide, about {compact(gain ** (1 / layers))} times a layer: |W| adds up what W would cancel. "
        f"Widths are nearly proportional to the box, and the bounded loss follows them from {compact(float(ibp[0]))} "
        f"to **{compact(float(ibp[-1]))}**"
    )
    below = losses.fractions[ibp <= max(chance, 2 * losses.adversarial)]
    if len(below):
        return text + (
            f". Up to {below[-1]:g} eps it stays within reach of the ordinary losses: such a box can be trained on. At "
            "radius 0 every bounded loss is the adversarial one."
        )
    return text + (
        f"; guessing would give {chance:.2f}. For this network even the smallest box shown says nothing about an "
        "image, yet its gradient says how to make weights that widen less. That is why weight and box start small and "
        "grow."
    )


def of_boxes_after(before: BoxLosses, after: BoxLosses, trained: float) -> str:
    """What training did to the losses by box; `trained` is the final box of the run, a multiple of eps."""
    row = int(np.abs(np.log(after.fractions / trained)).argmin())
    gains = [compact(float(losses.widths[row, -1] / losses.widths[row, 0])) for losses in (before, after)]
    values = [compact(float(losses.certified["ibp"][row])) for losses in (before, after)]
    text = (
        f"In a box of {after.fractions[row]:g} eps intervals now widen {gains[1]} times instead of {gains[0]}, and "
        f"their loss fell from {values[0]} to **{values[1]}**"
    )
    if row == len(after.fractions) - 1:
        return text + ": the whole box was trained on."
    return text + (
        f"; the whole box, with intervals {after.fractions[-1] / after.fractions[row]:.0f} times as wide, still gives "
        f"{compact(float(after.certified['ibp'][-1]))}. A small box teaches the weights not to let intervals grow; it "
        "does not prove the large one, which is left to tighter bounds after training."
    )


def of_fusion(fusion: Fusion) -> str:
    """What loss fusion saves and what it gives up."""
    gap = fusion.fused - fusion.plain
    return (
        f"Fused, a forward and backward pass takes **1/{fusion.ratio:.0f}** of the time. The value is another one: "
        f"{fusion.fused[0].mean() / fusion.plain[0].mean():.2f} times as high at {fusion.fractions[0]:g} eps, "
        f"{fusion.fused[-1].mean() / fusion.plain[-1].mean():.2f} times at {fusion.fractions[-1]:g} eps; the largest "
        f"difference of an image is {compact(float(gap.max()))}. Both are upper bounds of the same loss. The fused one "
        "replaces each exponential by a chord over its interval bounds, and a chord is only near the curve where the "
        "interval is short."
    )


def of_training(log: TrainingLog) -> str:
    """How the run went: losses, accuracy, schedule, and what they do not say."""
    config = log.config
    if not log.epochs:
        return "No epoch is finished yet."
    first, last = (compact(float(value)) for value in log.base[[0, -1]])
    text = (
        f"{log.epochs} of {config.epochs} epochs, {log.seconds.sum():.0f} s. The cross entropy of the points trained "
        f"on went from {first} to **{last}**, {log.accuracy[-1]:.0f} % of them are right"
    )
    certified = np.flatnonzero(log.weight > 0)
    if len(certified):
        first, last = (compact(float(value)) for value in log.certified[certified[[0, -1]]])
        text += (
            f"; the certified loss from {first} to **{last}**, while its weight grew to "
            f"{log.weight[-1]:.2g} and its box to {log.box[-1]:.2g} eps"
        )
    if config.loss != "none" and log.epochs < config.settled:
        text += f". The schedule is not at its end: weight and box grow until epoch {config.settled:g}"
    if np.isfinite(log.validation_clean[-1]):
        text += (
            f". Of the {config.validation} images set aside {log.validation_clean[-1]:.1f} % are right, "
            f"{log.validation_pgd[-1]:.1f} % under a short PGD"
        )
        if config.validation < 100:
            text += ": too few images to say how good the network is, enough to see that the loop turns"
    return text + "."


def of_change(before: Snapshot, after: Snapshot, seen: int) -> str:
    """What training changed on a few images; the first `seen` were trained on."""
    shares = [
        sum(layer.neurons * float(layer.unstable.mean()) for layer in shot.bounds.layers)
        / sum(layer.neurons for layer in shot.bounds.layers)
        for shot in (before, after)
    ]
    gaps = [float(np.median(shot.attacked - shot.bounds.smallest)) for shot in (before, after)]
    counts = [
        f"{int(shot.bounds.verified[part].sum())} of {len(shot.labels[part])}"
        for part in (slice(0, seen), slice(seen, None))
        for shot in (after,)
        if len(shot.labels[part])
    ]
    kinds = ("trained on", "set aside")
    proven = " and ".join(f"**{count}** {kind}" for count, kind in zip(counts, kinds, strict=False))
    return (
        f"Proven in this box: {proven}. Between the lowest margin seen and the proven one lay "
        f"{compact(gaps[0])} logits before and {compact(gaps[1])} after (median); {shares[0]:.0%} of the neurons "
        f"before a ReLU were unstable, now {shares[1]:.1%} are. Both come from one pressure: narrow "
        "intervals leave few signs open."
    )


def of_export(network: Network, margins: Margins, after: Snapshot) -> str:
    """Whether onnxruntime, which gave `margins`, says of the file what torch said of the network."""
    path = os.path.relpath(network.path, root())
    apart = float(np.abs(margins.smallest - after.natural).max())
    return (
        f"onnxruntime and the trained network differ by at most **{apart:.1e} logits** in these margins. From here on "
        f"the file is the truth: `python -m nbutils evaluate {path}` measures clean, PGD and CROWN accuracy, "
        f"`python -m nbutils select {path}` looks for open images, and `notebooks/benchmark.ipynb` takes its "
        "path as `NETWORK`."
    )
