"""Images that the tests of image sources share, written as archives and as folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from nbutils.core import Normalization
from nbutils.images import load_images

PIXELS = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
NAMES = ("cat", "dog", "owl")
RNG = np.random.default_rng(0)
LEVELS = RNG.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)  # NHWC; H, W differ, so that a transposition shows
LABELS = np.array([0, 2, 1, 2])


def archive(folder: Path, **arrays: object) -> Path:
    file = folder / "own.npz"
    np.savez(file, **{"images": LEVELS, "labels": LABELS, **arrays})
    return file


def load_own(file: Path, **keywords: object) -> object:
    return load_images("npz", path=file, **{"class_names": NAMES, "normalization": PIXELS, **keywords})


def save(file: Path, levels: np.ndarray = LEVELS[0]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(file)
    return file


def load_folder(path: Path, **keywords: object) -> object:
    return load_images("folder", path=path, **{"normalization": PIXELS, **keywords})
