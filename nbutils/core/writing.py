"""Files that appear whole or not at all, and folders that can be written."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from .errors import ExportError


def check_writable(folder: Path) -> None:
    """Raise unless `folder`, or the nearest one above that exists, takes new folders.

    Raises:
        ExportError: naming the folder and why.
    """
    folder = Path(folder).resolve()
    try:
        nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        with tempfile.TemporaryDirectory(dir=nearest, prefix=".nbutils-"):
            pass
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise ExportError(f"{folder}: cannot be written ({reason}). Choose a folder that can be written.") from None


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file beside `path`, sync it and rename it; on failure `path` stays as it was.

    Raises:
        ExportError: when the folder cannot be written or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True) if partial.parent.is_dir() else None
        number = getattr(error, "errno", None)
        # torch wraps the operating system's refusal of a write into a RuntimeError without a number
        full = number == errno.ENOSPC or (number is None and "write" in str(error).lower())
        reason = "no space left on the disk" if full else str(error)
        raise ExportError(
            f"{path}: could not be written, {reason}; what was there before is intact. "
            "Free space or choose another folder."
        ) from error
