"""What `make` checks before it installs anything: Python, pip, venv and room on the disk. Standard library only."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

VERSIONS = ((3, 11), (3, 13))  # oldest and newest that all pins have wheels for
NEEDED_GB = 8


def faults(version: tuple[int, int], modules: set[str], free_gb: float) -> list[str]:
    """What keeps the packages from being installed, a sentence each; empty if nothing does."""
    found = []
    if not VERSIONS[0] <= version <= VERSIONS[1]:
        said = ".".join(map(str, version))
        found.append(
            f"This is Python {said}; Python 3.11, 3.12 or 3.13 is needed. Name one: make PYTHON=python3.11 ..."
        )
    for module, package in (("pip", "python3-pip"), ("venv", "python3-venv"), ("ensurepip", "python3-venv")):
        if module not in modules:
            found.append(f"Python's module {module} is missing. On Debian and Ubuntu: apt install {package}")
    if free_gb < NEEDED_GB:
        found.append(
            f"{free_gb:.1f} GB are free on this disk; {NEEDED_GB} GB are needed. Free some, or move the checkout."
        )
    return found


def main(venv: Path) -> int:
    """Say what is about to be installed, or why it cannot be."""
    if (venv / "bin" / "python").exists():
        print(f"Bringing {venv} up to date.", flush=True)
        return 0
    modules = {name for name in ("pip", "venv", "ensurepip") if importlib.util.find_spec(name)}
    free = shutil.disk_usage(venv.resolve().parent).free / 1e9
    for fault in faults(sys.version_info[:2], modules, free):
        print(fault, file=sys.stderr)
    if faults(sys.version_info[:2], modules, free):
        return 2
    print(
        f"Building {venv} with Python {sys.version.split()[0]}: about 170 packages, 3 GB to download and 7 GB on the "
        "disk, nearly all of it PyTorch. It takes two to five minutes, once.",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
