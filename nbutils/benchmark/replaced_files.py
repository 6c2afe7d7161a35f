"""Replace generated files in a folder that holds other things too, such as the root of the checkout.

`vnnlib/manifest.json` says which files were generated, and by their hashes in which state; nothing else is ever
replaced or removed. New files are complete before the first one is moved; if a move fails, all that was there is put
back. A kill between two moves leaves a manifest that accounts for both sides, so that the next run can finish.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core import ExportError
from .manifest import dump, read_manifest, sha256

MANIFEST = "vnnlib/manifest.json"
_OURS = re.compile(r"instances\.csv|vnnlib/[A-Za-z0-9][A-Za-z0-9._+-]*\.vnnlib(\.gz)?")
_HINT = "Move it away: only files that were generated, and not changed since, are replaced"


@contextlib.contextmanager
def beside(base: Path) -> Iterator[Path]:
    """A hidden folder in `base`, on the same disk, gone when the block ends.

    Raises:
        ExportError: `base` cannot be written, or the disk is full.
    """
    folder = base / f".generate.{secrets.token_hex(4)}"
    try:
        folder.mkdir()
        yield folder
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise ExportError(
            f"{base}: cannot be written ({reason}); everything is as it was. Free some space, or use --out FOLDER."
        ) from problem
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def swap_in(base: Path, fresh: Path, manifest: Mapping[str, Any]) -> None:
    """Put the files of `manifest` from `fresh` into `base`, and take those of the manifest that stands there away.

    Args:
        fresh: folder on the same disk with every file of `manifest["files"]`, at the same relative path.
        manifest: with `files`, relative path -> SHA-256; becomes `MANIFEST` when all else is in place.

    Raises:
        ExportError: a file that would be replaced was not generated, or was changed since; nothing was touched.
        OSError: a move failed; `base` is as it was.
    """
    new: Mapping[str, str] = manifest["files"]
    known = _known(base)
    stale = [path for path in known if path not in new and os.path.lexists(base / path)]
    replaced = [path for path in new if os.path.lexists(base / path)]
    for path in sorted({*stale, *replaced}):
        _require_ours(base, path, known.get(path, set()) | {new.get(path, "")})
    record, old = base / MANIFEST, fresh / "old"
    earlier = {path: sorted(hashes) for path, hashes in known.items()}
    # all that takes room on the disk comes first, so that from the first move on there are only moves
    journal = _written(fresh / "journal", dump({**manifest, "replacing": earlier}))
    final = _written(fresh / "final", dump(manifest))
    before = _written(fresh / "before", record.read_bytes()) if record.is_file() else None
    (old / "vnnlib").mkdir(parents=True)
    record.parent.mkdir(exist_ok=True)
    moved: list[tuple[Path, Path]] = []  # from, to
    moves = [(base / path, old / path) for path in (*stale, *replaced)] + [(fresh / path, base / path) for path in new]
    try:
        journal.replace(record)
        for source, target in moves:
            moved.append((source, target))  # first: an interrupt may come right after the move
            source.rename(target)
        final.replace(record)
    except BaseException:
        for source, target in reversed(moved):
            if not os.path.lexists(source):
                target.rename(source)
        if before is not None:
            before.replace(record)
        else:
            record.unlink(missing_ok=True)
        raise


def check_own(base: Path, path: str, data: bytes) -> None:
    """Refuse before any work if the file `path` in `base` is neither `data` nor what an earlier call left there.

    Raises:
        ExportError: as `swap_in`.
    """
    if os.path.lexists(base / path):
        _require_ours(base, path, _known(base).get(path, set()) | {sha256(data)})


def _known(base: Path) -> dict[str, set[str]]:
    """Generated files and the hashes they may have, as the manifest in `base` says; nothing without one."""
    if not os.path.lexists(base / MANIFEST):
        return {}
    content = read_manifest(base / MANIFEST)
    known = {path: {digest} for path, digest in content["files"].items()}
    for path, hashes in content.get("replacing", {}).items():
        known.setdefault(path, set()).update(hashes)
    for path in known:
        if not _OURS.fullmatch(path):
            raise ExportError(
                f"{base / MANIFEST}: found {path!r}; allowed: instances.csv and vnnlib/*.vnnlib. {_HINT}."
            )
    return known


def _require_ours(base: Path, path: str, hashes: set[str]) -> None:
    target = base / path
    plain = target.is_file() and not target.is_symlink() and not target.parent.is_symlink()
    if not plain or sha256(target.read_bytes()) not in hashes:
        raise ExportError(f"{target}: found a file of another origin; allowed: what this command wrote. {_HINT}.")


def _written(path: Path, data: bytes) -> Path:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return path
