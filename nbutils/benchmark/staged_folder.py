"""A folder that appears whole or not at all.

Files go into a hidden sibling of the target and are flushed to the disk; one rename gives them their final name. A
target that exists is replaced only if its own manifest accounts for every byte in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..core import ExportError, ParameterError, check_writable
from .manifest import NAME, read_manifest, sha256

LIMIT_BYTES = 100 * 10**6
"""VNN-COMP's limit on one file in a benchmark repository."""


class Stage:
    """The temporary folder while it is being filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hashes: dict[str, str] = {}  # relative path -> SHA-256
        self.sizes: dict[str, int] = {}  # relative path -> bytes

    def write(self, path: str, data: bytes) -> Path:
        """Write `data` to `path` below the folder, flushed to the disk; where it stands until the rename."""
        if len(data) > LIMIT_BYTES:
            allowed = f"{LIMIT_BYTES / 1e6:g} MB a file, VNN-COMP's limit"
            raise ExportError(f"{path}: found {len(data) / 1e6:g} MB; allowed: {allowed}. Export with gzip.")
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        self.hashes[path] = sha256(data)
        self.sizes[path] = len(data)
        return target


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Stage]:
    """Fill the yielded `Stage`; when the block ends well, its folder becomes `out`, else nothing is left of it.

    Raises:
        ExportError: `out` is no folder, holds what no export wrote, or cannot be written (no permission, disk full).
    """
    out = _own_folder(out)
    folder: Path | None = None
    made: list[Path] = []
    try:
        refuse_foreign(out)
        for parent in reversed((out.parent, *out.parent.parents)):
            if not parent.is_dir():
                parent.mkdir()
                made.append(parent)
        folder = _sibling(out, "partial")
        folder.mkdir()
        yield Stage(folder)
        for place, _, _ in os.walk(folder):
            _flush(Path(place))
        refuse_foreign(out)  # it may have been filled meanwhile
        _replace(folder, out)
        folder, made = None, []
    except OSError as problem:
        reason = problem.strerror or str(problem)
        hint = "Free some space or choose another folder"
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            hint = "Choose a folder that can be written"
        raise ExportError(f"{out}: cannot be written ({reason}); nothing was left there. {hint}.") from problem
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        for parent in reversed(made):
            with contextlib.suppress(OSError):
                parent.rmdir()


def check_target(out: Path) -> None:
    """Raise now where `staged(out)` would raise after hours of work; leaves nothing behind.

    Raises:
        ParameterError: `out` is the root of a disk.
        ExportError: as `refuse_foreign` and `check_writable`.
    """
    out = _own_folder(out)
    check_writable(out.parent)
    try:
        refuse_foreign(out)
    except OSError as problem:  # a name too long, a folder that may not be read
        raise ExportError(f"{out}: cannot be used ({problem.strerror}). Choose another folder.") from None


def _own_folder(out: Path) -> Path:
    out = Path(out).resolve()
    if not out.name:
        raise ParameterError(f"output folder: found {str(out)!r}; allowed: a folder of its own.")
    return out


def refuse_foreign(out: Path) -> None:
    """Raise unless `out` is absent, empty, or exactly what an earlier export left.

    Raises:
        ExportError: naming the first thing that no export wrote, or that was changed or removed since.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ExportError(f"{out}: found a file; allowed: a folder, new or written by an earlier export.")
    first = min((path.name for path in out.iterdir()), default=None)
    if first is None:
        return
    hint = "Move it away or choose another folder: an export replaces only what an export wrote"
    allowed = "an empty folder or an unchanged earlier export"
    if not os.path.lexists(out / NAME):  # a home folder is not walked through to say so
        raise ExportError(f"{out}: found {first}; allowed: {allowed}. {hint}.")
    found = {path.relative_to(out).as_posix(): path for path in sorted(out.rglob("*"))}
    known = read_manifest(out / NAME)["files"]
    folders = {parent.as_posix() for path in known for parent in Path(path).parents}
    for name, path in found.items():
        real = not path.is_symlink()
        if real and (name == NAME or (path.is_dir() and name in folders)):
            continue
        if not real or name not in known:
            raise ExportError(f"{out}: found {name}; allowed: {allowed}. {hint}.")
        if not path.is_file() or sha256(path.read_bytes()) != known[name]:
            raise ExportError(f"{out}: found {name} changed since it was exported; allowed: {allowed}. {hint}.")


def _replace(folder: Path, out: Path) -> None:
    """Rename `folder` to `out`; an `out` that exists steps aside first and is put back if anything fails."""
    old = out.rename(_sibling(out, "old")) if out.exists() else None
    renamed = False
    try:
        folder.rename(out)
        renamed = True
        _flush(out.parent)
    except BaseException:
        if renamed:
            out.rename(folder)
        if old is not None:
            old.rename(out)
        raise
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _sibling(out: Path, purpose: str) -> Path:
    return out.with_name(f".{out.name}.{secrets.token_hex(4)}.{purpose}")


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
