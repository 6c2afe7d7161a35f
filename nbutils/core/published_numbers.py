"""The published benchmark as numbers: its networks, its lists, its draw from a seed, its file names.

VNN-COMP 2022, `Lucas110550/CIFAR100_TinyImageNet_ResNet`. The 10,000 test images were permuted once; `sidx` numbers the
permuted images, and a list holds the `sidx` of every image that passed the filter.

The naming bug: image `sidx` is test image `perm[sidx]`, but file names say `idx = argsort(perm)[sidx]`, which is where
test image number `sidx` went, another image altogether. Replayed names keep the mistake, so that files can be compared;
`true_index` says which image it is.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import PropertyError, require

IMAGES = 10_000
"""Test images of either data set."""

EPS_TEXT = "0.0039"
"""The radius 1/255 as the published names round it."""

_PERMUTATION_SEED = 111
_NAME = re.compile(r"(?P<network>\w+)_prop_idx_(?P<idx>\d{1,9})(?:_sidx_(?P<sidx>\d{1,9}))?_eps_[0-9.]+\.vnnlib(\.gz)?")


@dataclass(frozen=True)
class PublishedNetwork:
    """One network of the benchmark: how many properties of it are drawn, and what its ONNX file looks like."""

    name: str
    dataset: str  # as in `datasets.DATASETS`
    count: int  # instances
    timeout: int  # seconds an instance
    parameters: int  # stored floats, batch-norm statistics included
    convolutions: int  # Conv nodes, shortcuts included; each has a BatchNormalization
    list_sha256: str  # of its list

    @property
    def list_name(self) -> str:
        """File name of its list."""
        return f"{self.name}_list.txt"


NETWORKS: dict[str, PublishedNetwork] = {
    network.name: network
    for network in (
        PublishedNetwork(
            "CIFAR100_resnet_small", "cifar100", 10, 240, 1_352_600, 11,
            "4ecf0707b614a230df135585ba8142341de66d0cc66f628d70a11aa42b84756d",
        ),
        PublishedNetwork(
            "CIFAR100_resnet_medium", "cifar100", 24, 200, 2_536_344, 19,
            "0aa09151bcd2faff560bf1203b2cfae4bc5978a3822c7ff695b29cdacfa9e6ba",
        ),
        PublishedNetwork(
            "CIFAR100_resnet_large", "cifar100", 24, 200, 3_808_152, 20,
            "b53ad7b8a94f9036927e0e14b5ffa1cbcf07d04c2f6fac84231036948c591b59",
        ),
        PublishedNetwork(
            "CIFAR100_resnet_super", "cifar100", 16, 300, 7_916_888, 22,
            "7498a73122701ed8926d649369bc8a24ea1ce25db87afc24c8e027d428fdbe7a",
        ),
        PublishedNetwork(
            "TinyImageNet_resnet_medium", "tinyimagenet", 24, 200, 3_616_144, 19,
            "efc391322fe702ed45ad5a6ec6de3ac2a96a77aaad35157dffc1897234f57646",
        ),
    )
}  # fmt: skip
"""In the order in which the published `instances.csv` lists them."""


@dataclass(frozen=True)
class PublishedInstance:
    """One row of the published benchmark."""

    network: str
    sidx: int  # position among the permuted test images
    timeout: int  # seconds

    @property
    def index(self) -> int:
        """True index of the image in its test set."""
        return true_index(self.sidx)

    @property
    def name(self) -> str:
        """File name of the property, with the published mistake in `idx`."""
        return f"{self.network}_prop_idx_{misnamed_index(self.sidx)}_sidx_{self.sidx}_eps_{EPS_TEXT}.vnnlib"

    @property
    def row(self) -> str:
        """Its line in `instances.csv`."""
        return f"{self.network}.onnx,{self.name},{self.timeout}"


def true_index(sidx: int) -> int:
    """True index, in its test set, of image `sidx` of the permuted ones: `perm[sidx]`."""
    return int(_permutation()[_checked(sidx)])


def misnamed_index(sidx: int) -> int:
    """The `idx` in published file names: `argsort(perm)[sidx]`, not the index of the image in the file."""
    return int(np.argsort(_permutation())[_checked(sidx)])


def replay(folder: Path | str, seed: int = 0, networks: Iterable[str] | None = None) -> tuple[PublishedInstance, ...]:
    """The benchmark that the published generator draws from `seed`; seed 0 is the one used in 2022.

    Args:
        folder: with the published lists, one `NETWORK_list.txt` a network.
        seed: 0 to 2^32 - 1, as NumPy's legacy generator takes it.
        networks: some of `NETWORKS`; all by default.

    Raises:
        ParameterError: another seed, an unknown network.
        PropertyError: a list that is missing or is no list of distinct numbers below 10,000.
    """
    whole = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**32
    require(whole, "seed", seed, "a whole number from 0 to 4294967295, as the published generator takes it")
    names = tuple(NETWORKS if networks is None else networks)
    for name in names:
        require(name in NETWORKS, "network", name, "one of the published: " + ", ".join(NETWORKS))
    instances: list[PublishedInstance] = []
    for network in (network for name, network in NETWORKS.items() if name in names):
        listed = read_list(Path(folder) / network.list_name)
        drawn = np.random.RandomState(seed).permutation(len(listed))[: network.count]
        instances += (PublishedInstance(network.name, listed[row], network.timeout) for row in sorted(drawn.tolist()))
    return tuple(instances)


def read_list(path: Path | str) -> tuple[int, ...]:
    """The `sidx` values of a published list, in its order.

    Raises:
        PropertyError: naming file and line.
    """
    path, allowed = Path(path), f"distinct numbers from 0 to {IMAGES - 1}, one a line"
    hint = "`python -m nbutils download-published` fetches the lists"
    require(path.is_file(), str(path), "no such file", "a published list", hint, error=PropertyError)
    values: list[int] = []
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), 1):
        ok = re.fullmatch(r"[0-9]{1,4}", line) is not None and int(line) not in values
        require(ok, f"{path}, line {number}", line, allowed, error=PropertyError)
        values.append(int(line))
    require(len(values) > 0, str(path), "an empty file", allowed, error=PropertyError)
    return tuple(values)


def index_in_name(name: str) -> int | None:
    """True index of the image of the property file `name`: published names are put right, own ones say it."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    if match["sidx"] is None:
        return int(match["idx"])
    sidx = int(match["sidx"])
    return true_index(sidx) if sidx < IMAGES and misnamed_index(sidx) == int(match["idx"]) else None


@functools.cache
def _permutation() -> np.ndarray:
    """int64 [10000]: the published order. NumPy keeps legacy streams fixed, bit for bit (NEP 19)."""
    return np.random.RandomState(_PERMUTATION_SEED).permutation(IMAGES)


def _checked(sidx: int) -> int:
    require(0 <= sidx < IMAGES, "sidx", sidx, f"0 to {IMAGES - 1}")
    return sidx
