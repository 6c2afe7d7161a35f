"""Published files and archives over HTTPS: checked before they are put in place, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import ssl
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from ..core import ImageError, require

MAX_BYTES = 4 * 2**30
"""Most bytes of an archive, packed or unpacked."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_UNREACHABLE = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError)
_require = partial(require, error=ImageError)


def fetch_archive(url: str, folder: Path, *, md5: str) -> None:
    """Download the zip or tar archive at `url` and put its top folder, named as `folder` is, at `folder`.

    Everything happens in a temporary folder beside `folder`, removed in any case; the last step is one rename.

    Raises:
        ImageError: unsafe or unreachable address, other checksum, damaged or too large archive, paths outside
            the archive's own folder, full or read-only disk. Nothing is left behind.
    """
    with _partial_folder(url, folder, "unpack the archive from elsewhere") as partial_folder:
        archive, unpacked = partial_folder / "archive", partial_folder / "unpacked"
        _fetch(url, archive, "MD5", md5)
        unpacked.mkdir()
        _unpack(url, archive, unpacked)
        found = sorted(entry.name for entry in unpacked.iterdir())
        _require((unpacked / folder.name).is_dir(), url, found, f"an archive with the folder {folder.name}")
        os.replace(unpacked / folder.name, folder)


def fetch_file(url: str, path: Path, *, sha256: str | None, accept: Callable[[bytes], None] | None = None) -> str:
    """Download the file at `url` to `path`; returns its SHA-256.

    Args:
        sha256: of the file; None where none was ever published, then `accept` has to judge.
        accept: looks at the whole content and raises what speaks against it.

    Raises:
        ImageError: as `fetch_archive`. Nothing is left behind, and a file that stood at `path` is as it was.
    """
    with _partial_folder(url, path, "fetch the file from elsewhere") as partial_folder:
        fetched = partial_folder / "file"
        digest = _fetch(url, fetched, "SHA-256", sha256)
        if accept is not None:
            accept(fetched.read_bytes())
        os.replace(fetched, path)
    return digest


@contextlib.contextmanager
def _partial_folder(url: str, target: Path, instead: str) -> Iterator[Path]:
    """A temporary folder beside `target`, removed in any case; what goes wrong meanwhile becomes one clear error."""
    _check_url(url)
    made = [parent for parent in (target.parent, *target.parent.parents) if not os.path.lexists(parent)]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial-") as partial_folder:
            yield Path(partial_folder)
    except _UNREACHABLE as error:
        reason = getattr(error, "reason", None) or error
        raise ImageError(
            f"{url}: cannot be downloaded ({reason}). Check the connection, or {instead} so that {target} exists."
        ) from error
    except OSError as error:
        raise ImageError(
            f"{target}: cannot be written ({error.strerror or error}). Make room, or name another path."
        ) from error
    finally:
        for parent in made:  # those that hold something now stay
            with contextlib.suppress(OSError):
                parent.rmdir()


def _check_url(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    _require(safe, "url", url, "an https:// address")


def _check_size(url: str, count: int) -> None:
    _require(count <= MAX_BYTES, url, f"{count} bytes", f"at most {MAX_BYTES} bytes, packed and unpacked")


def _fetch(url: str, target: Path, algorithm: str, checksum: str | None) -> str:
    """Download to `target`; returns the digest, which has to be `checksum` if that is given."""
    digest = hashlib.new(algorithm.replace("-", ""), usedforsecurity=False)
    request = urllib.request.Request(url, headers={"User-Agent": "nbutils"})
    with urllib.request.urlopen(request, timeout=60) as answer, target.open("wb") as file:
        _check_url(answer.geturl())  # after redirections
        size = int(answer.headers.get("Content-Length") or 0) or None
        name = PurePosixPath(urllib.parse.urlsplit(url).path).name
        received = 0
        with tqdm(total=size, desc=f"fetching {name}", unit="B", unit_scale=True, delay=1, leave=False) as bar:
            while chunk := answer.read(2**20):
                received += len(chunk)
                _check_size(url, received)
                digest.update(chunk)
                file.write(chunk)
                bar.update(len(chunk))
    _require(size in (None, received), url, f"{received} bytes", f"{size} bytes, as announced", "It was cut short")
    found = f"{received} bytes with {algorithm} {digest.hexdigest()}"
    hint = "The transfer was cut short, or the file there is another one now"
    _require(checksum in (None, digest.hexdigest()), url, found, f"{algorithm} {checksum}", hint)
    return digest.hexdigest()


def _unpack(url: str, archive: Path, into: Path) -> None:
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(url, archive, into)
        else:
            _unpack_tar(url, archive, into)
    except _DAMAGED as error:
        reason = str(error).partition("\n")[0]
        raise ImageError(f"{url}: cannot be unpacked ({reason}); allowed: an undamaged zip or tar archive.") from error


def _unpack_zip(url: str, archive: Path, into: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        _check_size(url, sum(member.file_size for member in members))
        for member in members:
            path = PurePosixPath(member.filename)
            inside = not path.is_absolute() and ".." not in path.parts and not set(":\\") & set(member.filename)
            _require(inside, url, member.filename, "paths inside the archive's own folder")
        for member in tqdm(members, desc="unpacking", unit="file", delay=1, leave=False):
            packed.extract(member, into)


def _unpack_tar(url: str, archive: Path, into: Path) -> None:
    total = 0

    def guard(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        nonlocal total
        total += member.size
        _check_size(url, total)
        return tarfile.data_filter(member, path)

    with tarfile.open(archive) as packed:
        packed.extractall(into, filter=guard)
