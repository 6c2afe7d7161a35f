"""Published files over HTTPS: checked against their checksum, put in place whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from .errors import ImageError, require
from .pictures import MAX_BYTES, check_bytes

_CHUNK = 2**20
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def fetch_archive(url: str, folder: Path, *, md5: str) -> None:
    """Download the zip or tar archive at `url` and put its top folder `folder.name` at `folder`.

    Everything happens in a temporary folder beside `folder`, removed in any case; the last step is one rename.

    Raises:
        ImageError: unsafe or unreachable address, other checksum, archive with paths outside its folder or
            too large, full or read-only disk. Nothing is left behind.
    """
    _check_url(url)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-") as partial:
            archive = Path(partial) / "archive"
            _fetch(url, archive, md5)
            unpacked = Path(partial) / "unpacked"
            _unpack(archive, unpacked)
            top = unpacked / folder.name
            inside = sorted(p.name for p in unpacked.iterdir())
            require(top.is_dir(), url, inside, f"an archive with the folder {folder.name}", error=ImageError)
            os.replace(top, folder)
    except (urllib.error.URLError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        raise ImageError(
            f"{url}: cannot be downloaded ({reason}). Check the connection, or fetch the file by other "
            f"means and unpack it so that {folder} exists."
        ) from error
    except OSError as error:
        raise ImageError(f"{folder}: cannot be written ({error.strerror or error}). Name another path.") from error


def _check_url(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    require(safe, "url", url, "an https:// address", error=ImageError)


def _fetch(url: str, target: Path, md5: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    request = urllib.request.Request(url, headers={"User-Agent": "nbutils"})
    with urllib.request.urlopen(request, timeout=60) as answer, target.open("wb") as file:
        size = int(answer.headers.get("Content-Length") or 0)
        with tqdm(total=size or None, desc=target.name, unit="B", unit_scale=True, delay=1, leave=False) as bar:
            received = 0
            while chunk := answer.read(_CHUNK):
                received += len(chunk)
                check_bytes(url, received)
                digest.update(chunk)
                file.write(chunk)
                bar.update(len(chunk))
    hint = "The download was cut short or the file is another one: try again later"
    require(digest.hexdigest() == md5, url, f"MD5 {digest.hexdigest()}", f"MD5 {md5}", hint, error=ImageError)


def _unpack(archive: Path, into: Path) -> None:
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, into)
        else:
            _unpack_tar(archive, into)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError) as error:
        raise ImageError(f"{archive.name}: cannot be unpacked ({error}); allowed: a sound zip or tar file.") from error


def _unpack_zip(archive: Path, into: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        check_bytes(archive.name, sum(member.file_size for member in members))
        for member in members:
            path = PurePosixPath(member.filename.replace("\\", "/"))
            inside = not path.is_absolute() and ".." not in path.parts and ":" not in member.filename
            require(inside, "archive", member.filename, "paths inside its own folder", error=ImageError)
        for member in tqdm(members, desc="unpacking", unit="file", delay=1, leave=False):
            packed.extract(member, into)


def _unpack_tar(archive: Path, into: Path) -> None:
    total = 0

    def guard(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        nonlocal total
        total += member.size
        require(total <= MAX_BYTES, "archive", total, f"at most {MAX_BYTES} bytes unpacked", error=ImageError)
        return tarfile.data_filter(member, path)

    with tarfile.open(archive) as packed:
        packed.extractall(into, filter=guard)
