"""Versions of the packages that can change what is exported."""

from __future__ import annotations

import importlib.metadata
import platform

PACKAGES: tuple[str, ...] = (
    "nbutils", "torch", "torchvision", "numpy", "onnx", "onnxruntime", "onnx2torch", "auto-LiRPA", "foolbox", "vnnlib",
)  # fmt: skip
"""Packages whose version can change what is exported."""


def package_versions() -> dict[str, str | None]:
    """Installed version of each of `PACKAGES` (None if missing) and of Python."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found
