"""The cost of PGD beside its bare passes."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import toys

from nbutils.bench import bench_attack
from nbutils.bench.attack_cost import bare_passes
from nbutils.core import AttackConfig, ImageSet, ParameterError
from nbutils.images import load_images
from nbutils.networks import Network

SHORT = AttackConfig(steps=4, restarts=5, early_stop=False)


def grey(count: int) -> ImageSet:
    levels = np.full((count, 1, 1, 2), 128, dtype=np.uint8)
    return ImageSet(levels, np.zeros(count, np.int64), np.arange(count), "grey", ("a", "b", "c"), toys.HALF)


def test_bare_passes_are_counted() -> None:
    forwards: list[tuple[tuple[int, ...], bool]] = []

    def module(x: torch.Tensor) -> torch.Tensor:
        forwards.append((tuple(x.shape), x.requires_grad))
        return 2 * x

    bare_passes(module, torch.zeros(5, 1, 2, 2), 3)
    assert forwards == [((5, 1, 2, 2), True)] * 3 + [((5, 1, 2, 2), False)]


def test_figures_of_every_image(two_neuron: Network) -> None:
    bench = bench_attack(two_neuron, grey(3), 0.1, SHORT)
    for seconds in (bench.attack, bench.shortcut, bench.raw, bench.folded):
        assert seconds.shape == (3,)
        assert (seconds > 0).all()
    assert bench.ratio == np.median(bench.attack / bench.raw)
    assert bench.loop_ratio == np.median(bench.attack / bench.folded)
    assert bench.peak_mb > 50
    assert re.fullmatch(
        r"PGD 4 x 5 on two_neuron \(cpu\): [\d.]+ s an image, bare passes [\d.]+ s \(ratio [\d.]+\), "
        r"on the folded copy [\d.]+ s \(ratio [\d.]+\); [\d.]+ s without computing repeated cycles again; peak \d+ MB",
        bench.describe(),
    )


def test_refuses_early_stop(two_neuron: Network) -> None:
    with pytest.raises(ParameterError, match="early_stop: found True; allowed: False in a benchmark"):
        bench_attack(two_neuron, grey(1), 0.1, AttackConfig())


def test_refuses_no_images(two_neuron: Network) -> None:
    with pytest.raises(ParameterError, match="number of images: found 0; allowed: 1 or more"):
        bench_attack(two_neuron, grey(0), 0.1, SHORT)


@pytest.mark.slow
def test_pgd_costs_at_most_1_15_of_its_bare_passes(small_network: Network) -> None:
    images = load_images("embedded").take([3, 4, 8, 12, 13])
    assert bench_attack(small_network, images, 1 / 255, AttackConfig(steps=20, early_stop=False)).ratio <= 1.15
