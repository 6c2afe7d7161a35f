"""The networks of a zoo measured here and now on a sample of images, to hold beside what their cards say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import AttackConfig, ImageSet, NetworkError, require
from ..networks import Figure, figure_name, first_line, fit_images, open_network
from .accuracy import Evaluation, evaluate
from .entries import Entry
from .tables import plain, title


@dataclass(frozen=True, eq=False)
class Sample:
    """What was measured, network by network."""

    images: int
    source: str
    eps: float
    evaluations: Mapping[str, Evaluation]

    @property
    def figures(self) -> dict[str, dict[str, Figure]]:
        """Shares with their intervals, by network and name of the accuracy."""
        return {name: found.figures("measured here") for name, found in self.evaluations.items()}


def fitting(entries: Sequence[Entry], images: ImageSet) -> tuple[Entry, ...]:
    """The networks that are here and take `images`: same shape, same number of classes.

    Raises:
        ParameterError: none of them does.
    """
    shape, classes = images.levels.shape[1:], len(images.class_names)
    here = [entry for entry in entries if entry.file is not None]
    fit = tuple(
        entry
        for entry in here
        if entry.file is not None and entry.file.input_shape == shape and entry.file.classes in (None, classes)
    )
    wanted = "; ".join(
        f"{entry.name} takes {entry.file.input_shape} of {entry.file.classes or 'unknown'} classes"
        for entry in here
        if entry.file is not None
    )
    found = f"{images.source}: images {tuple(shape)} of {classes} classes"
    hint = "Choose the images of a network's own data set, or set MEASURE to False"
    require(bool(fit), "IMAGES", found, f"images that a network here takes ({wanted or 'none is here'})", hint)
    return fit


def measure_sample(
    entries: Sequence[Entry],
    images: ImageSet,
    *,
    eps: float,
    attack: AttackConfig,
    methods: Sequence[str],
    record_dir: Path | None = None,
    progress: bool = True,
    say: Callable[[str], object] | None = None,
    **stated: Any,
) -> Sample:
    """Clean, PGD and verified accuracy of each network on all of `images` (see `evaluate`).

    Every network is opened before the first is measured, so that one that cannot be measured is known at once.

    Args:
        entries: networks that take `images`, as `fitting` gives them; those that are not here are passed over.
        record_dir: folder of records, a file for each network, radius and ONNX file: a killed run goes on from them.
        say: takes a line on each network before anything is measured: what was assumed.
        stated: mean, std and pixels, as `assumed.fit_images` takes them, for networks whose card has no normalisation.

    Raises:
        NetworkError: an ONNX file that cannot be analysed, or was replaced since the zoo was read.
        ParameterError: a network whose normalisation neither its card nor `stated` says.
        LedgerError: a record that is damaged or cannot be written.
    """
    ready = {}
    for entry in entries:
        if entry.file is None:
            continue
        network = open_network(entry.file.path)
        same = network.card.sha256 == entry.file.sha256
        require(same, str(network.path), network.card.sha256, f"{entry.file.sha256}, as read first", error=NetworkError)
        given = {} if network.normalization is not None else stated
        ready[entry.name] = network, fit_images(network, images, **given)
    if say is not None:
        for network, fitted in ready.values():
            say(first_line(network, fitted, f"{eps * 255:.6g}/255"))
    found = {}
    for name, (network, fitted) in ready.items():
        record = record_dir and record_dir / f"{name}-{network.card.sha256[:12]}-{eps * 255:.6g}.jsonl"
        found[name] = evaluate(
            network, fitted, eps=eps, attack=attack, methods=methods, record=record, progress=progress
        )
    return Sample(len(images), images.source, eps, found)


def sample_markdown(sample: Sample) -> str:
    """A row for each network and step: images that pass, their share with its interval, seconds an image."""
    rows = ["| network | step | images | % | 95 % interval | seconds an image |", "|---|---|--:|--:|--:|--:|"]
    for name, found in sample.evaluations.items():
        for step, share in found.shares.items():
            spent = f"{found.seconds[step]:.3f}" if found.seconds[step] else "not run"
            ends, passed = f"{share.low:.1f} to {share.high:.1f}", f"{share.count} of {share.n}"
            cells = (plain(name), title(figure_name(step)), passed, f"{share.percent:.1f}", ends, spent)
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)
