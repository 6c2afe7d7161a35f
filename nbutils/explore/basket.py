"""The basket: images put aside by hand, of which the open ones become a benchmark."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..benchmark import ExportReport, export_benchmark
from ..core import Verdict, require
from ..properties import VERSIONS, write_text
from ..selection import instances_of
from .session import Session


class Basket:
    """Images by their index in the source, in the order in which they were put in."""

    def __init__(self, indices: Iterable[int] = ()) -> None:
        self.indices = list(indices)

    def toggle(self, index: int) -> None:
        """Put an image in, or take it out."""
        if index in self.indices:
            self.indices.remove(index)
        else:
            self.indices.append(index)

    def follow(self, chosen: Iterable[int], settled: Iterable[Verdict]) -> None:
        """The open images in it become those in `chosen`; what is not open stays.

        Args:
            chosen: indices.
            settled: verdicts that are known.
        """
        chosen = list(chosen)
        are_open = {verdict.index for verdict in settled if verdict.status == "open"}
        kept = [index for index in self.indices if index in chosen or index not in are_open]
        self.indices = kept + [index for index in chosen if index not in kept]

    def open(self, settled: Iterable[Verdict]) -> list[Verdict]:
        """Verdicts of the images in it that are open: only those go into a benchmark.

        Args:
            settled: verdicts that are known.
        """
        by_index = {verdict.index: verdict for verdict in settled}
        found = [by_index[index] for index in self.indices if index in by_index]
        return [verdict for verdict in found if verdict.status == "open"]

    def export(self, session: Session, settled: Iterable[Verdict], out: Path, timeout: float) -> ExportReport:
        """Write its open images as a benchmark of the session's network and settings.

        Raises:
            ParameterError: when none is open.
            ExportError: as `export_benchmark`.
        """
        chosen = self.open(settled)
        hint = "Settle the images first; misclassified, attacked and verified ones are no open questions"
        found = f"{len(self.indices)} images, none of them open"
        require(bool(chosen), "basket", found, "one open image or more", hint)
        instances = instances_of(chosen, session.images, session.network, session.config, timeout)
        return export_benchmark(instances, out, manifest=session.manifest(made_by="notebooks/explore.ipynb"))

    def preview(self, session: Session, settled: Iterable[Verdict], timeout: float) -> str:
        """Names of the files that `export` would write, and the first property's head."""
        chosen = self.open(settled)
        if not chosen:
            return "No open image is in the basket: nothing would be written."
        instances = instances_of(chosen, session.images, session.network, session.config, timeout)
        names = [f"{version}/vnnlib/{item.property.name}" for version in VERSIONS for item in instances]
        files = ["manifest.json", *(f"{version}/instances.csv" for version in VERSIONS), *names]
        files += [f"{version}/onnx/{session.network.name}.onnx" for version in VERSIONS]
        head = "\n".join(write_text(instances[0].property, "2.0").splitlines()[:9])
        return "\n".join(sorted(files)) + f"\n\n{instances[0].property.name}, version 2.0, begins:\n{head}"
