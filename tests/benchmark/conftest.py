"""Fixtures of the tests of benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from generation_toys import IMAGES, LEVELS, add_network

import nbutils.core.settings


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one toy network, its selection, and images as an archive."""
    folder = tmp_path / "checkout"
    (folder / "vnnlib").mkdir(parents=True)
    (folder / "vnnlib" / "README.md").write_text("not ours\n")
    add_network(folder, "toy")
    np.savez(
        tmp_path / "toy.npz", images=LEVELS, labels=IMAGES.labels, indices=IMAGES.indices, class_names=tuple("vwxyz")
    )
    monkeypatch.setattr(nbutils.core.settings, "root", lambda: folder)
    return folder
