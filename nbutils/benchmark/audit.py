"""The audit of a written benchmark folder: every file against the manifest, the images and the networks.

It trusts nothing the export did. Properties are parsed again (2.0 by PyPI `vnnlib`), boxes are built anew from the
manifest's images, the exported ONNX files are judged by onnxruntime, and what is wrong is listed file by file instead
of ending at the first fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..core import ExportError, ImageSet, Normalization, WorkbenchError, class_margins
from ..networks import open_network, read_bytes
from .export import LIMIT_SECONDS
from .folder_contents import Entry, WrittenBenchmark, contradiction, read_entry
from .manifest import NAME as MANIFEST
from .manifest import read_manifest, sha256
from .staged_folder import LIMIT_BYTES
from .text_check import check_written

_FOREIGN = "not as an export writes it"
CLOSE = 1e-3
"""How far a margin may be from the manifest's, relative to its size (1 if smaller): another machine's onnxruntime."""


@dataclass(frozen=True)
class Check:
    """One question, asked of `count` things."""

    question: str
    count: int
    failures: tuple[str, ...]  # "FILE: what is wrong", in the order of the files


@dataclass(frozen=True)
class AuditReport:
    """What an audit found in `folder`."""

    folder: Path
    instances: int
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """All failures, "FILE: what is wrong"."""
        return tuple(failure for check in self.checks for failure in check.failures)

    @property
    def ok(self) -> bool:
        """Nothing was found wrong."""
        return not self.failures

    def demand(self) -> None:
        """End here unless nothing was found wrong.

        Raises:
            ExportError: with the first failures.
        """
        if self.failures:
            shown = "; ".join(self.failures[:3]) + ("; …" if len(self.failures) > 3 else "")
            raise ExportError(f"{self.folder}: the audit found {len(self.failures)} failure(s): {shown}")


def audit_benchmark(
    folder: Path | str,
    normalizations: Mapping[str, Normalization],
    *,
    points: Mapping[str, np.ndarray] | None = None,
    images: Sequence[ImageSet] = (),
) -> AuditReport:
    """Check everything in an exported benchmark that can be checked without repeating attack and bounds.

    Args:
        folder: with `manifest.json`, as `export_benchmark` writes it.
        normalizations: of each network's input, by its name.
        points: property name -> float32 [C, H, W], the attack's lowest point (`Verdict.point`), network input space.
        images: what the instances were drawn from: their hash and label have to be there, and under the same index
            if it is the source that the manifest names.

    Raises:
        ExportError: there is no manifest that this package wrote. Every other fault is a failure in the report.
    """
    bench = WrittenBenchmark(Path(folder), read_manifest(Path(folder)))
    checks = [
        _ask("manifest: instances complete, image and verdict fit them", _entries(bench, normalizations)),
        _ask("files: those of the instances and no other, bytes as hashed, none over 100 MB", _files(bench)),
        _ask("instances.csv: same rows in every version, in the manifest's order, sum within six hours", _rows(bench)),
        _ask("properties: parsed box is the image's, float32 for float32; label and classes too", _properties(bench)),
        _ask("networks: hash of the manifest, open, torch twin and onnxruntime agree", _networks(bench)),
        _ask("centres: onnxruntime gives the label, by the manifest's margin", _centres(bench)),
        _ask("attack points, judged again: no counterexample where open, one where attacked", _points(bench, points)),
    ]
    if images:
        checks.insert(1, _ask("images: in the source, by hash and label, under their index", _sources(bench, images)))
    return AuditReport(bench.folder, len(bench.manifest["instances"]), tuple(checks))


def _ask(question: str, answers: Iterable[str]) -> Check:
    """Collect a check's answers: an empty text for each thing in order, else what is wrong with it."""
    found: list[str] = []
    try:
        found.extend(answers)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        found.append(f"{MANIFEST}: {_FOREIGN} ({type(error).__name__}: {error})")
    return Check(question, len(found), tuple(answer for answer in found if answer))


def _attempt(name: str, action: Callable[[], str]) -> str:
    """What `action` finds wrong, or the package's own error, which names a file already or gets `name`."""
    try:
        wrong = action()
    except WorkbenchError as error:
        wrong = str(error)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # a manifest of another shape
        wrong = f"{_FOREIGN} ({type(error).__name__}: {error})"
    return wrong and (wrong if wrong.startswith(name) else f"{name}: {wrong}")


def _files(bench: WrittenBenchmark) -> Iterator[str]:
    hashes, present, wanted = bench.manifest["files"], bench.files(), bench.expected()
    for path in sorted(hashes.keys() | present | wanted):
        target = bench.folder / path
        if path not in present:
            yield f"{path}: missing"
        elif path not in hashes:
            yield f"{path}: not in the manifest"
        elif path not in wanted:
            yield f"{path}: belongs to no instance of the manifest"
        elif target.is_symlink() or not target.is_file():
            yield f"{path}: no plain file"
        elif target.stat().st_size > LIMIT_BYTES:
            yield f"{path}: {target.stat().st_size / 1e6:.1f} MB, VNN-COMP allows {LIMIT_BYTES / 1e6:g}"
        else:
            yield "" if sha256(target.read_bytes()) == hashes[path] else f"{path}: not the bytes of the manifest's hash"


def _entries(bench: WrittenBenchmark, normalizations: Mapping[str, Normalization]) -> Iterator[str]:
    for number, entry in enumerate(bench.manifest["instances"], 1):
        yield _attempt(f"{MANIFEST}: instance {number}", partial(_entry, bench, entry, normalizations))


def _entry(bench: WrittenBenchmark, entry: Mapping[str, Any], normalizations: Mapping[str, Normalization]) -> str:
    bench.entries.append(read_entry(entry, normalizations))
    return contradiction(entry)


def _sources(bench: WrittenBenchmark, images: Sequence[ImageSet]) -> Iterator[str]:
    places = {
        (found.source, int(index)): key
        for found in images
        for key, index in zip(found.keys, found.indices, strict=True)
    }
    keys, sources = set(places.values()), {found.source for found in images}
    for entry in bench.entries:
        key = f"{entry.image_id}/{entry.label}"
        if key not in keys:
            loaded = ", ".join(sorted(sources))
            yield f"{entry.property.name}: its image, or that image with its label, is not in {loaded}"
        elif entry.source in sources and places.get((entry.source, entry.index)) != key:
            yield f"{entry.property.name}: image {entry.index} of {entry.source} is another one"
        else:
            yield ""


def _rows(bench: WrittenBenchmark) -> Iterator[str]:
    onnx, vnnlib = ("", "") if bench.manifest.get("layout") == "published" else ("onnx/", "vnnlib/")
    total = sum(entry.timeout for entry in bench.entries)
    yield (
        "" if total <= LIMIT_SECONDS else f"instances.csv: timeouts sum to {total:g} s, VNN-COMP allows {LIMIT_SECONDS}"
    )
    for base in bench.bases.values():
        name = f"{base}instances.csv"
        try:
            rows = (bench.folder / name).read_text(encoding="ascii").splitlines()
        except (OSError, ValueError) as error:
            yield f"{name}: cannot be read ({error})"
            continue
        yield "" if len(rows) == len(bench.entries) else f"{name}: {len(rows)} rows, {len(bench.entries)} instances"
        for number, (row, entry) in enumerate(zip(rows, bench.entries, strict=False), 1):
            network, prop, *timeout = row.split(",")
            wanted = (f"{onnx}{entry.network}.onnx", f"{vnnlib}{entry.property.name}", [entry.timeout])
            found = (network, prop, [_number(text) for text in timeout])
            yield "" if found == wanted else f"{name}, row {number}: {row!r} is not instance {number} of the manifest"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _properties(bench: WrittenBenchmark) -> Iterator[str]:
    present = bench.files()
    for version, base in bench.bases.items():
        for entry in bench.entries:
            path = f"{base}vnnlib/{entry.property.name}{bench.suffix}"
            if path not in present:
                yield f"{path}: missing"
                continue
            yield _attempt(path, partial(_property, bench, path, entry, version))


def _property(bench: WrittenBenchmark, path: str, entry: Entry, version: str) -> str:
    check_written(bench.folder / path, entry.property, version)
    return ""


def _networks(bench: WrittenBenchmark) -> Iterator[str]:
    for base in bench.bases.values():
        for name, facts in sorted(bench.manifest.get("networks", {}).items()):
            path = f"{base}onnx/{name}.onnx{bench.suffix}"
            yield _attempt(path, partial(_network, bench, path, name, facts))
    for name in sorted({entry.network for entry in bench.entries} - set(bench.manifest.get("networks", {}))):
        yield f"{MANIFEST}: network {name} of an instance is not among the networks"


def _network(bench: WrittenBenchmark, path: str, name: str, facts: Mapping[str, Any]) -> str:
    target = bench.folder / path
    if sha256(read_bytes(target)) != facts["sha256"]:
        return "not the network of the manifest's hash"
    if name not in bench.networks:
        bench.networks[name] = open_network(target, device="cpu")
    return ""


def _judged(bench: WrittenBenchmark, entry: Entry, point: np.ndarray) -> tuple[int, float]:
    """Class the exported network answers at `point` [C, H, W], and the smallest margin of the label, logits."""
    margins = class_margins(bench.networks[entry.network].judge(point[None]), np.array([entry.label]))
    return int(margins.predicted[0]), float(margins.smallest[0])


def _centres(bench: WrittenBenchmark) -> Iterator[str]:
    for entry in bench.entries:
        if entry.network in bench.networks:
            yield _attempt(entry.property.name, partial(_centre, bench, entry))


def _centre(bench: WrittenBenchmark, entry: Entry) -> str:
    predicted, margin = _judged(bench, entry, entry.box.center[0])
    if predicted != entry.label:
        return f"{entry.network} answers {predicted} at the image itself, the label is {entry.label}"
    known = margin if entry.verdict is None else entry.verdict["natural_margin"]
    return "" if _near(margin, known) else f"margin {margin:.6g} at the image itself, the manifest says {known:.6g}"


def _points(bench: WrittenBenchmark, points: Mapping[str, np.ndarray] | None) -> Iterator[str]:
    for entry in bench.entries:
        point = (points or {}).get(entry.property.name)
        if point is not None and entry.network in bench.networks:
            yield _attempt(entry.property.name, partial(_point, bench, entry, point))


def _point(bench: WrittenBenchmark, entry: Entry, point: np.ndarray) -> str:
    if point.shape != entry.property.shape or not entry.box.contains(point[None])[0]:
        return "the stored attack point lies outside the box"
    _, margin = _judged(bench, entry, point)
    if entry.verdict is None:
        return ""
    if (margin <= 0) != (entry.verdict["status"] == "attacked"):
        return f"{entry.verdict['status']}, but the stored attack point has margin {margin:.6g}"
    known = entry.verdict["attack_margin"]
    return "" if _near(margin, known) else f"margin {margin:.6g} at the attack point, the manifest says {known:.6g}"


def _near(found: float, known: float) -> bool:
    return abs(found - known) <= CLOSE * max(1.0, abs(known))
