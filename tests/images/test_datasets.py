"""Published CIFAR-100 and TinyImageNet files: official order, no foreign pickle, downloads whole or not at all."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import hashlib
import importlib.util
import io
import os
import pickle
import re
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import nbutils.images.datasets
import nbutils.images.download
from nbutils.core import ImageError, ParameterError
from nbutils.images import CIFAR100, TINYIMAGENET, load_images
from nbutils.images.datasets import CIFAR100_NAMES, cifar100, tinyimagenet
from nbutils.images.download import fetch_archive

RNG = np.random.default_rng(0)
WNIDS = ("n02000000", "n01000000", "n03000000")  # not sorted, as in the published wnids.txt
TOY = dataclasses.replace(TINYIMAGENET, classes=3, images={"train": 6, "test": 6})


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


# --- CIFAR-100 ---------------------------------------------------------------------------------------------------


class Trap:
    """A pickle that leaves a trace when it is opened."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def toy_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray]:
    """Four images in the published layout, with the checksums torchvision asks for; levels NCHW."""
    from torchvision.datasets import CIFAR100 as Published

    folder = tmp_path / CIFAR100.folder
    folder.mkdir()
    levels = RNG.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    batch = {"data": levels.reshape(4, -1), "fine_labels": [49, 0, 99, 49]}
    sums = {}
    for name, content in (("train", batch), ("test", batch), ("meta", {"fine_label_names": list(CIFAR100_NAMES)})):
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = md5((folder / name).read_bytes())
    monkeypatch.setattr(Published, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(Published, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(Published, "meta", {**Published.meta, "md5": sums["meta"]})
    return folder, levels


@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar100_in_official_order(toy_cifar: tuple[Path, np.ndarray], split: str) -> None:
    folder, levels = toy_cifar
    for path in (folder, folder.parent):
        images = load_images("cifar100", path=path, split=split)
        assert (images.levels == levels).all()
        assert images.labels.tolist() == [49, 0, 99, 49]
        assert images.indices.tolist() == [0, 1, 2, 3]
        assert images.source == f"cifar100/{split}"
        assert images.name_of(49) == "mountain"


@pytest.mark.parametrize("name", ["test", "meta"])
def test_foreign_pickle_is_never_opened(toy_cifar: tuple[Path, np.ndarray], tmp_path: Path, name: str) -> None:
    folder, _ = toy_cifar
    trace = tmp_path / "opened"
    (folder / name).write_bytes(pickle.dumps(Trap(trace)))
    with pytest.raises(ImageError, match=r"MD5 is not the published one, so they are not opened.*download=True"):
        cifar100(folder)
    assert not trace.exists()
    pickle.loads((folder / name).read_bytes())
    assert trace.exists()  # the trap works


def test_missing_folder_says_how_to_get_it(tmp_path: Path) -> None:
    for read, url in ((cifar100, "cifar-100-python.tar.gz"), (tinyimagenet, "tiny-imagenet-200.zip")):
        with pytest.raises(
            ImageError, match=rf"'no such folder'.*Pass download=True to fetch https://\S+{url}, or path="
        ):
            read(tmp_path)


def test_unknown_split() -> None:
    with pytest.raises(ParameterError, match="split: found 'val'; allowed: train or test"):
        load_images("tinyimagenet", split="val")


# --- TinyImageNet, toy -------------------------------------------------------------------------------------------


def jpeg(file: Path, shade: int) -> None:
    """64 x 64 pixels of one grey, which JPEG keeps, with a black frame of four that the crop takes away."""
    levels = np.zeros((64, 64, 3), dtype=np.uint8)
    levels[8:56, 8:56] = shade
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(file, quality=100)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes in the published layout; file val_K.JPEG has shade 20 K."""
    monkeypatch.setattr(nbutils.images.datasets, "TINYIMAGENET", TOY)
    folder = tmp_path / TOY.folder
    rows = []
    for number, owner in ((0, 2), (1, 0), (2, 1), (10, 0), (3, 1), (4, 2)):
        jpeg(folder / "val" / "images" / f"val_{number}.JPEG", 20 * number)
        rows.append(f"val_{number}.JPEG\t{WNIDS[owner]}\t0\t0\t62\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(rows))
    (folder / "wnids.txt").write_text("\n".join(WNIDS))
    (folder / "words.txt").write_text("n01000000\tgoldfish, Carassius auratus\nn02000000\towl\n")
    for wnid in WNIDS:
        for number in (0, 1):
            jpeg(folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", 100 + 10 * number)
    return folder


ORDER = [2, 3, 1, 10, 0, 4]  # n01: val_2, val_3; n02: val_1, val_10; n03: val_0, val_4


def check_test_split(path: Path) -> None:
    images = load_images("tinyimagenet", path=path)
    assert images.levels.shape == (6, 3, 56, 56)
    assert np.abs(images.levels[:, :, 28, 28].mean(axis=1) - 20 * np.array(ORDER)).max() <= 1
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert images.indices.tolist() == [0, 1, 2, 3, 4, 5]
    assert images.class_names == ("goldfish", "owl", "n03000000")
    assert images.source == "tinyimagenet/test"


def reshuffle(folder: Path) -> None:
    """The folder-per-class layout that ImageFolder reads; the annotations stay behind."""
    for row in (folder / "val" / "val_annotations.txt").read_text().splitlines():
        name, wnid = row.split("\t")[:2]
        (folder / "val" / wnid).mkdir(exist_ok=True)
        (folder / "val" / "images" / name).rename(folder / "val" / wnid / name)
    (folder / "val" / "images").rmdir()


def test_published_layout(published: Path) -> None:
    check_test_split(published)
    check_test_split(published.parent)


def test_reshuffled_layout(published: Path) -> None:
    reshuffle(published)
    check_test_split(published)
    (published / "wnids.txt").unlink()
    (published / "val" / "val_annotations.txt").unlink()
    renamed = published.rename(published.with_name("elsewhere"))
    check_test_split(renamed)


def test_crop_is_the_centre(published: Path) -> None:
    whole = tinyimagenet(published, crop=False)
    assert whole.levels.shape == (6, 3, 64, 64)
    assert (whole.levels[:, :, 4:60, 4:60] == tinyimagenet(published).levels).all()


def test_train_split(published: Path) -> None:
    images = load_images("tinyimagenet", path=published, split="train")
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.abs(images.levels[:, 0, 28, 28] - np.array([100, 110] * 3)).max() <= 1


def break_annotations(folder: Path, row: str) -> None:
    with (folder / "val" / "val_annotations.txt").open("a") as file:
        file.write(row)


def test_annotations_stay_in_their_folder(published: Path) -> None:
    break_annotations(published, "../secret.JPEG\tn01000000\t0\n")
    with pytest.raises(ImageError, match=r"val_annotations.txt line 7: found .*allowed: FILE.JPEG, a tab, WNID"):
        tinyimagenet(published)


def test_incomplete_tinyimagenet_is_refused(published: Path) -> None:
    shutil.rmtree(published / "train" / "n03000000" / "images")
    with pytest.raises(ImageError, match=r"train: found '4 images'; allowed: all 6. The true index"):
        tinyimagenet(published, split="train")
    shutil.rmtree(published / "train" / "n03000000")
    with pytest.raises(ImageError, match=r"n03000000: found 'no such folder'; allowed: one folder for each wnid"):
        tinyimagenet(published, split="train")
    (published / "val" / "images" / "val_3.JPEG").unlink()
    with pytest.raises(ImageError, match=r"val_3.JPEG: found 'no such file'"):
        tinyimagenet(published)


def test_split_that_is_not_there(published: Path) -> None:
    (published / "wnids.txt").unlink()
    shutil.rmtree(published / "train")
    with pytest.raises(ImageError, match=r"train: found 'no such folder'; allowed: the images of this split"):
        tinyimagenet(published, split="train")


def test_other_wnids_are_refused(published: Path) -> None:
    break_annotations(published, "val_0.JPEG\tn09999999\t0\n")
    (published / "val" / "val_annotations.txt").write_text(
        (published / "val" / "val_annotations.txt").read_text().replace("val_0.JPEG\tn03000000\t0\t0\t62\t62\n", "")
    )
    with pytest.raises(ImageError, match=r"val: found \['n09999999'\]; allowed: wnids of wnids.txt"):
        tinyimagenet(published)
    (published / "wnids.txt").write_text("n01000000\n../..\nn03000000\n")
    with pytest.raises(ImageError, match=r"wnids.txt: found \['../..'\]; allowed: one wnid a line"):
        tinyimagenet(published)
    (published / "wnids.txt").write_text("n01000000\n")
    with pytest.raises(ImageError, match="found '1 wnids'; allowed: the 3 of the published data"):
        tinyimagenet(published)
    (published / "wnids.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ImageError, match=r"wnids.txt: cannot be read .*allowed: the published text file"):
        tinyimagenet(published)


# --- TinyImageNet, the published validation split ----------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The validation split in its published layout; the 100,000 training images are passed over."""
    source, folder = shared / "data" / "tinyimagenet", tmp_path_factory.mktemp("tiny") / TINYIMAGENET.folder
    files = islice(load_module(shared / "data" / "unpack.py").jpegs(source), 100_000, None)
    (folder / "val" / "images").mkdir(parents=True)
    for number in range(10_000):
        (folder / "val" / "images" / f"val_{number}.JPEG").write_bytes(next(files))
    with tarfile.open(source / "texts.tar.xz") as texts:
        texts.extractall(folder, filter="data")
    return folder


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_order_is_that_of_the_published_benchmark(shared: Path, tiny_folder: Path) -> None:
    """The image inside a published property (sidx 1954) is our image perm[1954], and no other is nearer.

    The published generator decoded JPEG with another library, so levels differ a little (facts: mean below 2).
    """
    images = tinyimagenet(tiny_folder)
    assert images.levels.shape == (10_000, 3, 56, 56)
    assert np.bincount(images.labels).tolist() == [50] * 200
    assert images.class_names[:3] == ("goldfish", "European fire salamander", "bullfrog")
    (file,) = (shared / "official").glob("TinyImageNet_*_sidx_1954_*.vnnlib.gz")
    text = gzip.decompress(file.read_bytes()).decode()
    upper = np.array(re.findall(r"<= X_\d+ (\S+?)\)", text), dtype=np.float32).reshape(3, 56, 56)
    label = int(re.search(r">= Y_\d+ Y_(\d+)\)", text)[1])
    pixels = images.normalization.to_pixels(upper) * 255 - 1
    index = np.random.RandomState(111).permutation(10_000)[1954]
    distance = np.abs(images.levels - pixels.astype(np.float32)).mean(axis=(1, 2, 3))
    assert images.labels[index] == label
    assert distance.argmin() == index
    assert distance[index] < 2 < np.sort(distance)[1]


# --- downloads, from a server on this machine --------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """(folder that is served, its address)."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def zip_bytes(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file.getvalue()


def tar_bytes(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as packed:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return file.getvalue()


def fetch(server: tuple[Path, str], target: Path, content: bytes, checksum: str | None = None) -> None:
    folder, address = server
    (folder / "data.bin").write_bytes(content)
    fetch_archive(f"{address}/data.bin", target, md5=checksum or md5(content))


def test_download_through_the_door(
    published: Path, server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = server
    shutil.make_archive(str(folder / "tiny"), "zip", published.parent, published.name)
    checksum = md5((folder / "tiny.zip").read_bytes())
    monkeypatch.setattr(
        nbutils.images.datasets, "TINYIMAGENET", dataclasses.replace(TOY, url=f"{address}/tiny.zip", md5=checksum)
    )
    there = tmp_path / "new" / "data"
    images = load_images("tinyimagenet", path=there, download=True)
    assert images.ids == load_images("tinyimagenet", path=published).ids
    assert [entry.name for entry in there.iterdir()] == [TOY.folder]
    (folder / "tiny.zip").unlink()
    load_images("tinyimagenet", path=there, download=True)  # what is there is not fetched again


@pytest.mark.parametrize("pack", [zip_bytes, tar_bytes])
def test_archives_arrive_whole(server: tuple[Path, str], tmp_path: Path, pack: object) -> None:
    target = tmp_path / "out" / "top"
    fetch(server, target, pack({"top/a.txt": b"a", "top/sub/b.txt": b"b"}))
    assert (target / "a.txt").read_bytes() == b"a"
    assert (target / "sub" / "b.txt").read_bytes() == b"b"
    assert [entry.name for entry in target.parent.iterdir()] == ["top"]


REFUSED = {
    "zip outside": (zip_bytes({"top/a": b"", "../evil.txt": b"x"}), r"found '../evil.txt'; allowed: paths inside"),
    "zip absolute": (zip_bytes({"/evil.txt": b"x"}), r"found '/evil.txt'; allowed: paths inside"),
    "zip drive": (zip_bytes({"C:evil.txt": b"x"}), r"found 'C:evil.txt'; allowed: paths inside"),
    "tar outside": (tar_bytes({"top/a": b"", "../evil.txt": b"x"}), r"cannot be unpacked .*evil.txt"),
    "other folder": (zip_bytes({"else/a": b""}), r"found \['else'\]; allowed: an archive with the folder top"),
    "no archive": (b"<html>moved</html>", "cannot be unpacked .*allowed: an undamaged zip or tar archive"),
    "cut zip": (zip_bytes({"top/a": b"x" * 999})[:500], "cannot be unpacked"),
    "cut tar": (tar_bytes({"top/a": os.urandom(9999)})[:5000], "cannot be unpacked"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_download_refuses_and_leaves_nothing(server: tuple[Path, str], tmp_path: Path, case: str) -> None:
    content, message = REFUSED[case]
    target = tmp_path / "out" / "top"
    with pytest.raises(ImageError, match=message):
        fetch(server, target, content)
    assert not target.parent.exists()
    assert not list(tmp_path.rglob("evil.txt"))


def test_download_with_another_checksum(server: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"found '\d+ bytes with MD5 \w+'; allowed: MD5 0000. The transfer was cut"):
        fetch(server, tmp_path / "out" / "top", zip_bytes({"top/a": b""}), "0000")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pack", [zip_bytes, tar_bytes])
def test_download_that_unpacks_to_too_much(
    server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: object
) -> None:
    content = pack({"top/a": bytes(9000), "top/b": bytes(9000)})
    monkeypatch.setattr(nbutils.images.download, "MAX_BYTES", 17_999)
    with pytest.raises(ImageError, match="bytes'; allowed: at most .* bytes, packed and unpacked"):
        fetch(server, tmp_path / "out" / "top", content)
    assert not (tmp_path / "out").exists()


def test_download_addresses(server: tuple[Path, str], tmp_path: Path) -> None:
    for url in ("http://example.org/a.zip", "file:///etc/passwd", "ftp://127.0.0.1/a"):
        with pytest.raises(ImageError, match="allowed: an https:// address"):
            fetch_archive(url, tmp_path / "top", md5="")
    with pytest.raises(ImageError, match=r"none.zip: cannot be downloaded \(.*File not found.*Check the connection"):
        fetch_archive(f"{server[1]}/none.zip", tmp_path / "top", md5="")
    with pytest.raises(ImageError, match=r"cannot be downloaded \(.*refused"):
        fetch_archive("http://127.0.0.1:9/a.zip", tmp_path / "top", md5="")


def test_download_onto_a_full_disk(server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    with pytest.raises(ImageError, match=r"top: cannot be written \(No space left on device\). Make room"):
        fetch(server, tmp_path / "out" / "top", zip_bytes({"top/a": b""}))
    assert not (tmp_path / "out").exists()


def test_download_where_nothing_can_be_written(server: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ImageError, match="cannot be written"):
        fetch(server, tmp_path / "file" / "top", zip_bytes({"top/a": b""}))
