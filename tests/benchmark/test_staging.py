"""A folder appears whole or not at all; what others put there is never touched."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbutils.benchmark import staged_folder
from nbutils.benchmark.manifest import FORMAT, NAME, dump
from nbutils.benchmark.staged_folder import staged
from nbutils.core import ExportError, ParameterError

FILES = {"a.txt": b"one", "sub/b.txt": b"two"}


def fill(out: Path, files: dict[str, bytes] = FILES) -> None:
    with staged(out) as stage:
        for name, data in files.items():
            stage.write(name, data)
        stage.write(NAME, dump({"format": FORMAT, "instances": [], "files": dict(stage.hashes)}))


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_written_and_replaced(tmp_path: Path) -> None:
    out = tmp_path / "new" / "parents" / "out"
    fill(out)
    assert content(out) == FILES
    fill(out, {"c.txt": b"three"})
    assert content(out) == {"c.txt": b"three"}
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert out.stat().st_mode & 0o777 == (tmp_path / "new").stat().st_mode & 0o777  # readable as any folder made here


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    fill(tmp_path / "out")
    assert content(tmp_path / "out") == FILES


def test_a_failing_block_leaves_nothing(tmp_path: Path) -> None:
    def failing(out: Path) -> None:
        with staged(out) as stage:
            stage.write("a.txt", b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failing(tmp_path / "new/out")
    assert list(tmp_path.iterdir()) == []
    fill(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        failing(tmp_path / "out")
    assert content(tmp_path / "out") == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda out: (out / "notes.txt").write_text("mine"), r"found notes.txt; allowed: an empty folder or an unch"),
        (lambda out: (out / "sub/notes").mkdir(), r"found sub/notes; allowed"),
        (lambda out: (out / "a.txt").write_text("edited"), r"found a.txt changed since it was exported"),
        (lambda out: ((out / "a.txt").unlink(), (out / "a.txt").symlink_to("/etc/hosts")), r"found a.txt; allowed"),
        (lambda out: (out / NAME).unlink(), r"found a.txt; allowed"),
        (lambda out: (out / NAME).write_text("{}"), r"manifest.json: found None; allowed: a manifest of format"),
    ],
)
def test_what_no_export_wrote_is_left_alone(tmp_path: Path, spoil: object, message: str) -> None:
    out = tmp_path / "out"
    fill(out)
    spoil(out)
    before = content(out)
    with pytest.raises(ExportError, match=message):
        fill(out, {"c.txt": b"three"})
    assert content(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    def late(out: Path) -> None:
        with staged(out) as stage:
            stage.write("a.txt", b"one")
            out.mkdir()
            (out / "late.txt").write_text("mine")

    with pytest.raises(ExportError, match="found late.txt"):
        late(tmp_path / "out")
    assert content(tmp_path) == {"out/late.txt": b"mine"}


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    """Cases that hold for root too."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"file: found a file; allowed: a folder, new or written by an earlier"):
        fill(tmp_path / "file")
    with pytest.raises(ExportError, match=r"file/out: cannot be written \(.*\); nothing was left there. Choose a fol"):
        fill(tmp_path / "file/out")
    with pytest.raises(ExportError, match=r"/proc/nbutils: cannot be written"):
        fill(Path("/proc/nbutils"))
    with pytest.raises(ExportError, match=r"cannot be written \(File name too long\)"):
        fill(tmp_path / ("x" * 250))
    with pytest.raises(ParameterError, match=r"output folder: found '/'; allowed: a folder of its own"):
        fill(Path("/"))
    assert content(tmp_path) == {"file": b""}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(ExportError, match=r"cannot be written \(Permission denied\)"):
        fill(tmp_path / "locked/out")


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.mkdir", "pathlib.Path.rename", "pathlib.Path.open"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_disk_full_at_any_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, exists: bool) -> None:
    """The n-th call fails, for every n until the export gets through: before that nothing changes, nothing is left."""
    out = tmp_path / "new/out"
    if exists:
        fill(out)
    before = sorted(tmp_path.rglob("*"))
    owner, name = (os, "fsync") if call == "os.fsync" else (Path, call.rpartition(".")[2])
    real = getattr(owner, name)
    for failing in range(30):
        calls = iter(range(1000))

        def fails(*args: object, _calls: Iterator[int] = calls, _failing: int = failing, **kwargs: object) -> object:
            if next(_calls) == _failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fails)
            with contextlib.suppress(ExportError):
                fill(out, {"c.txt": b"three"})
                break
        assert sorted(tmp_path.rglob("*")) == before
        assert content(out) == (FILES if exists else {})
    assert 0 < failing < 29
    assert content(out) == {"c.txt": b"three"}


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match=r"out: cannot be written \(No space left on device\); nothing .* Free some"):
        fill(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 64 kB, where the system lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, timeout=20, check=False).returncode == 0
    except OSError:
        done = False
    if not done:
        pytest.skip("mounting a small tmpfs is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True, timeout=20)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    out = small_disk / "out"
    fill(out)
    with pytest.raises(ExportError, match=r"out: cannot be written \(No space left on device\); nothing .* Free some"):
        fill(out, {f"{i}.bin": bytes(8000) for i in range(20)})
    assert content(out) == FILES
    assert [path.name for path in small_disk.iterdir()] == ["out"]


def test_the_earlier_export_comes_back_when_the_last_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "out")
    real = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(staged_folder.Path, "rename", fails)
    with pytest.raises(ExportError, match=r"Input/output error"):
        fill(tmp_path / "out", {"c.txt": b"three"})
    assert content(tmp_path / "out") == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
