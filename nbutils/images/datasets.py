"""The two data sets of the published benchmark: their constants, and readers of their published files.

Means, standard deviations, class order and image order are those of the VNN-COMP 2022 benchmark
CIFAR100_TinyImageNet_ResNet.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ..core import ImageError, ImageSet, Normalization, Origin, require, root
from .download import fetch_archive
from .picture_files import center_crop, is_picture, read_pictures

_require = partial(require, error=ImageError)
_FINE = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
"""
CIFAR100_NAMES: tuple[str, ...] = tuple(_FINE.split())
"""The fine classes, alphabetical: position is class number."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What is known of a data set before any of its files is read."""

    name: str
    classes: int
    stored: int  # side of the published images, pixels
    side: int  # side of the network's input, pixels: the centre of what is stored
    images: dict[str, int] = field(compare=False)  # number of images of each split
    normalization: Normalization
    class_names: tuple[str, ...]  # empty where only the files say
    folder: str  # top folder of the published archive
    url: str
    md5: str  # of the archive

    def fit(self, levels: np.ndarray, where: str) -> np.ndarray:
        """`levels` [N, C, H, W] at network size: stored images are cropped to their centre, others must fit."""
        height, width = levels.shape[-2:]
        if height == width == self.stored:
            return center_crop(levels, self.side)
        fits = height == width == self.side
        sizes = " or ".join(f"{side} x {side}" for side in sorted({self.side, self.stored}))
        _require(fits, f"{where}: image size", f"{width} x {height} pixels", f"{sizes} pixels for {self.name}")
        return levels


CIFAR100 = Dataset(
    name="cifar100",
    classes=100,
    stored=32,
    side=32,
    images={"train": 50_000, "test": 10_000},
    normalization=Normalization((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)),
    class_names=CIFAR100_NAMES,
    folder="cifar-100-python",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
)
TINYIMAGENET = Dataset(
    name="tinyimagenet",
    classes=200,
    stored=64,
    side=56,
    images={"train": 100_000, "test": 10_000},
    normalization=Normalization((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
    class_names=(),
    folder="tiny-imagenet-200",
    url="https://cs231n.stanford.edu/tiny-imagenet-200.zip",
    md5="90528d7ca1a48142e341f4ef8d21d0de",
)
DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (CIFAR100, TINYIMAGENET)}


def cifar100(path: str | Path | None = None, *, split: str = "test", download: bool = False) -> ImageSet:
    """CIFAR-100 in its official order, out of the published Python files (Krizhevsky 2009).

    Args:
        path: the folder `cifar-100-python` or the one that holds it; `data/` of the checkout by default.
        split: `test` (10,000 images) or `train` (50,000).
        download: fetch the published archive (169 MB) where the folder is missing.

    Raises:
        ImageError: missing folder, or files whose MD5 is not the published one. Those are never unpickled.
    """
    folder = _published_folder(CIFAR100, path, split, download)
    from torchvision.datasets import CIFAR100 as Published  # here: it imports torch, which takes seconds

    try:
        data = Published(folder.parent, train=split == "train")  # compares all MD5s before it unpickles
    except RuntimeError as error:
        raise ImageError(
            f"{folder}: files are missing or their MD5 is not the published one, so they are not opened. "
            "Move the folder away and pass download=True."
        ) from error
    levels = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
    labels = np.asarray(data.targets, dtype=np.int64)
    return _image_set(CIFAR100, split, levels, labels, CIFAR100.class_names)


def tinyimagenet(
    path: str | Path | None = None, *, split: str = "test", download: bool = False, crop: bool = True
) -> ImageSet:
    """TinyImageNet sorted by (wnid, file name), class number = rank of the wnid, centre crop 56 of 64.

    Reads the published layout (`val/images` with `val_annotations.txt`, `train/WNID/images`) and the
    reshuffled one of `torchvision.datasets.ImageFolder` (`val/WNID`, `train/WNID`). Class names are the first
    synonyms of `words.txt`, or the wnids without it.

    Args:
        path: the folder `tiny-imagenet-200` or the one that holds it; `data/` of the checkout by default.
        split: `test` is the labelled validation split (10,000 images), `train` has 100,000.
        download: fetch the published archive (248 MB) where the folder is missing.
        crop: False keeps all 64 x 64 pixels, for augmentation in training (1.2 GB for `train`).

    Raises:
        ImageError: missing folder, other classes or fewer images than published, damaged images.
    """
    folder = _published_folder(TINYIMAGENET, path, split, download)
    part = folder / ("val" if split == "test" else "train")
    wnids = _wnids(folder, part)
    found, allowed = f"{len(wnids)} wnids", f"the {TINYIMAGENET.classes} of the published data"
    _require(len(wnids) == TINYIMAGENET.classes, str(folder), found, allowed)
    published = (part / "val_annotations.txt").is_file() and (part / "images").is_dir()
    listing = _annotated(part) if published else _by_class(part, wnids)
    listing = sorted(set(listing), key=lambda entry: (entry[0], entry[1].name))
    count = TINYIMAGENET.images[split]
    hint = "The true index of an image is its rank among all of them, so none may be missing"
    _require(len(listing) == count, str(part), f"{len(listing)} images", f"all {count}", hint)
    rank = {wnid: number for number, wnid in enumerate(wnids)}
    foreign = sorted({wnid for wnid, _ in listing} - rank.keys())
    _require(not foreign, str(part), foreign, "wnids of wnids.txt")
    levels = read_pictures([file for _, file in listing], crop=TINYIMAGENET.side if crop else None)
    labels = np.array([rank[wnid] for wnid, _ in listing], dtype=np.int64)
    return _image_set(TINYIMAGENET, split, levels, labels, _words(folder, wnids))


def _published_folder(dataset: Dataset, path: str | Path | None, split: str, download: bool) -> Path:
    require(split in dataset.images, "split", split, " or ".join(dataset.images))
    given = root() / "data" if path is None else Path(path)
    nested = given / dataset.folder
    direct = given.name == dataset.folder or any((given / part).is_dir() for part in ("val", "train"))
    folder = given if direct and not nested.is_dir() else nested
    if download and not folder.exists():
        fetch_archive(dataset.url, folder, md5=dataset.md5)
    hint = f"Pass download=True to fetch {dataset.url}, or path=FOLDER where it was unpacked"
    _require(folder.is_dir(), str(folder), "no such folder", f"the {dataset.name} files", hint)
    return folder


def _wnids(folder: Path, part: Path) -> list[str]:
    listed = folder / "wnids.txt"
    if listed.is_file():
        wnids = sorted(set(_lines(listed)))
        odd = [wnid for wnid in wnids if not re.fullmatch(r"n\d{8}", wnid)]
        _require(not odd, str(listed), odd[:3], "one wnid a line, as n01443537")
        return wnids
    _require(part.is_dir(), str(part), "no such folder", "the images of this split")
    return sorted(entry.name for entry in os.scandir(part) if entry.is_dir() and entry.name != "images")


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{file}: cannot be read ({error}); allowed: the published text file.") from error


def _annotated(part: Path) -> list[tuple[str, Path]]:
    """(wnid, file) of the published validation split, as its annotations say."""
    listing = []
    for number, line in enumerate(_lines(part / "val_annotations.txt"), 1):
        name, _, rest = line.partition("\t")
        plain = bool(rest) and name == Path(name).name and is_picture(name)
        where = f"{part / 'val_annotations.txt'} line {number}"
        _require(plain, where, line, "FILE.JPEG, a tab, WNID, box")
        listing.append((rest.split("\t")[0], part / "images" / name))
    return listing


def _by_class(part: Path, wnids: list[str]) -> list[tuple[str, Path]]:
    """(wnid, file) of a split with one folder a class."""
    listing = []
    for wnid in wnids:
        folder = part / wnid / "images" if (part / wnid / "images").is_dir() else part / wnid
        _require(folder.is_dir(), str(folder), "no such folder", "one folder for each wnid")
        listing += [(wnid, Path(entry.path)) for entry in os.scandir(folder) if is_picture(entry.name)]
    return listing


def _words(folder: Path, wnids: list[str]) -> tuple[str, ...]:
    listed = folder / "words.txt"
    if not listed.is_file():
        return tuple(wnids)
    rows = (line.partition("\t") for line in _lines(listed))
    words = {wnid: synonyms.split(",")[0].strip() for wnid, _, synonyms in rows}
    return tuple(words.get(wnid) or wnid for wnid in wnids)


def _image_set(
    dataset: Dataset, split: str, levels: np.ndarray, labels: np.ndarray, names: tuple[str, ...]
) -> ImageSet:
    origin = Origin("in the official order", normalization=f"usual for {dataset.name}", settled=False)
    indices = np.arange(len(labels))
    return ImageSet(levels, labels, indices, f"{dataset.name}/{split}", names, dataset.normalization, origin)
