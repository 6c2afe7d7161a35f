"""A written benchmark as its manifest describes it: instances with boxes built anew, and the files they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core import Box, ExportError, Normalization, Property
from ..networks import Network
from .manifest import NAME as MANIFEST
from .manifest import decode_levels, sha256

SLACK = 1e-4
"""Float error allowed between a bound and a margin, relative to its size (1 if smaller); `BoundsConfig.tolerance`."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One instance as the manifest's numbers give it."""

    property: Property
    box: Box
    network: str
    timeout: float
    source: str
    index: int
    image_id: str
    label: int
    verdict: Mapping[str, Any] | None


@dataclass
class WrittenBenchmark:
    """The folder while it is audited."""

    folder: Path
    manifest: dict[str, Any]
    entries: list[Entry] = field(default_factory=list)
    networks: dict[str, Network] = field(default_factory=dict)

    @property
    def bases(self) -> dict[str, str]:
        """VNN-LIB version -> folder prefix of its files."""
        nested = self.manifest.get("layout") == "vnncomp"
        return {version: f"{version}/" if nested else "" for version in self.manifest.get("vnnlib_versions", [])}

    @property
    def suffix(self) -> str:
        """Ending of its files behind `.vnnlib` and `.onnx`."""
        return ".gz" if self.manifest.get("gzip") else ""

    def files(self) -> set[str]:
        """Paths of everything below the folder but the manifest; links count as files."""
        found = (path for path in self.folder.rglob("*") if path.is_symlink() or not path.is_dir())
        return {path.relative_to(self.folder).as_posix() for path in found} - {MANIFEST}

    def expected(self) -> set[str]:
        """Paths that the instances and versions of the manifest ask for."""
        paths = set()
        for base in self.bases.values():
            paths.add(f"{base}instances.csv")
            for entry in self.entries:
                paths.add(f"{base}onnx/{entry.network}.onnx{self.suffix}")
                paths.add(f"{base}vnnlib/{entry.property.name}{self.suffix}")
        return paths


def read_entry(entry: Mapping[str, Any], normalizations: Mapping[str, Normalization]) -> Entry:
    """An instance of a manifest, its box made by `Box.around` from the image that the manifest holds.

    Args:
        normalizations: of each network's input, by its name.

    Raises:
        ExportError: no image, or a network without a normalization.
        ParameterError: numbers that are no instance.
        KeyError, TypeError, ValueError: an entry that is not as an export writes it.
    """
    levels, network = decode_levels(entry["image"]), entry["network"]
    if network not in normalizations:
        raise ExportError(f"no normalization was given for network {network}")
    box = Box.around(levels[None].astype(np.float32) / np.float32(255), normalizations[network], entry["eps"])
    prop = Property(
        box.lower.ravel(), box.upper.ravel(), entry["label"], entry["classes"], levels.shape, str(entry["property"])
    )
    return Entry(
        property=prop,
        box=box,
        network=network,
        timeout=float(entry["timeout"]),
        source=entry["source"],
        index=entry["index"],
        image_id=entry["image_id"],
        label=entry["label"],
        verdict=entry.get("verdict"),
    )


def contradiction(entry: Mapping[str, Any]) -> str:
    """What an instance of a manifest says against its own image or verdict; empty if nothing."""
    name, verdict = entry["property"], entry.get("verdict")
    found = sha256(decode_levels(entry["image"]).tobytes())
    if found != entry["image_id"]:
        return f"{name}: image of hash {found[:12]}, its image_id is {entry['image_id'][:12]}"
    if verdict is None:
        return ""
    for key in ("image_id", "index", "label"):
        if verdict[key] != entry[key]:
            return f"{name}: {key} {entry[key]}, its verdict's is {verdict[key]}"
    status, attacked, bound = verdict["status"], verdict["attack_margin"], verdict["bound"]
    if status not in ("open", "attacked"):
        return f"{name}: {status} images are no instances"
    if attacked is None or (status == "open" and bound is None):
        return f"{name}: {status} without attack margin or bound"
    if (attacked <= 0) != (status == "attacked"):
        return f"{name}: {status} with attack margin {attacked:.6g}"
    if bound is not None and bound > attacked + SLACK * max(1.0, abs(attacked)):
        return f"{name}: {status} with bound {bound:.6g} above attack margin {attacked:.6g}"
    hardness = None if bound is None else attacked - bound
    return "" if verdict["hardness"] == hardness else f"{name}: hardness {verdict['hardness']}, should be {hardness}"
