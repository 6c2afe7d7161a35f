"""A checkout with toy networks, selections and images, and what generates a benchmark there."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import toys

from nbutils.benchmark import Draw
from nbutils.benchmark.generation import (
    draw_instances,
    facts,
    find_networks,
    recorded_selections,
    write_in_place,
)
from nbutils.core import (
    ImageSet,
    Normalization,
    SelectionConfig,
    Verdict,
)
from nbutils.selection import write_selected

HALF = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
LEVELS = np.random.default_rng(0).integers(0, 256, (80, 3, 8, 8), dtype=np.uint8)
IMAGES = ImageSet(LEVELS, np.arange(80) % 5, np.arange(80) * 3, "npz/toy.npz", tuple("vwxyz"), HALF)
CONFIG = SelectionConfig(eps=2 / 255)


def verdict(row: int, status: str) -> Verdict:
    attack = {"open": 0.5, "attacked": -0.25, "verified": None}[status]
    index, label = int(IMAGES.indices[row]), int(IMAGES.labels[row])
    bound, method = (None, None) if status == "attacked" else (-0.5, "crown")
    return Verdict(IMAGES.ids[row], index, label, label, status, "full attack", 1.0, attack, 1, 9, bound, method)


VERDICTS = [verdict(row, "open" if row < 50 else "attacked" if row < 75 else "verified") for row in range(80)]


def add_network(base: Path, name: str, verdicts: list[Verdict] = VERDICTS) -> None:
    onnx = base / "onnx" / f"{name}.onnx"
    onnx.parent.mkdir(exist_ok=True)
    shutil.copy(toys.tiny_resnet(base), onnx)
    (base / "tiny_resnet.onnx").unlink()
    card = SimpleNamespace(sha256=hashlib.sha256(onnx.read_bytes()).hexdigest(), dataset=None)
    network = SimpleNamespace(name=name, classes=5, input_shape=(3, 8, 8), card=card)
    write_selected(base / "vnnlib" / "selected" / f"{name}.csv", network, verdicts, CONFIG, HALF, IMAGES.source)


def draw(base: Path, seed: int = 0, images: ImageSet = IMAGES, **how: object):
    networks, how = find_networks(base), Draw(seed=seed, **how)
    selections = recorded_selections(networks, base)
    return draw_instances(selections, networks, [images], how), facts(selections, how)


def generate(base: Path, seed: int = 0, images: ImageSet = IMAGES, **how: object) -> list[str]:
    instances, manifest = draw(base, seed, images, **how)
    return write_in_place(instances, manifest, base=base)


def state(base: Path) -> dict[str, bytes]:
    return {p.relative_to(base).as_posix(): p.read_bytes() for p in sorted(base.rglob("*")) if p.is_file()}
