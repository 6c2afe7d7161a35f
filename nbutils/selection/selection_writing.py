"""Selections as files: what the funnel left of a test set, as one CSV a network.

`vnnlib/selected/NETWORK.csv` begins with lines `# key: JSON` (format, network, settings, normalization, source, counts,
packages) and holds a row for each `open` and each `attacked` image, sorted by true index. Images appear as hashes,
never as pixels; misclassified and verified ones as counts. Properties are made from these rows and the images alone: no
verdict is computed again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import (
    STATUSES,
    Normalization,
    SelectionConfig,
    SelectionError,
    Settings,
    Verdict,
    package_versions,
    require,
)

if TYPE_CHECKING:
    from ..networks import Network

FORMAT = "nbutils selection, 1"
KEPT: tuple[str, ...] = ("attacked", "open")
"""Statuses whose images get a row."""

COLUMNS: tuple[str, ...] = (
    "image_id", "index", "label", "status", "decided_by",
    "natural_margin", "attack_margin", "bound", "bound_method", "hardness",
)  # fmt: skip
ALPHA = "alpha_bound"
"""A last column, there once alpha-CROWN was run on some open images: its lower bound of the smallest margin."""

HEADER: tuple[str, ...] = ("format", "network", "settings", "normalization", "source", "counts", "packages")


@dataclass(frozen=True, eq=False)
class Selection:
    """What is known of a whole set of images under one network and one setting."""

    network: str  # file stem
    network_sha256: str  # of the ONNX file, unpacked
    input_shape: tuple[int, int, int]  # (C, H, W)
    classes: int
    dataset: str | None  # of the network's card, as "cifar100"
    settings: Mapping[str, Any]  # `SelectionConfig.as_dict`, and `strong` where there was a second stage
    normalization: Normalization
    source: str  # image source; `Verdict.index` counts in its order
    counts: Mapping[str, int]  # images by status, all four
    packages: Mapping[str, str | None]  # versions that the verdicts were computed with
    verdicts: tuple[Verdict, ...] = field(repr=False)  # `KEPT` only, by index
    alpha: Mapping[str, float] = field(default_factory=dict, repr=False)  # key of an open image -> alpha-CROWN's bound

    @property
    def eps(self) -> float:
        """Radius, L-infinity, pixel units."""
        return self.settings["eps"]

    @property
    def sha256(self) -> str:
        """64 hex digits: of the selection's text."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def of(self, status: str) -> tuple[Verdict, ...]:
        """The kept verdicts of one status."""
        return tuple(verdict for verdict in self.verdicts if verdict.status == status)

    @property
    def best(self) -> tuple[Verdict, ...]:
        """The kept verdicts, each with the best bound known of it: alpha-CROWN's where it was run and is higher."""
        return tuple(self._at_best(verdict) for verdict in self.verdicts)

    def gap(self, verdict: Verdict) -> float:
        """Lowest attack margin of an open image minus its best bound, alpha-CROWN's where known, in logits."""
        hardness = self._at_best(verdict).hardness
        assert hardness is not None
        return hardness

    def _at_best(self, verdict: Verdict) -> Verdict:
        bound = self.alpha.get(verdict.key)
        if bound is None or (verdict.bound is not None and verdict.bound >= bound):
            return verdict
        return dataclasses.replace(verdict, bound=bound, bound_method="alpha-crown")

    def proved_by_alpha(self, verdict: Verdict) -> bool | None:
        """Whether alpha-CROWN proves an open image; None where it was not run."""
        bound = self.alpha.get(verdict.key)
        return None if bound is None else bound > self.settings["bounds"]["tolerance"]

    def header(self) -> dict[str, Any]:
        """The lines above the table, as JSON types."""
        network = {"name": self.network, "sha256": self.network_sha256, "classes": self.classes}
        network |= {"input_shape": list(self.input_shape), "dataset": self.dataset}
        mean, std = self.normalization.mean, self.normalization.std
        return {
            "format": FORMAT,
            "network": network,
            "settings": dict(self.settings),
            "normalization": {"mean": list(mean), "std": list(std)},
            "source": self.source,
            "counts": {status: self.counts[status] for status in STATUSES},
            "packages": dict(self.packages),
        }

    def text(self) -> str:
        """The file: equal selections give equal bytes."""
        lines = [f"# {key}: {json.dumps(value, sort_keys=True)}" for key, value in self.header().items()]
        lines.append(",".join([*COLUMNS, *([ALPHA] if self.alpha else [])]))
        lines += (self.line(verdict) for verdict in self.verdicts)
        return "\n".join(lines) + "\n"

    def line(self, verdict: Verdict) -> str:
        """The row of one kept verdict."""
        cells = [cell(getattr(verdict, name)) for name in COLUMNS]
        return ",".join([*cells, cell(self.alpha.get(verdict.key))] if self.alpha else cells)


def make_selection(
    network: Network,
    verdicts: Iterable[Verdict],
    config: SelectionConfig,
    normalization: Normalization,
    source: str,
    *,
    strong: Settings | None = None,
) -> Selection:
    """The selection that the `verdicts` of a whole set of images amount to.

    Images that a set holds twice, label included, count once, at their first index.

    Args:
        normalization: of the network's input, as the boxes were made with.
        source: `ImageSet.source`, the order that `Verdict.index` counts in.
        strong: settings of the second stage, where one was run.
    """
    distinct: dict[str, Verdict] = {}
    for verdict in sorted(verdicts, key=lambda verdict: (verdict.index, verdict.key)):
        distinct.setdefault(verdict.key, verdict)
    require(len(distinct) > 0, "verdicts", 0, "those of at least one image", error=SelectionError)
    counts = dict.fromkeys(STATUSES, 0)
    for verdict in distinct.values():
        counts[verdict.status] += 1
    return Selection(
        network=network.name,
        network_sha256=network.card.sha256,
        input_shape=network.input_shape,
        classes=network.classes,
        dataset=network.card.dataset,
        settings=config.as_dict() | ({"strong": strong.as_dict()} if strong else {}),
        normalization=normalization,
        source=source,
        counts=counts,
        packages=package_versions(),
        verdicts=tuple(verdict for verdict in distinct.values() if verdict.status in KEPT),
    )


def write_selected(
    path: Path | str,
    network: Network,
    verdicts: Iterable[Verdict],
    config: SelectionConfig,
    normalization: Normalization,
    source: str,
    *,
    strong: Settings | None = None,
) -> Selection:
    """Write the selection file `path`, whole or not at all; arguments as `make_selection`.

    Raises:
        SelectionError: no verdicts, or a place that cannot be written.
    """
    path = Path(path)
    require(bool(path.name), "selection file", str(path), "the path of a CSV file", error=SelectionError)
    selection = make_selection(network, verdicts, config, normalization, source, strong=strong)
    put_selection(path, selection)
    return selection


def put_selection(path: Path, selection: Selection) -> None:
    """Write `selection` to `path`, whole or not at all.

    Raises:
        SelectionError: a place that cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            file.write(selection.text().encode())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise SelectionError(f"{path}: cannot be written ({reason}). Free some space or choose another path.") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def cell(value: object) -> str:
    """One field of a row: floats in full, nothing for None."""
    if isinstance(value, float):
        return repr(float(value))
    return "" if value is None else str(value)
