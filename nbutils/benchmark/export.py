"""Benchmark folders: properties, networks, `instances.csv` and a manifest, all or nothing.

Everything is written into a temporary folder beside the target, read back from there, flushed to the disk and renamed.
A folder that is there already is replaced only if an earlier export wrote everything in it.

Layouts (VNN-COMP 2026, and the benchmark as published in 2022):

    vnncomp     OUT/{1.0,2.0}/{instances.csv, onnx/, vnnlib/}, rows `onnx/X.onnx,vnnlib/Y.vnnlib,timeout`
    flat        OUT/{instances.csv, onnx/, vnnlib/}, one version, the same rows
    published   as flat, rows `X.onnx,Y.vnnlib,timeout`

Rows never name `.gz`, whether the files are gzipped or not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..core import ExportError, Instance, package_versions, require
from ..networks import parse, ports, read_bytes, stem
from ..properties import VERSIONS, decimal, gzip_bytes, write_text
from .manifest import FORMAT, describe_verdict, dump, encode_levels, sha256
from .manifest import NAME as MANIFEST
from .staged_folder import staged
from .text_check import check_written

LAYOUTS: tuple[str, ...] = ("vnncomp", "flat", "published")
LIMIT_SECONDS = 21_600
"""VNN-COMP's limit on the sum of all timeouts of a benchmark: six hours."""
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote."""

    folder: Path
    instances: int
    versions: tuple[str, ...]
    files: tuple[str, ...]  # below `folder`, sorted, the manifest included
    megabytes: float  # 10^6 bytes, all files
    seconds: float  # sum of the timeouts of one version

    def describe(self) -> str:
        """What was written, as text for a person."""
        versions = " and ".join(self.versions)
        return (
            f"{self.instances} instance{'s' if self.instances > 1 else ''} in VNN-LIB {versions}, timeouts sum to "
            f"{self.seconds:g} s\n{len(self.files)} files, {self.megabytes:.1f} MB, in {self.folder.name}/:\n  "
            + "\n  ".join(self.files)
        )


def export_benchmark(
    instances: Sequence[Instance],
    out: Path | str,
    *,
    manifest: Mapping[str, Any],
    versions: Sequence[str] = VERSIONS,
    gzip: bool = False,
    layout: str = "vnncomp",
    limit_seconds: float = LIMIT_SECONDS,
) -> ExportReport:
    """Write a benchmark folder `out` that holds `instances` in the given order.

    Args:
        manifest: what the caller knows: seed, settings, how the instances were drawn. JSON types.
        versions: of VNN-LIB; the layouts `flat` and `published` hold one.
        gzip: write .onnx.gz and .vnnlib.gz.
        layout: `vnncomp`, `flat` or `published`; see the module.
        limit_seconds: the timeouts may sum to this; VNN-COMP allows six hours.

    Raises:
        ParameterError: for settings, names, timeouts or manifest entries that are not allowed; nothing is touched.
        NetworkError: for a network that cannot be read; nothing is touched.
        ExportError: for a network that does not fit its property, a folder that cannot be written or holds what no
            export wrote, a file over 100 MB, a file that does not read back. `out` is then as it was before.

    Example:
        >>> session = Session(open_network("CIFAR100_resnet_small", device="cpu"), images.take([17]), SelectionConfig())
        >>> verdicts = session.run_funnel()  # the one image stays open
        >>> session.choose(1, seed=0)
        >>> instances = session.chosen_instances(timeout=200)
        >>> report = export_benchmark(instances, folder / "made", manifest={"by": "an example"})
        >>> report.instances, (folder / "made" / "1.0" / "instances.csv").read_text().split(",")[0]
        (1, 'onnx/CIFAR100_resnet_small.onnx')
    """
    check_form(versions, layout)
    _check_instances(instances, limit_seconds)
    described = [_describe(instance) for instance in instances]
    networks = _read_networks(instances, tuple(versions))
    facts = {
        "format": FORMAT,
        "layout": layout,
        "vnnlib_versions": list(versions),
        "gzip": gzip,
        "packages": package_versions(),
        "networks": {name: {"sha256": sha256(data)} for name, data in networks.items()},
        "instances": described,
    }
    taken = sorted({*facts, "files"} & set(manifest))
    require(not taken, "manifest", taken, "entries of other names, these are the export's own")
    dump({**manifest, **facts})  # what it refuses, it refuses before anything is written
    suffix, pack = (".gz", gzip_bytes) if gzip else ("", bytes)
    with staged(Path(out)) as stage:
        for version in versions:
            base = f"{version}/" if layout == "vnncomp" else ""
            for name, data in networks.items():
                stage.write(f"{base}onnx/{name}.onnx{suffix}", pack(data))
            for instance in tqdm(instances, desc=f"VNN-LIB {version}", unit="file", leave=False):
                text = write_text(instance.property, version).encode("ascii")
                path = stage.write(f"{base}vnnlib/{instance.property.name}{suffix}", pack(text))
                check_written(path, instance.property, version)
            stage.write(f"{base}instances.csv", instances_csv(instances, plain=layout == "published").encode("ascii"))
        stage.write(MANIFEST, dump({**manifest, **facts, "files": stage.hashes}))
    seconds = sum(instance.timeout for instance in instances)
    files = tuple(sorted(stage.sizes))
    return ExportReport(Path(out), len(instances), tuple(versions), files, sum(stage.sizes.values()) / 1e6, seconds)


def check_form(versions: Sequence[str], layout: str) -> None:
    """Refuse an unknown layout, an unknown version, or both versions in a layout that holds one.

    Raises:
        ParameterError: naming which.
    """
    require(layout in LAYOUTS, "layout", layout, ", ".join(LAYOUTS))
    ok = 0 < len(versions) == len(set(versions)) and set(versions) <= set(VERSIONS)
    require(ok, "versions", versions, "one or both of " + ", ".join(VERSIONS))
    ok = layout == "vnncomp" or len(versions) == 1
    require(ok, "versions", versions, f"one version in layout {layout}", "Layout vnncomp holds both")


def _check_instances(instances: Sequence[Instance], limit_seconds: float) -> None:
    """Names that are file names and unlike each other on any file system; timeouts within the limit."""
    require(len(instances) > 0, "instances", 0, "at least one", "Choose an open image, or a larger radius")
    seen: set[str] = set()
    for instance in instances:
        name = instance.property.name
        ok = bool(_SAFE.fullmatch(name)) and name.endswith(".vnnlib") and len(name) <= 200
        require(ok, "property name", name, "letters, digits and ._+- in a file name ending in .vnnlib")
        require(name.casefold() not in seen, "property name", name, "each name once")
        seen.add(name.casefold())
        timeout = instance.timeout
        ok = isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and 0 < timeout < math.inf
        require(ok, "timeout", timeout, "a number of seconds above 0")
    total = sum(instance.timeout for instance in instances)
    hint = "Choose fewer instances or shorter timeouts; VNN-COMP allows six hours a benchmark"
    require(total <= limit_seconds, "sum of timeouts", total, f"at most {limit_seconds:g} seconds", hint)


def _read_networks(instances: Sequence[Instance], versions: Sequence[str]) -> dict[str, bytes]:
    """Unpacked ONNX bytes by file stem, in order of first use, once each fits its properties."""
    files: dict[str, tuple[Path, bytes, tuple[int, ...]]] = {}
    for instance in instances:
        path = Path(instance.network)
        name = stem(path)
        if name not in files:
            require(bool(_SAFE.fullmatch(name)), "network name", name, "letters, digits and ._+-")
            data = read_bytes(path)
            ends = ports(parse(data, path), path)
            files[name] = (path, data, ends.input_shape)
            hint = "2.0 text declares an image, which this network does not take"
            flat = f"2.0 for a network of input {ends.declared}"
            require(not ends.flat or versions == ("1.0",), "versions", flat, "1.0", hint, error=ExportError)
        first, data, shape = files[name]
        if path != first and read_bytes(path) != data:
            raise ExportError(f"{path}: found another network of the name {name} in {first}; allowed: one a name.")
        prop = instance.property
        hint = "The property was made for another network"
        require(shape == prop.shape, f"{name}: input", shape, f"{prop.shape} of {prop.name}", hint, error=ExportError)
    return {name: data for name, (_, data, _) in files.items()}


def instances_csv(instances: Sequence[Instance], *, plain: bool = False) -> str:
    """The rows of `instances.csv`; `plain` leaves the folders out, as the published files do."""
    onnx, vnnlib = ("", "") if plain else ("onnx/", "vnnlib/")
    return "".join(
        f"{onnx}{stem(Path(i.network))}.onnx,{vnnlib}{i.property.name},{_seconds(i.timeout)}\n" for i in instances
    )


def _seconds(timeout: float) -> str:
    """`240`, not `240.0`; the published files have whole numbers."""
    return str(int(timeout)) if timeout == int(timeout) else decimal(timeout)


def _describe(instance: Instance) -> dict[str, Any]:
    """The manifest's entry of one instance."""
    prop, levels = instance.property, instance.levels
    entry = {
        **prop.meta,
        "property": prop.name,
        "network": stem(Path(instance.network)),
        "timeout": instance.timeout,
        "label": prop.label,
        "classes": prop.classes,
    }
    if levels is not None:
        shown = (str(levels.dtype), levels.shape)
        ok = levels.dtype == np.uint8 and levels.shape == prop.shape
        require(ok, f"{prop.name}: levels", shown, f"uint8 {list(prop.shape)}")
        image_id = sha256(np.ascontiguousarray(levels).tobytes())
        known = prop.meta.get("image_id", image_id)
        require(image_id == known, f"{prop.name}: levels", image_id, f"the image {known} that the property names")
        entry |= {"image_id": image_id, "image": encode_levels(levels)}
    if instance.verdict is not None:
        entry["verdict"] = describe_verdict(instance.verdict)
    return entry
