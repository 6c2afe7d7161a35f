"""The published lists and networks, fetched from where they were published.

Lists are pinned by SHA-256. No checksum of the networks was ever published: the address names one commit, and what
arrives has to be a network of the published architecture, parameter for parameter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from pathlib import Path

import onnx

from ..benchmark import sha256
from ..core import NETWORKS, NetworkError, PublishedNetwork, require
from ..images import DATASETS, fetch_file
from ..networks import parse, ports, read_bytes, stored_tensors

BASE_URL = (
    "https://raw.githubusercontent.com/Lucas110550/CIFAR100_TinyImageNet_ResNet/"
    "faf51ff90235ae82ae9d3f9fbe50afaa7dcbebe9"
)
LISTS, ONNX = "selected_list", "onnx"
"""Folders of the published repository, and of what is downloaded."""


def download_published(
    out: Path | str, *, base_url: str = BASE_URL, lists: bool = True, networks: bool = True
) -> Iterator[tuple[Path, str]]:
    """Fetch what is missing in `out`; yields (file, what is known of it) one by one.

    Files that are there already are checked the same way and not fetched again.

    Raises:
        ImageError: unreachable address, another checksum, full disk.
        NetworkError: a network that is not the published architecture.
    """
    out = Path(out)
    for network in NETWORKS.values():
        if lists:
            path = out / LISTS / network.list_name
            digest = _ensure(f"{base_url}/{LISTS}/{path.name}", path, network.list_sha256)
            yield path, f"SHA-256 {digest[:12]}… as pinned"
        if networks:
            path = out / ONNX / f"{network.name}.onnx"
            digest = _ensure(f"{base_url}/{ONNX}/{path.name}", path, None, partial(require_published, network, path))
            yield path, f"SHA-256 {digest[:12]}…, none was published; architecture and parameter count as published"


def recognise(path: Path | str) -> PublishedNetwork | None:
    """The published network that the ONNX file `path` is named after and built like; None for any other name.

    Name and architecture say nothing about the weights: networks trained here carry the same names.

    Raises:
        NetworkError: a published name on another architecture.
    """
    path = Path(path)
    network = NETWORKS.get(path.name.removesuffix(".gz").removesuffix(".onnx"))
    if network is not None:
        require_published(network, path, read_bytes(path))
    return network


def require_published(network: PublishedNetwork, path: Path, data: bytes) -> None:
    """Refuse an ONNX file (`data`, named `path` in messages) that is not built like `network`."""
    model = parse(data, path)
    dataset, ops = DATASETS[network.dataset], Counter(node.op_type for node in model.graph.node)
    floats = (t for _, t in stored_tensors(model) if t.data_type == onnx.TensorProto.FLOAT)
    found = {
        "parameters": sum(prod(tensor.dims) for tensor in floats),
        "Conv": ops["Conv"],
        "Gemm": ops["Gemm"],
        "input": ports(model, path).input_shape,
    }
    wanted: dict[str, object] = {"parameters": network.parameters, "Conv": network.convolutions, "Gemm": 2}
    wanted["input"] = (3, dataset.side, dataset.side)
    hint = "This is another network under the published name"
    require(found == wanted, f"{path}: architecture", found, f"{wanted}, as published", hint, error=NetworkError)


def _ensure(url: str, path: Path, checksum: str | None, accept: Callable[[bytes], None] | None = None) -> str:
    if not path.is_file():
        return fetch_file(url, path, sha256=checksum, accept=accept)
    data = path.read_bytes()
    hint = "Move it away to have it fetched again"
    require(checksum in (None, sha256(data)), f"{path}: SHA-256", sha256(data), f"{checksum}", hint, error=NetworkError)
    if accept is not None:
        accept(data)
    return sha256(data)
