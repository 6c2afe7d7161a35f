"""The folder of a run: one process at a time trains in it, and always on the same images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..core import ImageSet, WorkbenchError, check_writable, require
from .checkpoint import CheckpointError

LOCK = ".lock"


class TrainingError(WorkbenchError):
    """A run that cannot go on."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep every other process from training in `folder` while the block runs; the system lets go of a killed one.

    Raises:
        ExportError: when the folder cannot be written.
        TrainingError: when another process trains there.
    """
    check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)  # the lock stays behind: removing it would let two processes in
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise TrainingError(
            f"{folder}: found another process that trains there; allowed: one at a time. "
            "Wait for it, or choose another folder."
        ) from None
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class TrainedOn:
    """What a checkpoint keeps of its images: enough to tell them from others."""

    source: str
    count: int
    sha256: str  # over pixels, labels and order, which decide the weights as the settings do
    normalization: list[list[float]] | None = None  # mean and std where stated; None: the data set's

    @classmethod
    def of(cls, images: ImageSet) -> TrainedOn:
        """What there is to keep of `images`, the ones set aside included."""
        norm = images.normalization if images.origin.settled else None
        stated = None if norm is None else [list(norm.mean), list(norm.std)]
        return cls(images.source, len(images), hashlib.sha256("\n".join(images.keys).encode()).hexdigest(), stated)

    def as_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, as it kept it before a normalisation could be stated, if none is."""
        kept = asdict(self)
        return kept if self.normalization is not None else {k: v for k, v in kept.items() if k != "normalization"}


def check_same_images(path: Path, state: Mapping[str, Any], images: TrainedOn) -> None:
    """Refuse to go on from the checkpoint `path` on other images than it was made with.

    Raises:
        CheckpointError: when they differ in number, pixels, labels, order or normalisation.
    """
    if "images" not in state:  # a checkpoint from before they were kept
        return
    known = TrainedOn(**state["images"])
    require(
        known.sha256 == images.sha256,
        f"{path}: images",
        f"{images.count} of {images.source}, not those of the run",
        f"the {known.count} of {known.source} that it was started with, in the same order",
        "Use a new output folder, or those images",
        error=CheckpointError,
    )
    usual = "the data set's usual one"
    require(
        known.normalization == images.normalization,
        f"{path}: normalisation of the images",
        images.normalization or usual,
        f"{known.normalization or usual}, with which the run was started",
        "Use a new output folder, or that one",
        error=CheckpointError,
    )
